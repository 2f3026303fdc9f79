"""Held-out sequences of the tasks that make up their own data."""

from collections.abc import Callable, Iterator

from torch import Generator

from snaprun.seeding import stream
from snaprun.tasks.base import Batch

SEQUENCES = 1024
LANES = 64  # of a batch, at most


def drawn(
    batch: Callable[[int, Generator], Batch], steps: int, tokens: int | None
) -> Iterator[Batch]:
    """Yield held-out sequences of `steps` time steps, about `tokens` tokens of them (None: 1024).

    `batch` draws a batch of so many lanes with a generator. The sequences are the same at every
    call and for every seed of a run, and come from a stream of their own.
    """
    count = SEQUENCES if tokens is None else min(SEQUENCES, max(1, tokens // steps))
    generator = stream(0, "held_out")
    for first in range(0, count, LANES):
        yield batch(min(LANES, count - first), generator)
