"""The mean squared error of numbers."""

from torch import Tensor

from snaprun.losses.base import Loss
from snaprun.metrics import Metric

MSE = Metric("mse", "mean squared error", "", -1, 1.0, smoothing=0.02)


class MeanSquaredError(Loss):
    """The mean squared error over the O outputs; y are the numbers of the target.

        ℓ = Σ_o (outputs_o − y_o)² / O,    ∂ℓ/∂outputs = 2 (outputs − y) / O

    >>> import torch
    >>> from snaprun.losses import LOSSES
    >>> loss = LOSSES["mse"]()
    >>> outputs_BO, y_BO = torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 1.0]])
    >>> value_B, error_BO = loss.value_and_error(outputs_BO, y_BO, torch.tensor([True]))
    >>> value_B.tolist(), error_BO.tolist()
    ([2.5], [[1.0, 2.0]])
    """

    classes = False
    unit = ""
    training = MSE
    held_out = MSE.held_out()

    def value_and_error(
        self, outputs_BO: Tensor, targets: Tensor, mask_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Returns the mean squared error of every lane, shape (B,), and its slope, (B, O)."""
        apart_BO = (outputs_BO - targets).where(mask_B[:, None], 0)
        return (apart_BO * apart_BO).mean(1), apart_BO * (2 / apart_BO.shape[1])
