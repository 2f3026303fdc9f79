"""A loss: its value and its derivative, the same for training, evaluation and verification.

Shape suffixes: B lanes, O outputs.
"""

import math
from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from snaprun.metrics import Metric


class Loss(ABC):
    """The loss ℓ(outputs, target) of a lane at a step, L_t = Σ_lanes ℓ.

    Targets are classes (B,), int64, or numbers (B, O) of the outputs' dtype. A lane outside
    `mask_B` (boolean) has no target: `targets` is 0 there, and so are its loss and error.
    """

    classes: ClassVar[bool]  # whether targets are classes
    unit: str  # of the reported loss
    training: Metric  # the mean loss over the targets since the last row of metrics
    held_out: Metric  # the mean loss over held-out data

    @abstractmethod
    def value_and_error(
        self, outputs_BO: Tensor, targets: Tensor, mask_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Returns ℓ of every lane, shape (B,), and ∂ℓ/∂outputs, shape (B, O)."""

    def value(self, outputs_BO: Tensor, targets: Tensor, mask_B: Tensor) -> Tensor:
        """Returns ℓ of every lane, shape (B,); override it if it is quicker without the error."""
        return self.value_and_error(outputs_BO, targets, mask_B)[0]

    def chance(self, outputs: int) -> float:
        """Returns ℓ of a guess that knows nothing of the data; ∞: the loss alone cannot tell."""
        del outputs
        return math.inf

    def accepts(self, targets: Tensor) -> str:
        """Returns in words what finite `targets` (N, O) it accepts, or "" if it accepts these."""
        del targets
        return ""

    def reported(self, loss: float) -> float:
        """Converts `loss` to the unit that is reported."""
        return loss
