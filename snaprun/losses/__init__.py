"""Losses by the name that the C++ core uses too; each task declares its own loss."""

from snaprun.losses.base import Loss
from snaprun.losses.measures import Accuracy, Columns, Measure, NormalisedRootMeanSquaredError, Sums
from snaprun.losses.mse import MeanSquaredError
from snaprun.losses.sigmoid import SigmoidCrossEntropy
from snaprun.losses.softmax import SoftmaxCrossEntropy
from snaprun.registry import Registry

LOSSES = Registry(
    "losses",
    Loss,
    {
        "softmax": SoftmaxCrossEntropy,
        "sigmoid": SigmoidCrossEntropy,
        "mse": MeanSquaredError,
    },
    __name__,
)

__all__ = [
    "LOSSES",
    "Accuracy",
    "Columns",
    "Loss",
    "MeanSquaredError",
    "Measure",
    "NormalisedRootMeanSquaredError",
    "SigmoidCrossEntropy",
    "SoftmaxCrossEntropy",
    "Sums",
]
