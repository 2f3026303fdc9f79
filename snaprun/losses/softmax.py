"""Cross-entropy of classes."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from snaprun.losses.base import Loss
from snaprun.metrics import BPC, VALIDATION


class SoftmaxCrossEntropy(Loss):
    """ℓ = −log p_y in nats, p = softmax(outputs), y the target's class; ∂ℓ/∂outputs = p − 1_y.

    It is reported in bits.
    """

    classes = True
    unit = "bits"
    training = BPC
    held_out = VALIDATION

    def value_and_error(
        self, outputs_BO: Tensor, targets: Tensor, mask_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Nats (B,), and p − 1_y (B, O)."""
        log_p_BO = F.log_softmax(outputs_BO, dim=1)
        error_BO = log_p_BO.exp()
        error_BO[torch.arange(len(error_BO), device=error_BO.device), targets] -= 1
        error_BO *= mask_B[:, None]
        return _nats(log_p_BO, targets, mask_B), error_BO

    def value(self, outputs_BO: Tensor, targets: Tensor, mask_B: Tensor) -> Tensor:
        """Nats (B,)."""
        return _nats(F.log_softmax(outputs_BO, dim=1), targets, mask_B)

    def reported(self, loss: float) -> float:
        """The bits of so many nats."""
        return loss / math.log(2)


def _nats(log_p_BO: Tensor, targets_B: Tensor, mask_B: Tensor) -> Tensor:
    return -log_p_BO.gather(1, targets_B[:, None]).squeeze(1) * mask_B
