"""Influence in C++ (snaprun/native/influence.cpp), on the CPU, with the functions of every backend.

The whole-sequence engine calls the same kernel from C++. Shape suffixes: B lanes,
C components, M slots, K units, J = k + a + 1 sources, S = c·k states, P parameters, L entries of
the pattern.
"""

import os
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from snaprun import checks
from snaprun.core import Record, RecurrentCore, Sizes, Storage
from snaprun.sparsity import Layout, Pattern, Reach

try:
    _native: Any = import_module("snaprun._native")
except ImportError:  # installed without a compiler
    _native = None


@dataclass(frozen=True)
class Plan:
    """The index arrays that the extension takes, and the layout that packs the weights."""

    layout: Layout
    pattern: Pattern
    fields: dict[str, Any]
    states: int


@dataclass(frozen=True)
class Influence:
    """J in the extension's storage."""

    kernel: Any
    lanes: int
    dtype: torch.dtype


def available() -> bool:
    """Returns whether the extension was built."""
    return _native is not None


def isa() -> str:
    """Returns the name of the instruction set that the extension uses."""
    return _native.isa()


def require_isa() -> None:
    """Raises UserError if this CPU or this build does not support the SNAPRUN_ISA asked for."""
    asked = os.environ.get("SNAPRUN_ISA")
    if asked and _native is not None:
        checks.one_of("SNAPRUN_ISA", asked, _native.isas())


def startable_threads(wanted: int) -> int:
    """Returns how many of `wanted` threads, the caller's included, this process can start."""
    return wanted if _native is None else _native.startable_threads(wanted)


def plan(core: RecurrentCore, pattern: Pattern) -> Plan:
    """Makes the index arrays of SnAp-n on `core`, which must be on the CPU."""
    fields = layout_fields(core) | block_fields(pattern)
    return Plan(core.layout, pattern, fields, core.states)


def init(plan: Plan, lanes: int, dtype: torch.dtype) -> Influence:
    """Returns J_0 = 0, in a kernel with as many threads as PyTorch has."""
    kinds = {torch.float32: "Influence32", torch.float64: "Influence64"}
    kernel = getattr(_native, kinds[dtype])(plan.fields, lanes, torch.get_num_threads())
    return Influence(kernel, lanes, dtype)


def reset(plan: Plan, J: Influence, lanes_B: Tensor) -> None:
    """Sets J to 0 in place in the lanes where a sequence begins."""
    J.kernel.reset(lanes_B.contiguous())


def step(plan: Plan, J: Influence, record: Record) -> tuple[Influence, Tensor | None]:
    """Advances J in place by equation (7), J_u ← D[R, R] J_u + (rows of u) ⊗ I_u.

    Returns J, and the gradient Σ_b δ_b J_b, shape (P,), or None if the record has no credit.
    """
    theta_P = plan.layout.gather(record.weights_MKJ)
    credit = gradient_P = None
    if record.credit_BCK is not None:
        credit, gradient_P = _innermost(record.credit_BCK, J), torch.zeros_like(theta_P)
    J.kernel.step(
        theta_P,
        _innermost(record.dsda_BCMK, J),
        _innermost(record.dsds_BCCK, J),
        _innermost(record.src_BJ, J),
        credit,
        gradient_P,
    )
    return J, gradient_P


def tensors(J: Influence) -> list[Tensor]:
    """Returns a placeholder of the size of J; the extension stores J itself."""
    return [torch.zeros(1, dtype=J.dtype).expand(J.kernel.stored)]


def dense(plan: Plan, J: Influence) -> Tensor:
    """Returns the influence matrix, shape (B, S, P)."""
    J_BSP = torch.zeros(J.lanes, plan.states, plan.layout.size, dtype=J.dtype)
    row_L, column_L = plan.pattern.entries
    J_BSP[:, row_L, column_L] = entries(plan, J)
    return J_BSP


def entries(plan: Plan, J: Influence) -> Tensor:
    """Returns a copy of the live entries in the order of `Pattern.entries`, shape (B, L)."""
    J_BL = torch.empty(J.lanes, plan.pattern.live, dtype=J.dtype)
    J.kernel.read(J_BL)
    return J_BL


def assign(plan: Plan, J: Influence, J_BL: Tensor) -> None:
    """Sets J in place from its live entries (B, L)."""
    J.kernel.assign(J_BL.contiguous())


VECTOR_BYTES = 32  # size of the core's vectors, with AVX
CHUNK_BYTES = 24 * 1024  # size of the rows of a block that are multiplied at once


def storage(reach: Reach, sizes: Sizes) -> Storage:
    """Counts J, its links and its tables; a panel of J holds a whole vector of lanes or one lane.

    A panel has spare room of three chunks per thread (snaprun/native/influence.cpp).
    """
    n, w, width = sizes, sizes.itemsize, VECTOR_BYTES // sizes.itemsize
    singles = n.lanes % width
    gap = 3 * min(n.threads, reach.blocks) * max(CHUNK_BYTES, 4 * VECTOR_BYTES * reach.most_rows)
    panels = n.lanes // width + singles
    # The columns of a single lane are padded to whole vectors.
    stored = n.lanes * reach.entries + singles * reach.rows * (width - 1)
    tables = n.lanes * (reach.dynamics + reach.states) + width * n.threads * reach.most_rows**2
    # int32 or smaller: the links, the entries of D with their terms, three copies of the pattern.
    index = 6 * reach.links + 4 * reach.rows + (8 + 8 * n.slots) * reach.dynamics
    index += 3 * (5 * reach.rows + 4 * reach.parameters + 8 * reach.dynamics)
    # The pattern as lists of Python integers, and as int64.
    listed = (24 + _boxed(reach.states)) * reach.rows + (16 + LISTED) * reach.parameters
    listed += 2 * (16 + _boxed(reach.states)) * reach.dynamics
    return Storage(
        stored * w + panels * gap, tables * w, index, listed, saved=n.lanes * reach.entries * w
    )


LISTED = 32  # bytes of a Python integer


def _boxed(bound: int) -> int:
    """Returns the mean bytes of a Python integer below `bound`; small ones are cached for free."""
    return round(LISTED * max(0.0, 1 - 257 / max(bound, 1)))


def layout_storage(sizes: Sizes) -> Storage:
    """Counts the index arrays of θ: three Python lists, two int32 copies, and one by column."""
    listed = 3 * 8 + _boxed(sizes.units) + _boxed(sizes.sources) + 8
    return Storage(index=(2 * 12 + 12) * sizes.parameters, setup=listed * sizes.parameters)


def _innermost(x: Tensor, J: Influence) -> Tensor:
    """Moves the lanes of `x` to the last axis and pads them with zeros."""
    return pad(x.movedim(0, -1), (0, J.kernel.stride - J.lanes)).contiguous()


def layout_fields(core: RecurrentCore) -> dict[str, Any]:
    """Returns the layout of θ in the form that the extension takes."""
    layout = core.layout.to("cpu")
    return {
        "units": core.units,
        "components": core.cell.components,
        "slots": len(core.cell.slots),
        "sources": layout.live_MKJ.shape[2],
        "layers": list(layout.layers),
        "unit": layout.unit_P.tolist(),
        "slot": layout.slot_P.tolist(),
        "source": layout.source_P.tolist(),
    }


def block_fields(pattern: Pattern) -> dict[str, Any]:
    """Returns the blocks of an influence pattern in the form that the extension takes."""
    block_E, rows_E = pattern.rows
    (entry_row, entry_column), (link_row, link_column) = pattern.dynamics, pattern.links

    def begins(counts: Tensor) -> list[int]:
        return [0, *counts.cumsum(0).tolist()]

    return {
        "row_begin": begins(pattern.rows_G),
        "rows": rows_E.tolist(),
        "own": pattern.own_SG[rows_E, block_E].long().tolist(),
        "column_begin": begins(pattern.columns_G),
        "columns": pattern.columns_P.tolist(),
        "entry_row": entry_row.tolist(),
        "entry_column": entry_column.tolist(),
        "link_row": link_row.tolist(),
        "link_column": link_column.tolist(),
    }
