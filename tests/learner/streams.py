"""Small learners, and streams of random steps as a task for a run and as plain calls."""

import numpy as np
import torch

import snaprun
from snaprun.losses import LOSSES
from snaprun.tasks import Batch, Task

INPUTS, OUTPUTS, STEPS = 5, 3, 50


class Noise(Task):
    """Batches of random inputs and targets, some without a target, in which sequences begin."""

    inputs, outputs = INPUTS, OUTPUTS

    def __init__(self, loss="softmax", indices=True):
        self.loss, self.one_hot = LOSSES[loss](), indices

    def steps(self):
        return STEPS

    def batch(self, lanes, generator):
        def drawn(*shape, below=2):
            return torch.randint(0, below, (STEPS, lanes, *shape), generator=generator)

        if self.one_hot:
            inputs = drawn(below=INPUTS)
        else:
            inputs = torch.randn(STEPS, lanes, INPUTS, generator=generator)
        mask = drawn(below=10) > 0
        targets = drawn(below=OUTPUTS) if self.loss.classes else drawn(OUTPUTS).float()
        targets *= mask if self.loss.classes else mask[..., None]
        return Batch(inputs, targets, mask, drawn(below=20) == 0)


def feed(learner, batch, first=0, last=None):
    """A learner's results for the steps of a batch, in calls of every form."""
    results = []
    for t in range(first, len(batch.mask) if last is None else last):
        x, y, mask, resets = (
            getattr(batch, name)[t].numpy() for name in ("inputs", "targets", "mask", "resets")
        )
        if resets.any():
            learner.reset(np.flatnonzero(resets).tolist())
        if not mask.any():
            results += [learner.predict(x), learner.learn()]
        elif mask.all() and t % 2:
            results += learner.step(x, y)
        else:
            results += [learner.predict(x), learner.learn(y, mask)]
    return results


def equal(a, b):
    """Whether two lists of results are the same bit by bit."""
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def learner(**arguments):
    small = {"inputs": INPUTS, "outputs": OUTPUTS, "units": 7, "hidden": 6, "sparsity": 0.5}
    return snaprun.Learner(**small | {"loss": "softmax", "lr": 0.01} | arguments)


def numbers(**arguments):
    return learner(loss="mse", **arguments)


def state(made):
    """Everything that later steps depend on."""
    made._engine.undo()
    found = made._engine.state_dict(), made._begins, made._waiting, made.steps
    made._again(made._waiting)
    return found


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return np.array_equal(a, b)
