"""The loss of one step and its derivative, for training, evaluation and verification alike.

Shape suffixes: B lanes, O outputs.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def value_and_error(outputs_BO: Tensor, targets_B: Tensor, mask_B: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax cross-entropy in nats (B,), and ∂L/∂outputs = softmax - target (B, O).

    Both are zero in the lanes outside `mask_B` (boolean); their targets are any class.
    """
    log_p_BO = F.log_softmax(outputs_BO, dim=1)
    error_BO = log_p_BO.exp()
    error_BO[torch.arange(len(error_BO), device=error_BO.device), targets_B] -= 1
    error_BO *= mask_B[:, None]
    return _nats(log_p_BO, targets_B, mask_B), error_BO


def value(outputs_BO: Tensor, targets_B: Tensor, mask_B: Tensor) -> Tensor:
    """Softmax cross-entropy in nats (B,) alone, as of `value_and_error`."""
    return _nats(F.log_softmax(outputs_BO, dim=1), targets_B, mask_B)


def _nats(log_p_BO: Tensor, targets_B: Tensor, mask_B: Tensor) -> Tensor:
    return -log_p_BO.gather(1, targets_B[:, None]).squeeze(1) * mask_B
