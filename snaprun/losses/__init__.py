"""Losses by the name that the C++ core uses too; each task declares its own loss."""

from snaprun.losses.base import Loss
from snaprun.losses.measures import Accuracy, Measure, NormalisedRootMeanSquaredError
from snaprun.losses.mse import MeanSquaredError
from snaprun.losses.softmax import SoftmaxCrossEntropy
from snaprun.registry import Registry

LOSSES = Registry(
    "losses", Loss, {"softmax": SoftmaxCrossEntropy, "mse": MeanSquaredError}, __name__
)

__all__ = [
    "LOSSES",
    "Accuracy",
    "Loss",
    "MeanSquaredError",
    "Measure",
    "NormalisedRootMeanSquaredError",
    "SoftmaxCrossEntropy",
]
