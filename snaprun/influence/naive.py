"""Masked dense influence: the specification against which every other backend is tested.

Shape suffixes: B lanes, S = c·k states, P live recurrent parameters, L entries of the pattern.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from snaprun.core import Record, RecurrentCore, Sizes, Storage
from snaprun.core.jacobians import dynamics, immediate
from snaprun.sparsity import Layout, Pattern, Reach


@dataclass(frozen=True)
class Plan:
    """What the backend needs to know about a core and a pattern."""

    layout: Layout
    mask_SP: Tensor  # M_n
    row_L: Tensor  # the rows of Pattern.entries
    column_L: Tensor  # the columns of Pattern.entries


def plan(core: RecurrentCore, pattern: Pattern) -> Plan:
    """Makes the plan of SnAp-n on `core`."""
    device = core.device
    row_L, column_L = pattern.entries
    return Plan(core.layout, pattern.mask_SP.to(device), row_L.to(device), column_L.to(device))


def init(plan: Plan, lanes: int, dtype: torch.dtype) -> list[Tensor]:
    """Returns J_0 = 0, one tensor of shape (B, S, P)."""
    return [torch.zeros(lanes, *plan.mask_SP.shape, dtype=dtype, device=plan.mask_SP.device)]


def reset(plan: Plan, J: list[Tensor], lanes_B: Tensor) -> None:
    """Sets J to 0 in place in the lanes where a sequence begins."""
    for part in J:
        part[lanes_B] = 0


def step(plan: Plan, J: list[Tensor], record: Record) -> tuple[list[Tensor], Tensor | None]:
    """Advances J by equation (5), J_t = M_n ∘ (I_t + D_t J_(t-1)).

    Returns J_t, and the gradient Σ_b δ_b J_b, shape (P,), or None if the record has no credit.
    """
    J_BSP = plan.mask_SP * (immediate(record, plan.layout) + dynamics(record) @ J[0])
    if record.credit_BCK is None:
        return [J_BSP], None
    return [J_BSP], torch.einsum("bs,bsp->p", record.credit_BCK.flatten(1), J_BSP)


def tensors(J: list[Tensor]) -> list[Tensor]:
    """Returns the tensors that are kept from step to step."""
    return J


def dense(plan: Plan, J: list[Tensor]) -> Tensor:
    """Returns the influence matrix, shape (B, S, P)."""
    return J[0]


def entries(plan: Plan, J: list[Tensor]) -> Tensor:
    """Returns a copy of the live entries in the order of `Pattern.entries`, shape (B, L)."""
    return J[0][:, plan.row_L, plan.column_L]


def assign(plan: Plan, J: list[Tensor], J_BL: Tensor) -> None:
    """Sets J in place from its live entries (B, L)."""
    J[0][:, plan.row_L, plan.column_L] = J_BL.to(J[0])


def storage(reach: Reach, sizes: Sizes) -> Storage:
    """Counts J and, in a step, I, D J, the sum of I and D J, and the masked sum, all dense."""
    J = sizes.lanes * reach.states * reach.parameters * sizes.itemsize
    index = reach.states * reach.parameters + 16 * reach.entries
    listed = sizes.lanes * reach.entries * sizes.itemsize
    D = sizes.lanes * reach.states**2 * sizes.itemsize
    return Storage(J, index=index, setup=40 * reach.entries, step=4 * J + 2 * D, saved=listed)
