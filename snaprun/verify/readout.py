"""Checks the hand-written derivatives of every loss, and of the readout below it, by autograd."""

import torch
from torch import Generator, Tensor

from snaprun.losses import LOSSES, Loss
from snaprun.model.readout import Readout
from snaprun.verify.check import Check, equal

UNITS, HIDDEN, OUTPUTS, LANES = 5, 4, 3, 7


def loss_checks(device: torch.device | str = "cpu") -> list[Check]:
    """Check ∂ℓ/∂outputs, the credit on h and the readout's gradients of every loss."""
    return [_check(name, loss(), device) for name, loss in LOSSES.items()]


def _check(name: str, loss: Loss, device: torch.device | str) -> Check:
    generator = Generator().manual_seed(0)
    readout = Readout(UNITS, OUTPUTS, HIDDEN, generator, torch.float64, loss).to(device)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64).to(device)

    h_BK, mask_B = 4 * uniform(LANES, UNITS) - 2, torch.arange(LANES, device=device) % 3 != 1
    if loss.classes:
        targets = (uniform(LANES) * OUTPUTS).long() * mask_B
    else:
        targets = uniform(LANES, OUTPUTS) * mask_B[:, None]
    learned = readout.learn(h_BK, targets, mask_B)
    got = [learned.credit_BK, *(p.grad for p in readout.parameters)]

    leaves = [x.detach().clone().requires_grad_() for x in (h_BK, *readout.parameters)]
    h_BK, weight_HK, bias_H, weight_OH, bias_O = leaves
    outputs_BO = (h_BK @ weight_HK.T + bias_H).relu() @ weight_OH.T + bias_O
    want = torch.autograd.grad(loss.value(outputs_BO, targets, mask_B).sum(), [outputs_BO, *leaves])
    flat = [x.flatten() for x in (learned.error_BO, *got) if x is not None]
    what = f"gradients of the readout under the loss {name}, autograd"
    return equal(what, torch.cat(flat), torch.cat([x.flatten() for x in want]))
