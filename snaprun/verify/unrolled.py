"""The network unrolled over time, differentiated by autograd: the oracle of exact gradients.

It uses only the `transition` of a cell, never its `slopes`. Shape suffixes as in
verify/problem.py, M slots, C components, J sources [h; x; 1].
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from snaprun.core import RecurrentCore
from snaprun.verify.problem import NO_TARGET, Problem

Preactivations = Callable[[Tensor, Tensor, Tensor], Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]


def dense_weights(core: RecurrentCore, theta_P: Tensor) -> Tensor:
    """Return the weights (m, k, J): θ at the live entries and zero elsewhere."""
    layout = core.layout
    zero_MKJ = theta_P.new_zeros(layout.live_MKJ.shape)
    return zero_MKJ.index_put((layout.slot_P, layout.unit_P, layout.source_P), theta_P)


def attached(weights_MKJ: Tensor, h_BK: Tensor, x_BA: Tensor) -> Tensor:
    """Compute a_mu = Σ_v U_muv h_v + Σ_j W_muj x_j + b_mu, equation (1), shape (B, m, k)."""
    units = h_BK.shape[1]
    recurrent_BMK = torch.einsum("muv,bv->bmu", weights_MKJ[:, :, :units], h_BK)
    input_BMK = torch.einsum("mua,ba->bmu", weights_MKJ[:, :, units:-1], x_BA)
    return recurrent_BMK + input_BMK + weights_MKJ[:, :, -1]


def detached(weights_MKJ: Tensor, h_BK: Tensor, x_BA: Tensor) -> Tensor:
    """Compute equation (1) with h as a constant: no credit flows back through U."""
    return attached(weights_MKJ, h_BK.detach(), x_BA)


def cross_entropy(problem: Problem) -> Loss:
    """Return the loss of the problem's readout, summed over the lanes with a target."""

    def loss(h_BK: Tensor, targets_B: Tensor) -> Tensor:
        logits_BO = h_BK @ problem.readout_OK.T
        return F.cross_entropy(logits_BO, targets_B, ignore_index=NO_TARGET, reduction="sum")

    return loss


def gradients(
    problem: Problem,
    *,
    every: int | None = None,
    preactivations: Preactivations = attached,
    loss: Loss | None = None,
) -> list[Tensor]:
    """Return ∂(Σ loss)/∂θ (P,) of every window of `every` steps (default: one window).

    The state is detached between windows. `preactivations` and `loss` replace equation (1) and the
    loss of the problem in what is differentiated.
    """
    loss = loss or cross_entropy(problem)
    every = every or problem.steps
    state_BCK = problem.core.initial_state(problem.lanes, torch.float64)
    found = []
    for start in range(0, problem.steps, every):
        theta_P = problem.theta_P.clone().requires_grad_()
        weights_MKJ = dense_weights(problem.core, theta_P)
        state_BCK = state_BCK.detach()
        total = theta_P.sum() * 0  # a window without a target has a gradient too
        for t in range(start, min(start + every, problem.steps)):
            kept_B = (~problem.resets_TB[t]).to(state_BCK)
            state_BCK = state_BCK * kept_B[:, None, None]
            pre_BMK = preactivations(weights_MKJ, state_BCK[:, 0], problem.inputs_TBA[t])
            state_BCK = problem.core.cell.transition(pre_BMK, state_BCK)
            total = total + loss(state_BCK[:, 0], problem.targets_TB[t])
        found.append(torch.autograd.grad(total, theta_P)[0])
    return found
