"""What a loss is: its value and its derivative, for training, evaluation and verification alike.

Shape suffixes: B lanes, O outputs.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from snaprun.metrics import Metric


class Loss(ABC):
    """The loss ℓ(outputs, target) of a lane at a step, L_t = Σ_lanes ℓ.

    Targets are classes (B,), int64, or numbers (B, O) of the outputs' dtype. Lanes outside `mask_B`
    (boolean) have no target: whatever stands there, their loss and error are zero.
    """

    classes: ClassVar[bool]  # whether targets are classes
    unit: ClassVar[str]  # of what is reported
    training: ClassVar[Metric]  # its mean over the targets since the last row of metrics
    held_out: ClassVar[Metric]  # its mean over held-out data

    @abstractmethod
    def value_and_error(
        self, outputs_BO: Tensor, targets: Tensor, mask_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        """ℓ of every lane, shape (B,), and ∂ℓ/∂outputs, shape (B, O)."""

    @abstractmethod
    def value(self, outputs_BO: Tensor, targets: Tensor, mask_B: Tensor) -> Tensor:
        """ℓ of every lane alone, shape (B,)."""

    def reported(self, loss: float) -> float:
        """`loss` in the unit in which it is reported."""
        return loss
