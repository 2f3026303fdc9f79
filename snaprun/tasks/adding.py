"""The adding problem: the sum of the two marked numbers of a sequence."""

from collections.abc import Iterator

import torch

from snaprun.checks import at_least
from snaprun.losses import MeanSquaredError
from snaprun.tasks.base import Batch, Task
from snaprun.tasks.held_out import LANES, drawn


class Adding(Task):
    """Read `length` pairs of a number and a marker, then say the sum of the two marked numbers.

        x_t = (u_t, m_t),  u_t ~ U[0, 1),  m_i = m_j = 1, all other m_t = 0
        target at the last step alone:  y = u_i + u_j

    The step i is uniform in the first half, [0, ⌊length/2⌋), and j in the second half. The best
    answer that ignores the numbers is 1, whose mean squared error is Var(u_i + u_j) = 1/6; it is
    the baseline of every batch. Held out are 1024 sequences from a random stream of their own.

    Source: Hochreiter & Schmidhuber 1997, doi 10.1162/neco.1997.9.8.1735, experiment 4, with the
    markers, the range of the numbers and the target of Arjovsky et al. 2016, arXiv 1511.06464.

    >>> import torch
    >>> from snaprun.tasks import TASKS
    >>> batch = TASKS["adding"](length=6).batch(lanes=2, generator=torch.Generator())
    >>> number_TB, marker_TB = batch.inputs.unbind(2)
    >>> torch.equal((number_TB * marker_TB).sum(0), batch.targets[-1, :, 0])
    True
    """

    inputs = 2
    one_hot = False
    outputs = 1
    loss = MeanSquaredError()
    held_out_lanes = LANES
    length_key = "length"

    def __init__(self, length: int = 100) -> None:
        self.length = at_least("task.length", length, 2)

    def batch(self, lanes: int, generator: torch.Generator) -> Batch:
        """Return one sequence of `length` steps for each lane."""
        half, lane = self.length // 2, torch.arange(lanes)
        numbers = torch.rand(self.length, lanes, generator=generator)  # (T, B)
        first = torch.randint(0, half, (lanes,), generator=generator)
        second = torch.randint(half, self.length, (lanes,), generator=generator)

        markers = torch.zeros_like(numbers)
        markers[first, lane] = markers[second, lane] = 1
        targets = torch.zeros(self.length, lanes, 1)
        targets[-1, :, 0] = numbers[first, lane] + numbers[second, lane]

        mask = torch.zeros(numbers.shape, dtype=torch.bool)
        resets = torch.zeros_like(mask)
        mask[-1] = resets[0] = True
        inputs = torch.stack((numbers, markers), dim=2)
        return Batch(inputs, targets, mask, resets, baseline=torch.ones_like(targets))

    def steps(self) -> int:
        """Return `length`."""
        return self.length

    @property
    def chance(self) -> float:
        """The mean squared error of always answering 0, as an untrained network does.

        A run that has yet to learn the mean is far above the error of answering 1, and has not
        blown up.
        """
        return 1 + 1 / 6

    def validation(self, tokens: int | None) -> Iterator[Batch]:
        """Return held-out sequences, as snaprun.tasks.held_out.drawn says."""
        return drawn(self.batch, self.length, tokens)
