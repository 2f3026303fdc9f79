"""What the tasks of spiking populations share: the input spikes, and one decision a sequence."""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from snaprun.losses import Measure
from snaprun.metrics import Metric

DECISION_ERROR = Metric("decision_error", "decision error", "", -1, 1.0, smoothing=0.05)


class DecisionError(Measure):
    """The share of wrong decisions; a sequence has one, by its outputs summed over its targets.

    A sequence is a lane of a batch, and all its targets are the same class.

    >>> outputs_TBO = torch.tensor([[[0.0, 1.0]], [[3.0, 1.0]]])  # of one lane, twice
    >>> targets, mask_TB = torch.tensor([[0], [0]]), torch.tensor([[True], [True]])
    >>> error = DecisionError()
    >>> error.value(error.sums(outputs_TBO, targets, mask_TB))
    0.0
    """

    def __init__(self, metric: Metric = DECISION_ERROR):
        super().__init__(metric)

    def sums(self, outputs_TBO: Tensor, targets: Tensor, mask_TB: Tensor) -> list[float]:
        """Returns the numbers of wrong decisions and of sequences."""
        asked_B = mask_TB.any(0)
        decided_B = (outputs_TBO * mask_TB[..., None]).sum(0).argmax(1)
        wanted_B = (targets * mask_TB).amax(0)
        return [float(((decided_B != wanted_B) & asked_B).sum()), float(asked_B.sum())]

    def value(self, sums: Sequence[float]) -> float:
        """Returns the share of wrong decisions."""
        wrong, sequences = sums
        return wrong / sequences if sequences else math.nan


def spikes(
    active_TBG: Tensor, population: int, rates: tuple[float, float], generator: Generator
) -> Tensor:
    """Return spikes of G populations of neurons, shape (T, B, G·population), 0 or 1.

    A neuron spikes at a step with the first rate while its population is active, with the second
    rate otherwise.
    """
    rate, noise = rates
    chance_TBI = torch.where(active_TBG, rate, noise).repeat_interleave(population, 2)
    return (torch.rand(chance_TBI.shape, generator=generator) < chance_TBI).float()
