"""The cross-entropy of classes."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from snaprun.losses.base import Loss
from snaprun.metrics import BUILT_IN, Metric

BPC, VALIDATION = BUILT_IN["bpc"], BUILT_IN["validation_bpc"]

CROSS_ENTROPY = Metric("cross_entropy", "cross-entropy", "nats", -1, 10.0, smoothing=0.02)


class SoftmaxCrossEntropy(Loss):
    """Softmax cross-entropy in nats; y is the class of the target.

        p = softmax(outputs),    ℓ = −log p_y,    ∂ℓ/∂outputs = p − 1_y

    It is reported in bits (per character), or with `bits=False` in nats as the cross-entropy.

    >>> from snaprun.losses import LOSSES
    >>> loss = LOSSES["softmax"]()
    >>> y_B, mask_B = torch.tensor([2, 0]), torch.tensor([True, False])
    >>> nats_B, error_BO = loss.value_and_error(torch.zeros(2, 4), y_B, mask_B)
    >>> round(loss.reported(nats_B[0].item()), 3)  # bits: four classes, equally likely
    2.0
    >>> error_BO[0].round(decimals=2).tolist()
    [0.25, 0.25, -0.75, 0.25]
    >>> error_BO[1].any().item()  # the second lane has no target
    False
    """

    classes = True

    def __init__(self, bits: bool = True):
        self.unit = "bits" if bits else "nats"
        self.training = BPC if bits else CROSS_ENTROPY
        self.held_out = VALIDATION if bits else CROSS_ENTROPY.held_out()

    def value_and_error(
        self, outputs_BO: Tensor, targets: Tensor, mask_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Returns the nats of every lane, shape (B,), and p − 1_y, shape (B, O)."""
        log_p_BO = F.log_softmax(outputs_BO, dim=1)
        error_BO = log_p_BO.exp()
        error_BO[torch.arange(len(error_BO), device=error_BO.device), targets] -= 1
        error_BO *= mask_B[:, None]
        return _nats(log_p_BO, targets, mask_B), error_BO

    def value(self, outputs_BO: Tensor, targets: Tensor, mask_B: Tensor) -> Tensor:
        """Returns the nats of every lane, shape (B,)."""
        return _nats(F.log_softmax(outputs_BO, dim=1), targets, mask_B)

    def chance(self, outputs: int) -> float:
        """Returns log O, the nats of a guess that gives all classes the same probability."""
        return math.log(outputs)

    def reported(self, loss: float) -> float:
        """Converts nats to bits, unless nats are reported."""
        return loss / math.log(2) if self.unit == "bits" else loss


def _nats(log_p_BO: Tensor, targets_B: Tensor, mask_B: Tensor) -> Tensor:
    return -log_p_BO.gather(1, targets_B[:, None]).squeeze(1) * mask_B
