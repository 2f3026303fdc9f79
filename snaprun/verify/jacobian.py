"""Checks a cell's slopes against autograd, and every product built on them against `torch.func`."""

from collections import defaultdict

import torch
from torch import Generator, Tensor

from snaprun.cells import Cell
from snaprun.core import jacobians
from snaprun.verify import onestep
from snaprun.verify.check import Check, equal
from snaprun.verify.problem import Problem

BOUND = 1e-12


def unit_slopes(cell: Cell, pre_BMK: Tensor, state_BCK: Tensor) -> tuple[Tensor, Tensor]:
    """Return ∂s'_u/∂a_mu (B, c, m, k) and ∂s'_u/∂s_u (B, c, c, k) by autograd.

    The transition is elementwise per lane and unit, so the derivative of a sum over all of them
    holds the derivative of each.
    """
    point = pre_BMK.clone().requires_grad_(), state_BCK.clone().requires_grad_()
    after_BCK, rows = cell.transition(*point), []
    for p in range(cell.components):
        part = after_BCK[:, p].sum()
        if not part.requires_grad:
            rows.append([torch.zeros_like(x) for x in point])
            continue
        rows.append(
            torch.autograd.grad(
                part, point, retain_graph=True, allow_unused=True, materialize_grads=True
            )
        )
    dsda, dsds = (torch.stack(rows_of, 1) for rows_of in zip(*rows, strict=True))
    return dsda, dsds


def cell_checks(cell: Cell, device: torch.device | str = "cpu") -> list[Check]:
    """Check the slopes at random points, and the exact zeros outside the declared patterns."""
    generator = Generator().manual_seed(0)

    def normal(rows: int) -> Tensor:
        return torch.randn(7, rows, 11, generator=generator, dtype=torch.float64).to(device)

    pre_BMK, state_BCK = normal(len(cell.slots)), normal(cell.components)
    got = cell.slopes(pre_BMK, state_BCK)
    want = unit_slopes(cell, pre_BMK, state_BCK)
    checks = []
    for what, g, w, pattern in zip(
        ("∂s'/∂a", "∂s'/∂s"), got, want, (cell.slope_pattern, cell.state_pattern), strict=True
    ):
        checks.append(equal(f"{what} of the cell, autograd", g, w, BOUND))
        outside = w[:, ~torch.tensor(pattern, device=device)]
        checks.append(equal(f"{what} outside its pattern, 0", outside, 0 * outside, 0.0))
    return checks


def product_checks(problem: Problem, seed: int) -> list[Check]:
    """Check D, I, D v, λ D, λ I and δ of every step of the problem."""
    core = problem.core
    generator = Generator().manual_seed(seed)
    found: dict[str, list[tuple[Tensor, Tensor]]] = defaultdict(list)
    for (_, record), step in zip(problem.records(), onestep.trajectory(problem), strict=True):
        D_BSS, I_BSP = step.D_BSS, step.I_BSP
        shape = (problem.lanes, core.cell.components, core.units)
        v_BCK = torch.randn(shape, generator=generator, dtype=torch.float64).to(core.device)
        v_BS = v_BCK.flatten(1)
        credit_BCK = record.credit_BCK
        ours_BS = torch.zeros_like(v_BS) if credit_BCK is None else credit_BCK.flatten(1)
        jvp_BS = jacobians.dynamics_jvp(record, v_BCK).flatten(1)
        vjp_BS = jacobians.dynamics_vjp(record, v_BCK).flatten(1)
        vjp_BP = jacobians.immediate_vjp(record, core.layout, v_BCK)
        found["D"].append((jacobians.dynamics(record), D_BSS))
        found["I"].append((jacobians.immediate(record, core.layout), I_BSP))
        found["D v"].append((jvp_BS, torch.einsum("bij,bj->bi", D_BSS, v_BS)))
        found["λ D"].append((vjp_BS, torch.einsum("bi,bij->bj", v_BS, D_BSS)))
        found["λ I"].append((vjp_BP, torch.einsum("bi,bij->bj", v_BS, I_BSP)))
        found["δ"].append((ours_BS, step.direct_BS))
        passed = jacobians.passed_down(record).credit_BCK
        passed_BS = torch.zeros_like(v_BS) if passed is None else passed.flatten(1)
        found["δ (1 − E)⁻¹"].append((passed_BS, step.passed_BS))
    checks = []
    for name, pairs in found.items():
        got, want = map(torch.stack, zip(*pairs, strict=True))
        checks.append(equal(f"{name} of every step, torch.func", got, want, BOUND))
    return checks
