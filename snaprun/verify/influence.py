"""Checks the influence matrix of RTRL and SnAp-n against its definition, on every backend."""

from collections.abc import Iterator
from types import ModuleType

import torch
from torch import Generator, Tensor

from snaprun.influence import BACKENDS, naive
from snaprun.rules import SnAp
from snaprun.rules.over_steps import advance
from snaprun.verify import onestep
from snaprun.verify.check import Check, equal
from snaprun.verify.problem import Problem


def definition_checks(rule: SnAp, problem: Problem) -> list[Check]:
    """Check every J_t and Σ_t δ_t J_t against equation (4) or (5), Jacobians by `torch.func`."""
    name = "(4)" if rule.n is None else "(5)"
    got = list(_advanced(rule, problem, naive))
    M_SP = onestep.mask(problem.core, rule.n)
    want = list(defined(problem, M_SP, "direct_BS" if rule.n is None else "passed_BS"))
    return _compared(f"equation {name} by jacrev", got, want)


def backend_checks(rule: SnAp, problem: Problem) -> list[Check]:
    """Check every J_t and Σ_t δ_t J_t of each backend against the backend `naive`."""
    want = list(_advanced(rule, problem, naive))
    checks = []
    for name, backend in BACKENDS.items():
        on_device = name != "native" or problem.core.device.type == "cpu"
        if backend is not naive and on_device:
            got = list(_advanced(rule, problem, backend))
            checks += _compared(f"influence={name}, naive", got, want)
    return checks


def defined(problem: Problem, M_SP: Tensor, credit: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield J_t = M ∘ (I_t + D_t J_(t-1)) (B, S, P) and Σ_(τ≤t) δ_τ J_τ (P,) after every step.

    `credit` names δ among the derivatives of a step (verify/onestep.py).
    """
    J_BSP = M_SP.new_zeros(problem.lanes, *M_SP.shape, dtype=torch.float64)
    gradient_P = torch.zeros_like(problem.theta_P)
    for resets_B, step in zip(problem.resets_TB, onestep.trajectory(problem), strict=True):
        J_BSP = J_BSP.masked_fill(resets_B[:, None, None], 0)
        J_BSP = M_SP * (step.I_BSP + step.D_BSS @ J_BSP)
        gradient_P = gradient_P + torch.einsum("bs,bsp->p", getattr(step, credit), J_BSP)
        yield J_BSP, gradient_P


def _advanced(rule: SnAp, problem: Problem, backend: ModuleType) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield what `defined` yields, computed by the rule itself."""
    state = rule.init(problem.setup(Generator(), backend))
    for step in problem.records():
        state = advance(rule, state, [step])
        yield backend.dense(state.plan, state.J).clone(), state.gradient_P  # reset is in place


def _compared(
    oracle: str, got: list[tuple[Tensor, Tensor]], want: list[tuple[Tensor, Tensor]]
) -> list[Check]:
    J, J_wanted = (torch.stack([J for J, _ in part]) for part in (got, want))
    return [
        equal(f"J of every step, {oracle}", J, J_wanted),
        equal(f"gradient, {oracle}", got[-1][1], want[-1][1]),
    ]
