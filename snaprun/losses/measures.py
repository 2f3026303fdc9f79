"""Measures: what a row of metrics tells of the outputs beside the loss.

Shape suffixes: T steps, B lanes, O outputs.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor

from snaprun.metrics import Metric


class Measure(ABC):
    """A number computed from sums over all (lane, step) pairs with a target.

    `metric` names its column of the training rows. The same measure of held-out data stands in the
    column `validation_…`, and that of the task's baseline (`Batch.baseline`) in `baseline_…`.
    """

    def __init__(self, metric: Metric):
        self.metric = metric

    @abstractmethod
    def sums(self, outputs_TBO: Tensor, targets: Tensor, mask_TB: Tensor) -> list[float]:
        """Returns the sums over the pairs in `mask_TB`; `targets` are those of Batch."""

    @abstractmethod
    def value(self, sums: Sequence[float]) -> float:
        """Returns the measure of added-up sums; NaN if they hold no target."""


ACCURACY = Metric("accuracy", "accuracy", "", 1, 0.0, smoothing=0.02)
NRMSE = Metric("nrmse", "normalised root mean squared error", "", -1, 1.0, smoothing=0.02)


class Accuracy(Measure):
    """The share of targets whose class has the greatest output.

    >>> import torch
    >>> accuracy, mask_TB = Accuracy(), torch.tensor([[True, True, False]])
    >>> outputs_TBO = torch.tensor([[[0.0, 1.0], [2.0, 1.0], [0.0, 0.0]]])
    >>> accuracy.value(accuracy.sums(outputs_TBO, torch.tensor([[1, 1, 0]]), mask_TB))
    0.5
    """

    def __init__(self, metric: Metric = ACCURACY):
        super().__init__(metric)

    def sums(self, outputs_TBO: Tensor, targets: Tensor, mask_TB: Tensor) -> list[float]:
        """Returns the numbers of right answers and of targets."""
        right_TB = (outputs_TBO.argmax(2) == targets) & mask_TB
        return [float(right_TB.sum()), float(mask_TB.sum())]

    def value(self, sums: Sequence[float]) -> float:
        """Returns the share of right answers."""
        right, targets = sums
        return right / targets if targets else math.nan


class NormalisedRootMeanSquaredError(Measure):
    """The root mean squared error over the standard deviation of the targets, all outputs pooled.

        nrmse = √(Σ (output − y)² / Σ (y − ȳ)²)

    >>> import torch
    >>> nrmse, y_TBO = NormalisedRootMeanSquaredError(), torch.tensor([[[1.0]], [[3.0]]])
    >>> mask_TB = torch.ones(2, 1, dtype=torch.bool)
    >>> nrmse.value(nrmse.sums(y_TBO + 0.5, y_TBO, mask_TB))  # 1 is the error of guessing the mean
    0.5
    """

    def __init__(self, metric: Metric = NRMSE):
        super().__init__(metric)

    def sums(self, outputs_TBO: Tensor, targets: Tensor, mask_TB: Tensor) -> list[float]:
        """Returns Σ (output − y)², Σ y, Σ y² and the number of y."""
        y, outputs = targets[mask_TB].double(), outputs_TBO[mask_TB].double()
        found = ((outputs - y).square().sum(), y.sum(), y.square().sum())
        return [*(float(x) for x in found), float(y.numel())]

    def value(self, sums: Sequence[float]) -> float:
        """Returns the root of the ratio; NaN if the targets do not vary."""
        squares, total, total_of_squares, count = sums
        spread = total_of_squares - total * total / count if count else 0.0
        return math.sqrt(squares / spread) if spread > 0 else math.nan
