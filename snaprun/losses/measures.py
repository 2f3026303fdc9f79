"""Measures: what a row of metrics tells of the outputs beside the loss.

Shape suffixes: T steps, B lanes, O outputs.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor

from snaprun.losses.base import Loss
from snaprun.metrics import Metric


class Measure(ABC):
    """A number computed from sums over all (lane, step) pairs with a target.

    `metric` names its column of the training rows. The column `validation_…` holds the measure of
    held-out data, and `baseline_…` that of the task's baseline (`Batch.baseline`).
    """

    def __init__(self, metric: Metric):
        self.metric = metric

    @abstractmethod
    def sums(self, outputs_TBO: Tensor, targets: Tensor, mask_TB: Tensor) -> list[float]:
        """Returns the sums over the pairs in `mask_TB`; `targets` are those of Batch."""

    def merged(self, sums: Sequence[float], others: Sequence[float]) -> list[float]:
        """Returns the sums over the pairs of both; override it if they are not simply added."""
        return [a + b for a, b in zip(sums, others, strict=True)]

    @abstractmethod
    def value(self, sums: Sequence[float]) -> float:
        """Returns the measure of merged sums; NaN if they hold no target."""


ACCURACY = Metric("accuracy", "accuracy", "", 1, 0.0, smoothing=0.02)
NRMSE = Metric("nrmse", "nrmse", "", -1, 1.0, smoothing=0.02)


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

    Two sets of N and M targets, of which δ = ȳ_M − ȳ_N, have together

        ȳ = ȳ_N + δ M / (N + M),    Σ (y − ȳ)² = Σ_N + Σ_M + δ² N M / (N + M)

    and the mean is stored as its distance from one of the targets, c. So large targets that vary
    little keep their digits (Chan, Golub & LeVeque 1983, The American Statistician 37:242).

    >>> import torch
    >>> nrmse, y_TBO = NormalisedRootMeanSquaredError(), torch.tensor([[[1.0]], [[3.0]]])
    >>> mask_TB = torch.ones(2, 1, dtype=torch.bool)
    >>> nrmse.value(nrmse.sums(y_TBO + 0.5, y_TBO, mask_TB))  # 1 is the error of guessing the mean
    0.5
    """

    def __init__(self, metric: Metric = NRMSE):
        super().__init__(metric)

    def sums(self, outputs_TBO: Tensor, targets: Tensor, mask_TB: Tensor) -> list[float]:
        """Returns Σ (output − y)², c, ȳ − c, Σ (y − ȳ)² and the number of y."""
        y, outputs = targets[mask_TB].double(), outputs_TBO[mask_TB].double()
        if not y.numel():
            return [0.0] * 5
        c = y.flatten()[0]
        apart = y - c
        mean = apart.mean()
        found = ((outputs - y).square().sum(), c, mean, (apart - mean).square().sum())
        return [*(float(x) for x in found), float(y.numel())]

    def merged(self, sums: Sequence[float], others: Sequence[float]) -> list[float]:
        """Returns the sums over the targets of both, with the c of the first that has targets."""
        squares, c, mean, spread, count = sums
        more_squares, other_c, other_mean, more_spread, more = others
        if not (count and more):
            return [*(sums if count else others)]
        both = count + more
        delta = (other_c - c) + (other_mean - mean)
        spread += more_spread + delta * delta * count * more / both
        return [squares + more_squares, c, mean + delta * more / both, spread, both]

    def value(self, sums: Sequence[float]) -> float:
        """Returns the root of the ratio; NaN if the targets do not vary."""
        squares, _, _, spread, _ = sums
        return math.sqrt(squares / spread) if spread > 0 else math.nan


class MeanLoss(Measure):
    """The mean of a loss, in reported units, under the name `metric`.

    >>> import torch
    >>> from snaprun.losses import LOSSES
    >>> loss, y_TBO = LOSSES["mse"](), torch.tensor([[[1.0]], [[3.0]]])
    >>> mean = MeanLoss(loss, loss.training)
    >>> mean.value(mean.sums(y_TBO + 2, y_TBO, torch.ones(2, 1, dtype=torch.bool)))
    4.0
    """

    def __init__(self, loss: Loss, metric: Metric):
        super().__init__(metric)
        self._loss = loss

    def sums(self, outputs_TBO: Tensor, targets: Tensor, mask_TB: Tensor) -> list[float]:
        """Returns the sum of the losses and the number of targets."""
        flat = (x.flatten(0, 1) for x in (outputs_TBO.double(), targets, mask_TB))
        return [float(self._loss.value(*flat).sum()), float(mask_TB.sum())]

    def value(self, sums: Sequence[float]) -> float:
        """Returns the mean loss."""
        total, targets = sums
        return self._loss.reported(total / targets) if targets else math.nan


Sums = dict[str, list[float]]  # by column


class Columns:
    """The columns of a row beside the loss: measures of the outputs, and those of the baseline.

    The baseline is measured by the loss, too. All state is in `Sums`, which begin empty. With
    `held_out`, the columns are those of held-out data.

    >>> import torch
    >>> from snaprun.losses import LOSSES
    >>> columns, sums = Columns(LOSSES["softmax"](), [Accuracy()]), {}
    >>> outputs_TBO, mask_TB = torch.eye(2)[None], torch.tensor([[True, True]])
    >>> columns.add(sums, torch.tensor([[0, 0]]), mask_TB, outputs_TBO, torch.zeros(1, 2, 2))
    >>> columns.values(sums)
    {'accuracy': 0.5, 'baseline_bpc': 1.0, 'baseline_accuracy': 1.0}
    """

    def __init__(self, loss: Loss, measures: Sequence[Measure], held_out: bool = False):
        of_loss = MeanLoss(loss, loss.held_out if held_out else loss.training)
        named = [(m.metric.held_out() if held_out else m.metric, m) for m in measures]
        self.outputs = {metric.key: m for metric, m in named}
        compared = [(of_loss.metric, of_loss), *named]
        self.baseline = {metric.baseline().key: m for metric, m in compared}

    def add(
        self,
        sums: Sums,
        targets: Tensor,
        mask_TB: Tensor,
        outputs_TBO: Tensor | None,
        baseline_TBO: Tensor | None,
    ) -> None:
        """Adds a batch to `sums`; outputs or a baseline that are None have no part in it."""
        for measured_TBO, columns in ((outputs_TBO, self.outputs), (baseline_TBO, self.baseline)):
            if measured_TBO is not None:
                for key, measure in columns.items():
                    found = measure.sums(measured_TBO, targets, mask_TB)
                    sums[key] = measure.merged(sums[key], found) if key in sums else found

    def values(self, sums: Sums) -> dict[str, float | None]:
        """Returns the value of every column that has sums; None if it is not a finite number."""
        every = self.outputs | self.baseline
        values = {key: every[key].value(sums[key]) for key in every if key in sums}
        return {key: value if math.isfinite(value) else None for key, value in values.items()}


def declared(loss: Loss, measures: Sequence[Measure]) -> tuple[Metric, ...]:
    """Returns the metrics of all columns: measures before the loss, held-out data before training.

    >>> from snaprun.losses import LOSSES
    >>> [metric.key for metric in declared(LOSSES["mse"](), [])]
    ['validation_mse', 'mse', 'baseline_validation_mse', 'baseline_mse']
    """
    pairs = [(m.metric.held_out(), m.metric) for m in measures]
    metrics = [metric for pair in (*pairs, (loss.held_out, loss.training)) for metric in pair]
    return (*metrics, *(metric.baseline() for metric in metrics))
