"""Influence as per-unit blocks and batched products, in PyTorch, on any device.

Shape suffixes as in influence/blocks.py.
"""

import torch
from torch import Tensor

from snaprun.core import Record, RecurrentCore
from snaprun.influence.blocks import Blocks, pack
from snaprun.sparsity import Pattern

Plan = Blocks


def plan(core: RecurrentCore, pattern: Pattern) -> Plan:
    """The packed blocks of SnAp-n on `core`."""
    return pack(core, pattern)


def init(plan: Plan, lanes: int, dtype: torch.dtype) -> list[Tensor]:
    """J_0 = 0, for each chunk a tensor (B, G, R, C)."""
    return [
        torch.zeros(
            lanes,
            *chunk.rows_GR.shape,
            chunk.columns_GC.shape[1],
            dtype=dtype,
            device=chunk.rows_GR.device,
        )
        for chunk in plan.chunks
    ]


def reset(plan: Plan, J: list[Tensor], lanes_B: Tensor) -> None:
    """J ← 0 in place for the lanes where a sequence begins."""
    del plan
    for part in J:
        part[lanes_B] = 0


def step(plan: Plan, J: list[Tensor], record: Record) -> tuple[list[Tensor], Tensor | None]:
    """J_u ← D[R, R] J_u + (rows of u) ⊗ I_u, equation (7), and Σ_b δ_b J_b (P,) where there is credit."""
    D_BE = _with_zero(plan.entries.values(record))
    src_BJ = _with_zero(record.src_BJ)
    slopes_BX = record.dsda_BCMK.flatten(1)
    credit_BS = None if record.credit_BCK is None else _with_zero(record.credit_BCK.flatten(1))
    gradient = None if credit_BS is None else credit_BS.new_zeros(plan.parameters + 1)
    advanced = []
    for chunk, J_BGRC in zip(plan.chunks, J, strict=True):
        D_BGRR = _take(D_BE, chunk.entries_GRR)
        I_BNC = _take(slopes_BX, chunk.own_slope_NC) * _take(src_BJ, chunk.own_source_NC)
        elementwise = D_BGRR.shape[-1] == 1  # SnAp-1 of a one-component cell
        J_BGRC = D_BGRR * J_BGRC if elementwise else D_BGRR @ J_BGRC
        J_BGRC.flatten(1, 2).index_add_(1, chunk.own_row_N, I_BNC)
        advanced.append(J_BGRC)
        if credit_BS is not None and gradient is not None:
            credit_BGR1 = _take(credit_BS, chunk.rows_GR).unsqueeze(3)
            contracted = credit_BGR1 * J_BGRC if elementwise else credit_BGR1.mT @ J_BGRC
            gradient[chunk.columns_GC] = contracted.sum((0, 2))
    return advanced, None if gradient is None else gradient[:-1]


def dense(plan: Plan, J: list[Tensor]) -> Tensor:
    """The influence matrix, shape (B, S, P)."""
    J_BSP = J[0].new_zeros(len(J[0]), plan.states + 1, plan.parameters + 1)
    for chunk, J_BGRC in zip(plan.chunks, J, strict=True):
        J_BSP[:, chunk.rows_GR[:, :, None], chunk.columns_GC[:, None, :]] = J_BGRC
    return J_BSP[:, :-1, :-1]


def _take(values_BX: Tensor, index: Tensor) -> Tensor:
    # index_select on the flat index is several times faster than advanced indexing.
    return values_BX.index_select(1, index.flatten()).unflatten(1, index.shape)


def _with_zero(values_BX: Tensor) -> Tensor:
    return torch.nn.functional.pad(values_BX, (0, 1))
