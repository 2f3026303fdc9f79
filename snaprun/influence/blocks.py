"""Packed storage of the influence matrix: dense blocks of reachable rows × a unit's parameters.

A chunk groups blocks of similar size and pads them to its largest block, so that one batched
product advances the chunk. A padded index points one past the end. Shape suffixes: B lanes,
G blocks of a chunk, R rows, C columns, S = c·k states, E live entries of D, P live parameters.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snaprun.core import RecurrentCore
from snaprun.core.jacobians import DynamicsEntries
from snaprun.sparsity import Pattern, Place

# The most entries of the gathered D[R, R] of a chunk for one lane. It is small enough for a chunk's
# temporaries to stay in the allocator's pool: above 32 MiB every step pays for fresh pages.
CHUNK_ENTRIES = 2**16
# The largest ratio between the rows of two blocks of a chunk.
MOST_PADDING = 1.3


@dataclass(frozen=True)
class Chunk:
    """The index arrays of G blocks, on the device of the core."""

    rows_GR: Tensor  # state row; S where padded
    columns_GC: Tensor  # parameter; P where padded
    entries_GRR: Tensor  # entry of D at (row, row); E where it is structurally zero or padded
    links_GRR: Tensor | None  # the same for E between layers; None without such links
    own_row_N: Tensor  # the N rows of the flattened (G·R) that I_t feeds
    own_slope_NC: Tensor  # ∂s'_pu/∂a_mu of each column of these rows, in the flattened (c·m·k)
    own_source_NC: Tensor  # src_j of each column of these rows; k + a + 1 where padded
    places: list[Place]  # of each block in the list of all entries


@dataclass(frozen=True)
class Plan:
    """All chunks of a pattern, and the entries of D and E that the chunks read."""

    chunks: tuple[Chunk, ...]
    entries: DynamicsEntries
    links: DynamicsEntries | None  # None if J stays within the layers
    layers: int
    states: int
    parameters: int
    live: int  # entries of the pattern


def pack(core: RecurrentCore, pattern: Pattern) -> Plan:
    """Packs a pattern into chunks of blocks sorted by their numbers of rows and columns."""
    layout = core.layout.to("cpu")
    places = pattern.places
    members = together([(place.rows, place.columns) for place in places])

    rows_E, columns_E = pattern.dynamics
    entry_SS, link_SS = _numbered(rows_E, columns_E, core.states), None
    if len(pattern.links[0]):
        link_SS = _numbered(*pattern.links, core.states)

    slots, units, sources = layout.live_MKJ.shape
    rows_of = pattern.rows[1].split([place.rows for place in places])
    columns_of = pattern.columns_P.split([place.columns for place in places])
    chunks = []
    for group in members:
        rows_GR = _padded([rows_of[g] for g in group], core.states)
        columns_GC = _padded([columns_of[g] for g in group], layout.size)
        own_GR = torch.nn.functional.pad(pattern.own_SG.T[group], (0, 1)).gather(1, rows_GR)
        own_block, own_row = own_GR.nonzero(as_tuple=True)
        component_N1 = (rows_GR[own_block, own_row] // units)[:, None]
        unit_N1 = (rows_GR[own_block, own_row] % units)[:, None]
        columns_NC = columns_GC[own_block]
        # A padded column reads slot 0, and a source that is zero.
        slot_NC = torch.nn.functional.pad(layout.slot_P, (0, 1))[columns_NC]
        source_NC = torch.nn.functional.pad(layout.source_P, (0, 1), value=sources)[columns_NC]
        arrays = {
            "rows_GR": rows_GR,
            "columns_GC": columns_GC,
            "entries_GRR": _pairs(entry_SS, rows_GR),
            "own_row_N": own_block * rows_GR.shape[1] + own_row,
            "own_slope_NC": (component_N1 * slots + slot_NC) * units + unit_N1,
            "own_source_NC": source_NC,
        }
        on_device = {k: v.to(core.device) for k, v in arrays.items()}
        links_GRR = None if link_SS is None else _pairs(link_SS, rows_GR).to(core.device)
        listed = [places[g] for g in group]
        chunks.append(Chunk(**on_device, links_GRR=links_GRR, places=listed))

    def valued(rows_E: Tensor, columns_E: Tensor, first: int) -> DynamicsEntries:
        at = rows_E.to(core.device), columns_E.to(core.device)
        return DynamicsEntries.of(*at, units, core.cell.components, first)

    entries = valued(rows_E, columns_E, 0)
    links = None if link_SS is None else valued(*pattern.links, units + core.inputs)
    depth = len(core.layers)
    return Plan(tuple(chunks), entries, links, depth, core.states, layout.size, pattern.live)


def _numbered(rows_E: Tensor, columns_E: Tensor, states: int) -> Tensor:
    """Returns the number of each listed entry in a matrix (S + 1, S + 1), E where there is none.

    Padded rows read the last row and column.
    """
    numbers = torch.full((states + 1, states + 1), len(rows_E))
    numbers[rows_E, columns_E] = torch.arange(len(rows_E))
    return numbers


def _pairs(numbers: Tensor, rows_GR: Tensor) -> Tensor:
    return numbers[rows_GR[:, :, None], rows_GR[:, None, :]]


def together(sizes: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Groups blocks into chunks, by index, from the rows and columns of each block."""
    members: list[list[int]] = []
    for g in sorted(range(len(sizes)), key=lambda g: sizes[g]):
        rows = sizes[g][0]
        full = members and (len(members[-1]) + 1) * rows * rows > CHUNK_ENTRIES
        if not members or full or rows > MOST_PADDING * sizes[members[-1][0]][0]:
            members.append([])
        members[-1].append(g)
    return members


def _padded(lists: list[Tensor], value: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(lists, batch_first=True, padding_value=value)
