"""Tasks whose inputs and targets are numbers, as a plug-in of the user's would write them."""

import torch

from snaprun.losses import LOSSES, Accuracy, NormalisedRootMeanSquaredError, SoftmaxCrossEntropy
from snaprun.tasks import Batch, Task


class Numbers(Task):
    """Numbers in, numbers out, a step later; the first step has no target."""

    one_hot = False
    inputs, outputs = 3, 2
    held_out_lanes = 5

    def __init__(self, length: int = 7):
        self.length = length

    def targets(self, x_TBA):
        """The targets, and those of the simple answer, if there is one."""
        raise NotImplementedError

    def batch(self, lanes, generator):
        x_TBA = torch.randn(self.length, lanes, self.inputs, generator=generator)
        mask = torch.ones(self.length, lanes, dtype=torch.bool)
        mask[0] = False
        mask[3:5, 1:] = False
        resets = torch.zeros_like(mask)
        resets[0] = True
        targets, baseline = self.targets(x_TBA)
        kept = mask if targets.dim() == 2 else mask[..., None]
        return Batch(x_TBA, targets * kept, mask, resets, baseline=baseline)

    def steps(self):
        return self.length

    def validation(self, tokens):
        generator = torch.Generator().manual_seed(2**41)
        return (self.batch(lanes, generator) for lanes in (5, 2))


class Echo(Numbers):
    """The first two inputs of the step before, their mean squared error, and that of guessing 0."""

    loss = LOSSES["mse"]()
    measures = (NormalisedRootMeanSquaredError(),)
    chance = 1.0

    def targets(self, x_TBA):
        y_TBO = x_TBA.roll(1, 0)[..., :2]
        return y_TBO, torch.zeros_like(y_TBO)


class Bits(Numbers):
    """Which of the first two inputs were positive a step before."""

    loss = LOSSES["sigmoid"]()

    def targets(self, x_TBA):
        return (x_TBA.roll(1, 0)[..., :2] > 0).to(torch.float32), None


class Sign(Numbers):
    """Whether the sum of all inputs so far is positive: a class."""

    loss = SoftmaxCrossEntropy(bits=False)
    measures = (Accuracy(),)

    def targets(self, x_TBA):
        return (x_TBA.sum(2).cumsum(0) > 0).long(), None
