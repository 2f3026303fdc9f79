"""Influence as per-unit blocks and batched products, in PyTorch, on any device.

Each kind of temporary has one scratch buffer, because allocating megabytes anew in every step
costs more than the arithmetic. Shape suffixes as in influence/blocks.py, and N rows that I_t feeds,
L entries of the pattern.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from snaprun.core import Record, Sizes, Storage
from snaprun.influence.blocks import Chunk, Plan, pack, together
from snaprun.sparsity import Reach

plan = pack


@dataclass(frozen=True)
class Influence:
    """J as one tensor (B, G, R, C) per chunk, and scratch for the largest chunk."""

    chunks: list[Tensor]
    gathered: Tensor  # D[R, R]
    product: Tensor  # D[R, R] J
    slopes: Tensor  # the two factors of I
    sources: Tensor


def init(plan: Plan, lanes: int, dtype: torch.dtype) -> Influence:
    """Returns J_0 = 0."""
    device = plan.chunks[0].rows_GR.device

    def scratch(shape_of: Callable[[Chunk], Sequence[int]]) -> Tensor:
        most = max(math.prod(shape_of(chunk)) for chunk in plan.chunks)
        return torch.empty(lanes * most, dtype=dtype, device=device)

    return Influence(
        [torch.zeros(lanes, *_shape(c), dtype=dtype, device=device) for c in plan.chunks],
        gathered=scratch(lambda chunk: chunk.entries_GRR.shape),
        product=scratch(_shape),
        slopes=scratch(lambda chunk: chunk.own_slope_NC.shape),
        sources=scratch(lambda chunk: chunk.own_slope_NC.shape),
    )


def reset(plan: Plan, J: Influence, lanes_B: Tensor) -> None:
    """Sets J to 0 in place in the lanes where a sequence begins."""
    for J_BGRC in J.chunks:
        J_BGRC[lanes_B] = 0


def step(plan: Plan, J: Influence, record: Record) -> tuple[Influence, Tensor | None]:
    """Advances J in place by equation (7), J_u ← D[R, R] J_u + (rows of u) ⊗ I_u.

    If J reaches from layer to layer, (1 − E)^-1 times the right side replaces it. Returns J, and
    the gradient Σ_b δ_b J_b, shape (P,), or None if the record has no credit.
    """
    D_BE = pad(plan.entries.values(record), (0, 1))
    E_BE = D_BE if plan.links is None else pad(plan.links.values(record), (0, 1))
    src_BJ = pad(record.src_BJ, (0, 1))
    slopes_BX = record.dsda_BCMK.flatten(1)
    credit_BS = gradient_P = None
    if record.credit_BCK is not None:
        credit_BS = pad(record.credit_BCK.flatten(1), (0, 1))
        gradient_P = credit_BS.new_zeros(plan.parameters + 1)
    for chunk, J_BGRC in zip(plan.chunks, J.chunks, strict=True):
        D_BGRR = _take(D_BE, chunk.entries_GRR, J.gathered)
        slope_BNC = _take(slopes_BX, chunk.own_slope_NC, J.slopes)
        source_BNC = _take(src_BJ, chunk.own_source_NC, J.sources)
        if J_BGRC.shape[2] == 1:  # SnAp-1 of a one-component cell: every row is a unit's own
            J_BGRC.mul_(D_BGRR)
            J_BGRC.squeeze(2).addcmul_(slope_BNC, source_BNC)
        else:
            product_BGRC = _view(J.product, J_BGRC.shape)
            J_BGRC.copy_(torch.matmul(D_BGRR, J_BGRC, out=product_BGRC))
            J_BGRC.flatten(1, 2).index_add_(1, chunk.own_row_N, slope_BNC.mul_(source_BNC))
        if chunk.links_GRR is not None:
            E_BGRR, alone_BGRC = _take(E_BE, chunk.links_GRR, J.gathered), J_BGRC.clone()
            for _ in range(plan.layers - 1):  # E^layers = 0
                torch.add(alone_BGRC, E_BGRR @ J_BGRC, out=J_BGRC)
        if credit_BS is not None and gradient_P is not None:
            gradient_P[chunk.columns_GC] = _contract(credit_BS[:, chunk.rows_GR], J_BGRC)
    return J, None if gradient_P is None else gradient_P[:-1]


def tensors(J: Influence) -> list[Tensor]:
    """Returns the tensors that are kept from step to step."""
    return J.chunks


def dense(plan: Plan, J: Influence) -> Tensor:
    """Returns the influence matrix, shape (B, S, P)."""
    J_BSP = J.product.new_zeros(len(J.chunks[0]), plan.states + 1, plan.parameters + 1)
    for chunk, J_BGRC in zip(plan.chunks, J.chunks, strict=True):
        J_BSP[:, chunk.rows_GR[:, :, None], chunk.columns_GC[:, None, :]] = J_BGRC
    return J_BSP[:, :-1, :-1]


def entries(plan: Plan, J: Influence) -> Tensor:
    """Returns a copy of the live entries in the order of `Pattern.entries`, shape (B, L)."""
    J_BL = J.product.new_empty(len(J.chunks[0]), plan.live)
    for stored_BRC, listed_BRC in _blocks(plan, J, J_BL):
        listed_BRC.copy_(stored_BRC)
    return J_BL


def assign(plan: Plan, J: Influence, J_BL: Tensor) -> None:
    """Sets J in place from its live entries (B, L)."""
    for stored_BRC, listed_BRC in _blocks(plan, J, J_BL):
        stored_BRC.copy_(listed_BRC)


def storage(reach: Reach, sizes: Sizes) -> Storage:
    """Counts J in chunks, scratch for the largest chunk, the entries of D, and int64 index arrays.

    Each block is padded to the largest block of its chunk.
    """
    n, w = sizes, sizes.itemsize
    own = n.components * reach.parameters  # rows that I feeds × their columns
    J, chunk, index = 0, 0, 8 * (reach.rows + reach.parameters + 2 * own) + 40 * reach.dynamics
    for blocks, rows, columns in _chunks(reach):
        fed = blocks * n.components * columns
        J += blocks * rows * columns
        index += 8 * blocks * rows**2
        chunk = max(chunk, blocks * rows * (rows + columns) + 2 * fed)
    return Storage(
        kept=n.lanes * J * w,
        scratch=n.lanes * chunk * w,
        index=index,
        setup=24 * reach.states**2 + 16 * own,
        step=n.lanes * (2 * n.slots + 3) * reach.dynamics * w,
        saved=n.lanes * reach.entries * w,
    )


MANY = 10**5  # more blocks than this are counted by size, not packed into chunks


def _chunks(reach: Reach) -> list[tuple[int, int, int]]:
    """Returns the numbers of blocks, rows and columns of every chunk that `pack` makes."""
    if reach.blocks > MANY:
        return list(reach.sizes)
    sizes = [(rows, columns) for count, rows, columns in reach.sizes for _ in range(count)]
    return [
        (len(group), max(sizes[g][0] for g in group), max(sizes[g][1] for g in group))
        for group in together(sizes)
    ]


def _blocks(plan: Plan, J: Influence, J_BL: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields each block without its padding, and the part of `J_BL` that lists the block."""
    for chunk, J_BGRC in zip(plan.chunks, J.chunks, strict=True):
        for g, place in enumerate(chunk.places):
            yield J_BGRC[:, g, : place.rows, : place.columns], place.of(J_BL)


def _contract(credit_BGR: Tensor, J_BGRC: Tensor) -> Tensor:
    """Returns Σ_b δ_b J_b of one chunk, shape (G, C)."""
    if J_BGRC.shape[2] == 1:  # one product over the lanes makes no temporary (B, G, C)
        credit_G1B = credit_BGR.permute(1, 2, 0).contiguous()
        return (credit_G1B @ J_BGRC.squeeze(2).transpose(0, 1)).squeeze(1)
    return (credit_BGR.unsqueeze(2) @ J_BGRC).sum((0, 2))


def _shape(chunk: Chunk) -> tuple[int, ...]:
    return (*chunk.rows_GR.shape, chunk.columns_GC.shape[1])


def _view(scratch: Tensor, shape: torch.Size) -> Tensor:
    return scratch[: shape.numel()].view(shape)


def _take(values_BX: Tensor, index: Tensor, scratch: Tensor) -> Tensor:
    """Writes values[:, index] to `scratch`; index_select is several times faster than indexing."""
    lanes = len(values_BX)
    taken = _view(scratch, torch.Size((lanes, index.numel())))
    torch.index_select(values_BX, 1, index.flatten(), out=taken)
    return taken.view(lanes, *index.shape)
