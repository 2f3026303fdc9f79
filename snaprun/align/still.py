"""The steps of a batch as a rule sees them under fixed weights."""

from collections.abc import Callable

from torch import Generator, Tensor

from snaprun import tasks
from snaprun.core import Record, RecurrentCore
from snaprun.model.readout import Readout
from snaprun.rules.over_steps import Step
from snaprun.tasks import Batch, Task

# Adds the credit to the record of step t, given t, the record and the state s(t) (B, c, k).
WithCredit = Callable[[int, Record, Tensor], Record]


def draw(task: Task, lanes: int, generator: Generator) -> Batch:
    """Draw a batch that training could see next; every lane begins a sequence at its first step.

    The task's own state is restored afterwards.
    """
    state = task.state_dict()
    batch = tasks.draw(task, lanes, generator)
    task.load_state_dict(state)
    resets_TB = batch.resets.clone()
    resets_TB[0] = True
    return Batch(batch.inputs, batch.targets, batch.mask, resets_TB)


def steps(
    core: RecurrentCore, weights_MKJ: Tensor, batch: Batch, count: int, with_credit: WithCredit
) -> list[Step]:
    """Return the first `count` steps of `batch` under the weights `weights_MKJ`."""
    found: list[Step] = []
    state_BCK = core.initial_state(batch.mask.shape[1], weights_MKJ.dtype)
    for t in range(count):
        state_BCK = state_BCK.masked_fill(batch.resets[t][:, None, None], 0)
        state_BCK, linearise = core.step(weights_MKJ, state_BCK, batch.inputs[t])
        found.append((batch.resets[t], with_credit(t, linearise(), state_BCK)))
    return found


def through(readout: Readout, batch: Batch) -> WithCredit:
    """Return a function that adds credit as training does; it adds to the readout's `.grad`."""

    def with_credit(t: int, record: Record, state_BCK: Tensor) -> Record:
        if not batch.mask[t].any():
            return record
        learned = readout.learn(state_BCK[:, 0], batch.targets[t], batch.mask[t])
        return record.with_credit(learned.credit_BK, learned.error_BO)

    return with_credit
