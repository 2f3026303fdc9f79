"""The one-step map (s, θ) → s', its Jacobians by `torch.func`, and where these can be nonzero.

Shape suffixes as in verify/problem.py, S = c·k states (component-major).
"""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Generator, Tensor
from torch.func import jacrev, vmap

from snaprun.core import RecurrentCore
from snaprun.verify.problem import Problem
from snaprun.verify.unrolled import attached, cross_entropy, dense_weights

PROBES = 32  # a slope that is zero on half of all inputs is missed once in 2^32


def next_state(core: RecurrentCore, state_S: Tensor, theta_P: Tensor, x_A: Tensor) -> Tensor:
    """Compute the next state s' of one lane, shape (S,)."""
    state_1CK = state_S.view(1, core.cell.components, core.units)
    pre_1MK = attached(dense_weights(core, theta_P), state_1CK[:, 0], x_A[None])
    return core.cell.transition(pre_1MK, state_1CK).flatten()


def jacobians(
    core: RecurrentCore, state_S: Tensor, theta_P: Tensor, x_A: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute D = ∂s'/∂s (S, S) and I = ∂s'/∂θ (S, P) of one lane."""
    return jacrev(partial(next_state, core), argnums=(0, 1))(state_S, theta_P, x_A)


def trajectory(problem: Problem) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield D (B, S, S), I (B, S, P) and the direct credit δ_t (B, S) of every step."""
    core, loss = problem.core, cross_entropy(problem)
    state_BS = core.initial_state(problem.lanes, torch.float64).flatten(1)
    for t in range(problem.steps):
        state_BS = state_BS.masked_fill(problem.resets_TB[t][:, None], 0)
        point = state_BS, problem.theta_P, problem.inputs_TBA[t]
        D_BSS, I_BSP = vmap(partial(jacobians, core), in_dims=(0, None, 0))(*point)
        state_BS = vmap(partial(next_state, core), in_dims=(0, None, 0))(*point)
        leaf_BS = state_BS.clone().requires_grad_()
        total = loss(leaf_BS[:, : core.units], problem.targets_TB[t])
        yield D_BSS, I_BSP, torch.autograd.grad(total, leaf_BS)[0]


def structure(core: RecurrentCore) -> tuple[Tensor, Tensor]:
    """Return P_D (S, S) and P_I (S, P): the entries nonzero at any of PROBES random points."""
    generator = Generator().manual_seed(0)

    def normal(size: int) -> Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64).to(core.device)

    P_D = torch.zeros(core.states, core.states, dtype=torch.bool, device=core.device)
    P_I = torch.zeros(core.states, core.layout.size, dtype=torch.bool, device=core.device)
    for _ in range(PROBES):
        D_SS, I_SP = jacobians(
            core, normal(core.states), normal(core.layout.size), normal(core.layout.inputs)
        )
        P_D |= D_SS != 0
        P_I |= I_SP != 0
    return P_D, P_I


def mask(core: RecurrentCore, n: int | None) -> Tensor:
    """Compute M_n = OR_{m<n} P_D^m P_I (S, P) of equation (5); all ones if `n` is None."""
    if n is None:
        size = (core.states, core.layout.size)
        return torch.ones(size, dtype=torch.bool, device=core.device)
    P_D, power_SP = structure(core)
    M_SP = power_SP
    for _ in range(n - 1):
        power_SP = P_D.double() @ power_SP.double() > 0
        M_SP = M_SP | power_SP
    return M_SP
