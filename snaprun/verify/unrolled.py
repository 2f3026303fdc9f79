"""The network unrolled over time, differentiated by autograd: the oracle of exact gradients.

It uses only the `transition` of a cell, never its `slopes`. Shape suffixes as in
verify/problem.py, M slots, C components, J sources [h; x; 1].
"""

from collections.abc import Callable, Iterator
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional as F

from snaprun.core import RecurrentCore
from snaprun.verify.problem import NO_TARGET, Problem

Preactivations = Callable[[Tensor, Tensor, Tensor], Tensor]
# From what a readout sees of all layers (B, k), targets (B,), and the units whose parameters are
# differentiated.
Loss = Callable[[Tensor, Tensor, slice], Tensor]


def dense_weights(core: RecurrentCore, theta_P: Tensor) -> Tensor:
    """Return the weights (m, k, J): θ at the live entries and zero elsewhere."""
    layout = core.layout
    zero_MKJ = theta_P.new_zeros(layout.live_MKJ.shape)
    return zero_MKJ.index_put((layout.slot_P, layout.unit_P, layout.source_P), theta_P)


def by_layer(core: RecurrentCore, theta_P: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield the units of each layer, and its weights on [h(t-1); x or the h(t) below; 1]."""
    weights_MKJ, layers = dense_weights(core, theta_P), core.layout.layers
    passed = weights_MKJ.shape[2] - 1 - sum(layers[:-1])  # the first source h(t)
    fed = slice(sum(layers), passed)
    for end, size in zip(accumulate(layers), layers, strict=True):
        units = slice(end - size, end)
        own = weights_MKJ[:, units]
        yield units, torch.cat((own[:, :, units], own[:, :, fed], own[:, :, -1:]), 2)
        fed = slice(passed + units.start, passed + units.stop)


def next_state(
    core: RecurrentCore,
    theta_P: Tensor,
    state_BCK: Tensor,
    x_BA: Tensor,
    preactivations: "Preactivations",
    push_BCK: Tensor | None = None,
) -> Tensor:
    """Compute s(t), layer by layer; `push_BCK` is added to the s(t) of each layer."""
    found = []
    for units, weights_MKJ in by_layer(core, theta_P):
        own_BCK = state_BCK[:, :, units]
        pre_BMK = preactivations(weights_MKJ, own_BCK[:, 0], x_BA)
        found.append(core.cell.transition(pre_BMK, own_BCK))
        if push_BCK is not None:
            found[-1] = found[-1] + push_BCK[:, :, units]
        x_BA = found[-1][:, 0]
    return torch.cat(found, 2)


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

    def loss(h_BK: Tensor, targets_B: Tensor, units: slice = slice(None)) -> Tensor:
        del units
        logits_BO = h_BK[:, -problem.readout_OK.shape[1] :] @ problem.readout_OK.T
        return F.cross_entropy(logits_BO, targets_B, ignore_index=NO_TARGET, reduction="sum")

    return loss


def gradients(
    problem: Problem,
    *,
    every: int | None = None,
    truncate: int | None = None,
    preactivations: Preactivations = attached,
    loss: Loss | None = None,
    memory: slice | None = None,
    sent: bool = True,
) -> list[Tensor]:
    """Return ∂(Σ loss)/∂θ (P,) of every window of `every` steps (default: one window).

    The state is detached between windows, and before the steps t of a window with (t + 1) mod
    `truncate` = 0. `preactivations` and `loss` replace equation (1) and the
    loss of the problem in what is differentiated. If `memory` is given, only these units remember:
    the state of every other unit is detached after every step. Without `sent`, h is detached after
    every step, in all that it acts on at the next one.
    """
    core, loss = problem.core, loss or cross_entropy(problem)
    every = every or problem.steps
    state_BCK = core.initial_state(problem.lanes, torch.float64)
    units = memory or slice(0, core.units)
    found = []
    for start in range(0, problem.steps, every):
        theta_P = problem.theta_P.clone().requires_grad_()
        state_BCK = state_BCK.detach()
        total = theta_P.sum() * 0  # a window without a target has a gradient too
        for t in range(start, min(start + every, problem.steps)):
            if truncate is not None and (t - start + 1) % truncate == 0:
                state_BCK = state_BCK.detach()
            kept_B = (~problem.resets_TB[t]).to(state_BCK)
            state_BCK = state_BCK * kept_B[:, None, None]
            constant_BCK = state_BCK.detach().clone()
            constant_BCK[:, not sent :, units] = state_BCK[:, not sent :, units]
            point = core, theta_P, constant_BCK, problem.inputs_TBA[t]
            state_BCK = next_state(*point, preactivations)
            total = total + loss(state_BCK[:, core.cell.read], problem.targets_TB[t], units)
        found.append(torch.autograd.grad(total, theta_P)[0])
    return found


def of_layers(
    problem: Problem,
    preactivations: Preactivations = attached,
    loss: Loss | None = None,
    sent: bool = True,
) -> Tensor:
    """Return ∂(Σ loss)/∂θ (P,) of the sequence, for each layer with its own memory alone.

    What the layers above a layer have kept of it since earlier steps is left out. With a single
    layer this is the whole gradient.
    """
    core, unit_P, total_P = problem.core, problem.core.layout.unit_P, 0 * problem.theta_P
    for units, _ in by_layer(core, problem.theta_P):
        own_P = (unit_P >= units.start) & (unit_P < units.stop)
        cut = {"preactivations": preactivations, "loss": loss, "memory": units, "sent": sent}
        total_P = total_P + own_P * gradients(problem, **cut)[0]
    return total_P
