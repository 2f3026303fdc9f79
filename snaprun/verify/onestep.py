"""The one-step map (s, θ) → s', its Jacobians by `torch.func`, and where these can be nonzero.

Shape suffixes as in verify/problem.py, S = c·k states (component-major).
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.func import jacrev, vmap

from snaprun.core import RecurrentCore
from snaprun.verify import unrolled
from snaprun.verify.problem import Problem
from snaprun.verify.unrolled import attached, cross_entropy

PROBES = 96  # of a slope that is zero at six of seven points, one in 10^6 is missed
NUMBERS = 2**22  # of the Jacobians of the points that are probed together


def next_state(core: RecurrentCore, state_S: Tensor, theta_P: Tensor, x_A: Tensor) -> Tensor:
    """Compute the next state s' of one lane, shape (S,)."""
    state_1CK = state_S.view(1, core.cell.components, core.units)
    return unrolled.next_state(core, theta_P, state_1CK, x_A[None], attached).flatten()


def jacobians(
    core: RecurrentCore, state_S: Tensor, theta_P: Tensor, x_A: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute D = ∂s'/∂s (S, S) and I = ∂s'/∂θ (S, P) of one lane."""
    return jacrev(partial(next_state, core), argnums=(0, 1))(state_S, theta_P, x_A)


class OneStep(NamedTuple):
    """The derivatives of one step."""

    D_BSS: Tensor
    I_BSP: Tensor
    direct_BS: Tensor  # δ_t, by the state that the readout sees
    passed_BS: Tensor  # ∂L_t by the state of every layer, through the layers above


def trajectory(problem: Problem) -> Iterator[OneStep]:
    """Yield the derivatives of every step."""
    core, loss = problem.core, cross_entropy(problem)
    state_BS = core.initial_state(problem.lanes, torch.float64).flatten(1)
    for t in range(problem.steps):
        state_BS = state_BS.masked_fill(problem.resets_TB[t][:, None], 0)
        point = state_BS, problem.theta_P, problem.inputs_TBA[t]
        D_BSS, I_BSP = vmap(partial(jacobians, core), in_dims=(0, None, 0))(*point)
        before_BCK = state_BS.unflatten(1, (core.cell.components, core.units))
        push_BCK = torch.zeros_like(before_BCK).requires_grad_()
        after_BCK = unrolled.next_state(
            core, problem.theta_P, before_BCK, problem.inputs_TBA[t], attached, push_BCK
        )
        total = loss(after_BCK[:, core.cell.read], problem.targets_TB[t], slice(None))
        through = torch.autograd.grad(total, (after_BCK, push_BCK), allow_unused=True)
        direct_BS, passed_BS = (
            torch.zeros_like(state_BS) if x is None else x.flatten(1) for x in through
        )
        state_BS = after_BCK.detach().flatten(1)
        yield OneStep(D_BSS, I_BSP, direct_BS, passed_BS)


def structure(core: RecurrentCore) -> tuple[Tensor, Tensor]:
    """Return P_D (S, S) and P_I (S, P): the entries that are nonzero at some random point.

    Points are drawn, some together, until PROBES of them show no new entry. The weights are small,
    because a spiking unit has a slope near its threshold alone.
    """
    generator = Generator().manual_seed(0)
    states, parameters, dense = core.states, core.layout.size, core.layout.live_MKJ.numel()
    together = min(PROBES, max(1, NUMBERS // (states * (states + dense))))

    def normal(size: int) -> Tensor:
        drawn = torch.randn(together, size, generator=generator, dtype=torch.float64)
        return drawn.to(core.device)

    P_D = torch.zeros(states, states, dtype=torch.bool, device=core.device)
    P_I = torch.zeros(states, parameters, dtype=torch.bool, device=core.device)
    known = since = 0
    while since < PROBES:
        theta_NP = normal(parameters) / core.layout.live_MKJ.shape[2] ** 0.5
        D_NSS, I_NSP = vmap(partial(jacobians, core))(normal(states), theta_NP, normal(core.inputs))
        P_D |= (D_NSS != 0).any(0)
        P_I |= (I_NSP != 0).any(0)
        found = int(P_D.sum() + P_I.sum())
        known, since = found, since + together if found == known else 0
    return P_D, P_I


def mask(core: RecurrentCore, n: int | None, found: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Compute M_n = OR_{m<n} P_D^m P_I (S, P) of equation (5); all ones if `n` is None.

    P_D and P_I are those within the layers. `found` is the `structure` of the core, if it is known.
    """
    if n is None:
        size = (core.states, core.layout.size)
        return torch.ones(size, dtype=torch.bool, device=core.device)
    P_D, P_I = found or structure(core)
    sizes = torch.tensor(core.layout.layers)
    layer_K = torch.arange(len(sizes)).repeat_interleave(sizes).to(core.device)
    layer_S = layer_K.repeat(core.cell.components)
    P_D = P_D & (layer_S[:, None] == layer_S)
    power_SP = P_I & (layer_S[:, None] == layer_K[core.layout.unit_P])
    M_SP = power_SP
    for _ in range(n - 1):
        power_SP = P_D.double() @ power_SP.double() > 0
        M_SP = M_SP | power_SP
    return M_SP
