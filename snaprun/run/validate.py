"""Validation gives the metrics of frozen weights, and of their average, on held-out data."""

from collections.abc import Callable, Iterator, Mapping

from snaprun.engine.evaluate import HeldOut
from snaprun.metrics import AVERAGE, BASELINE
from snaprun.model.network import Network
from snaprun.tasks import Batch, Task, checked

EVAL_STEPS = 16  # `pause` is called between pieces of so many steps


def validate(
    task: Task, network: Network, tokens: int | None, in_core: bool, pause: Callable[[], None]
) -> dict[str, float]:
    """Return the task's metrics of `network` on held-out data.

    `tokens` is the size of the held-out part that is used (None: all of it). `in_core` lets the C++
    core compute what it supports. `pause` is called again and again; it may raise.
    """

    def pieces(batch: Batch) -> Iterator[Batch]:
        checked(task, batch)
        return cut(batch)

    def cut(batch: Batch) -> Iterator[Batch]:
        for first in range(0, len(batch.mask), EVAL_STEPS):
            pause()
            yield batch.piece(first, EVAL_STEPS)

    return task.held_out(HeldOut(network, task.measures, in_core, pieces), tokens)


def of_average(values: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics of the averaged weights under their own names, without the baseline's."""
    return {key + AVERAGE: value for key, value in values.items() if not key.startswith(BASELINE)}
