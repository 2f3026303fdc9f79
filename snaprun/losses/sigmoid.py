"""The cross-entropy of bits that do not exclude one another."""

import math

from torch import Tensor
from torch.nn import functional as F

from snaprun.losses.base import Loss
from snaprun.metrics import Metric

BIT_CROSS_ENTROPY = Metric(
    "bit_cross_entropy", "bit cross-entropy", "nats", -1, 10.0, smoothing=0.02
)


class SigmoidCrossEntropy(Loss):
    """Sigmoid cross-entropy of O bits, summed over the bits, in nats; y are numbers in [0, 1].

        p = σ(outputs),    ℓ = −Σ_o [y_o log p_o + (1 − y_o) log(1 − p_o)],    ∂ℓ/∂outputs = p − y

    The outputs are logits: ℓ is computed from them without a logarithm of p, so large ones are
    safe. A y between 0 and 1 is the probability of a 1.

    >>> import torch
    >>> from snaprun.losses import LOSSES
    >>> loss = LOSSES["sigmoid"]()
    >>> y_BO, mask_B = torch.tensor([[1.0, 0.0, 1.0]]), torch.tensor([True])
    >>> value_B, error_BO = loss.value_and_error(torch.zeros(1, 3), y_BO, mask_B)
    >>> round(value_B.item(), 3)  # 3 log 2: three bits, both values equally likely
    2.079
    >>> error_BO.tolist()
    [[-0.5, 0.5, -0.5]]
    """

    classes = False
    unit = "nats"
    training = BIT_CROSS_ENTROPY
    held_out = BIT_CROSS_ENTROPY.held_out()

    def value_and_error(
        self, outputs_BO: Tensor, targets: Tensor, mask_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Returns the nats of every lane, shape (B,), and p − y, shape (B, O)."""
        error_BO = (outputs_BO.sigmoid() - targets).where(mask_B[:, None], 0)
        return self.value(outputs_BO, targets, mask_B), error_BO

    def value(self, outputs_BO: Tensor, targets: Tensor, mask_B: Tensor) -> Tensor:
        """Returns the nats of every lane, shape (B,)."""
        targets_BO = targets.to(outputs_BO.dtype)
        nats_BO = F.binary_cross_entropy_with_logits(outputs_BO, targets_BO, reduction="none")
        return nats_BO.sum(1).where(mask_B, 0)

    def chance(self, outputs: int) -> float:
        """Returns O log 2."""
        return outputs * math.log(2)

    def accepts(self, targets: Tensor) -> str:
        """Returns what to say of numbers outside [0, 1]."""
        inside = bool(((targets >= 0) & (targets <= 1)).all())
        return "" if inside else "numbers in [0, 1]"
