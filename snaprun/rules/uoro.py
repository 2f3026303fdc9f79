"""Unbiased online recurrent optimisation."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType
from typing import Annotated

import torch
from torch import Generator, Tensor

from snaprun.core import Record, RecurrentCore, Sizes, Storage
from snaprun.core.jacobians import dynamics_jvp, immediate_vjp
from snaprun.rules.base import Cost, Counts, LearningRule, Saved, Setup
from snaprun.sparsity import Layout

EPSILON = 1e-7  # keeps the norms' ratios finite, as in the paper


@dataclass(frozen=True)
class UOROState:
    """The rank-one estimate J ≈ s̃ ⊗ θ̃ of every lane, and the gradient since the last update."""

    layout: Layout
    draw: Callable[[torch.Size], Tensor]  # ν of a step: signs of this shape
    s_BCK: Annotated[Tensor, Saved("s")]  # s̃
    theta_BP: Annotated[Tensor, Saved("theta", parameters=True)]  # θ̃
    gradient_P: Annotated[Tensor, Saved("gradient", parameters=True, kept=False)]


class UORO(LearningRule[UOROState]):
    """Carries an unbiased rank-one estimate s̃ ⊗ θ̃ of the influence matrix forward.

        s̃ ← ρ0 D s̃ + ρ1 ν,    θ̃ ← θ̃/ρ0 + νᵀI/ρ1,    g_t = (δ_t·s̃) θ̃

    ν ∈ {±1}^S iid, ρ0 = √((‖θ̃‖+ε)/(‖D s̃‖+ε)), ρ1 = √((‖νᵀI‖+ε)/(‖ν‖+ε)). Tallec & Ollivier
    2017, arXiv 1702.05043. The authors' code shares θ̃ over the minibatch, which adds noise
    across lanes. Here each lane has its own θ̃, which takes B·P numbers. `step` draws ν once, by the
    state's `draw`.

    >>> from snaprun.cells import Vanilla
    >>> from snaprun.rules import RULES
    >>> from snaprun.sparsity import Dense
    >>> core = RecurrentCore.build(Vanilla(), Dense(), 8, 4, Generator())
    >>> RULES["uoro"]().cost(core, horizon=1).state  # 8 of s̃ and 104 of θ̃
    112
    """

    claim = "unbiased"
    state_type = UOROState

    def init(self, setup: Setup) -> UOROState:
        """Returns s̃ = θ̃ = 0."""
        core = setup.core
        theta_BP = torch.zeros(setup.lanes, core.layout.size, dtype=setup.dtype, device=core.device)
        s_BCK = core.initial_state(setup.lanes, setup.dtype)
        draw = partial(signs, setup.noise)
        return UOROState(core.layout, draw, s_BCK, theta_BP, torch.zeros_like(theta_BP[0]))

    def reset(self, state: UOROState, lanes_B: Tensor) -> UOROState:
        """Sets s̃ and θ̃ to 0 in `lanes_B`."""
        state.s_BCK[lanes_B] = 0
        state.theta_BP[lanes_B] = 0
        return state

    def step(self, state: UOROState, record: Record) -> UOROState:
        """Advances s̃ and θ̃, and adds Σ_b (δ_b·s̃_b) θ̃_b to the gradient."""
        nu_BCK = state.draw(state.s_BCK.shape).to(state.s_BCK)
        forward_BCK = dynamics_jvp(record, state.s_BCK)
        immediate_BP = immediate_vjp(record, state.layout, nu_BCK)
        rho0_B = balance(state.theta_BP, forward_BCK)
        rho1_B = balance(immediate_BP, nu_BCK)
        s_BCK = rho0_B[:, None, None] * forward_BCK + rho1_B[:, None, None] * nu_BCK
        theta_BP = state.theta_BP / rho0_B[:, None] + immediate_BP / rho1_B[:, None]
        state = replace(state, s_BCK=s_BCK, theta_BP=theta_BP)
        if record.credit_BCK is None:
            return state
        scale_B = (record.credit_BCK * s_BCK).sum((1, 2))
        return replace(state, gradient_P=state.gradient_P + scale_B @ theta_BP)

    def cost(self, core: RecurrentCore, horizon: int) -> Cost:
        """Counts the forward step, D s̃, νᵀI, three norms (‖ν‖ is constant), updates, (δ·s̃) θ̃."""
        n = Counts.of(core)
        forward = n.recurrent + n.slopes + n.blocks
        immediate = n.slopes + n.parameters
        norms = 2 * n.parameters + n.states
        update = 2 * n.parameters + 2 * n.states
        passed = 2 * n.links + n.slopes // core.units * n.upper  # up D s̃, and down ν
        seen = int(core.credited(passed=False).sum())
        macs = n.weights + forward + passed + immediate + norms + update + seen + n.parameters
        kept = n.states + n.parameters
        return Cost(macs, kept, 2 * kept, "k + p", "k² + p")

    def storage(self, sizes: Sizes, backend: ModuleType | None) -> Storage:
        """Counts s̃ and θ̃; in PyTorch each step allocates θ̃ and νᵀI anew."""
        n, w = sizes, sizes.itemsize
        each = (n.states + n.parameters) * w
        if backend is None:
            scratch = 2 * (n.states + n.slots * n.units) * n.padded * w
            return Storage(n.padded * each, scratch, saved=n.lanes * each)
        anew = 4 * n.lanes * n.parameters * w
        return Storage(n.lanes * each, step=anew, saved=n.lanes * each)


def signs(noise: Generator, shape: torch.Size) -> Tensor:
    """Returns +1 or -1 at random for every entry."""
    return torch.randint(0, 2, shape, generator=noise) * 2 - 1


def balance(above: Tensor, below: Tensor) -> Tensor:
    """Returns √((‖above‖+ε)/(‖below‖+ε)) of every lane, shape (B,)."""
    norm_above, norm_below = (x.flatten(1).norm(dim=1) + EPSILON for x in (above, below))
    return (norm_above / norm_below).sqrt()
