"""SnAp-n reachability: which states a parameter influences within n steps.

Shape suffixes: S = c·k states (component-major: row p·k + u), G blocks, P live parameters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from snaprun.sparsity.layout import Layout


class Place(NamedTuple):
    """Where a block lies in the list of all entries; the block is stored row after row."""

    first: int
    rows: int
    columns: int

    def of(self, J_BL: Tensor) -> Tensor:
        """Returns the block (B, R, C) as a view of the listed entries (B, L)."""
        J_BX = J_BL[:, self.first : self.first + self.rows * self.columns]
        return J_BX.unflatten(1, (self.rows, self.columns))


@dataclass(frozen=True)
class Pattern:
    """The mask M_n = OR_{i<n} P_D^i P_I of equation (5), as blocks of parameters that share rows.

    A block holds the parameters of one unit's slots that reach the same components in one step.
    Vanilla and GRU have one block per unit. The LSTM has two, because its output gate does not
    reach c in one step.

    >>> from snaprun.cells import LSTM
    >>> from snaprun.core import RecurrentCore
    >>> from snaprun.sparsity import Dense
    >>> pattern = RecurrentCore.build(LSTM(), Dense(), 3, 2, torch.Generator()).pattern(1)
    >>> pattern.rows_G.tolist(), pattern.columns_G.tolist()  # o reaches h; i, f and g reach h and c
    ([1, 2, 1, 2, 1, 2], [6, 18, 6, 18, 6, 18])
    >>> pattern.live  # of 6 × 72 entries
    126
    """

    reach_SG: Tensor  # boolean: the rows R_g of block g
    own_SG: Tensor  # boolean: the rows of P_I within a layer, which the block reaches at once
    dynamics_SS: Tensor  # boolean: P_D within the layers
    block_P: Tensor  # int64: the block of each parameter
    links_SS: Tensor  # boolean: E, from h(t) of a layer to the next layer; empty for SnAp-n

    @property
    def mask_SP(self) -> Tensor:
        """The mask M_n, boolean (S, P)."""
        return self.reach_SG[:, self.block_P]

    @property
    def rows_G(self) -> Tensor:
        """|R_g|, the number of rows of each block."""
        return self.reach_SG.sum(0)

    @property
    def columns_G(self) -> Tensor:
        """|P_g|, the number of parameters of each block."""
        return self.block_P.bincount(minlength=self.reach_SG.shape[1])

    @property
    def rows(self) -> tuple[Tensor, Tensor]:
        """Block and row (E,) of every row of every block: block after block, rows ascending."""
        block_E, row_E = self.reach_SG.T.nonzero(as_tuple=True)
        return block_E, row_E

    @property
    def columns_P(self) -> Tensor:
        """The parameters (P,), block after block, in a block ascending."""
        return torch.argsort(self.block_P, stable=True)

    @property
    def places(self) -> list[Place]:
        """The place of every block in the list of `entries`."""
        sizes = list(zip(self.rows_G.tolist(), self.columns_G.tolist(), strict=True))
        first = accumulate((rows * columns for rows, columns in sizes), initial=0)
        return [Place(i, *size) for i, size in zip(first, sizes, strict=False)]

    @property
    def entries(self) -> tuple[Tensor, Tensor]:
        """Row and parameter (L,) of every entry that M_n keeps, in the order of checkpoints.

        The order is by block, then row, then column, each ascending.
        """
        block_E, row_E = self.rows
        columns = self.columns_P.split(self.columns_G.tolist())
        repeated = [x.repeat(rows) for x, rows in zip(columns, self.rows_G.tolist(), strict=True)]
        return row_E.repeat_interleave(self.columns_G[block_E]), torch.cat(repeated)

    @property
    def dynamics(self) -> tuple[Tensor, Tensor]:
        """Row and column (E,) of the entries of P_D inside some block; D J needs no other entry."""
        return self._inside(self.dynamics_SS)

    @property
    def links(self) -> tuple[Tensor, Tensor]:
        """Row and column of the entries of E inside some block."""
        return self._inside(self.links_SS)

    def _inside(self, entries_SS: Tensor) -> tuple[Tensor, Tensor]:
        reach_SG = self.reach_SG.float()
        row_E, column_E = ((reach_SG @ reach_SG.T > 0) & entries_SS).nonzero(as_tuple=True)
        return row_E, column_E

    @property
    def live(self) -> int:
        """The number of entries that M_n keeps."""
        return int((self.rows_G * self.columns_G).sum())

    @property
    def sparsity(self) -> float:
        """The fraction of the S × P influence matrix that M_n drops."""
        return 1 - self.live / (self.reach_SG.shape[0] * len(self.block_P))

    @property
    def product_macs(self) -> int:
        """Multiply-adds of D J per lane and step, zeros skipped: Σ_g nnz(D[R_g, R_g])·|P_g|.

        The links between layers count like entries of D.
        """
        reach, entries_SS = self.reach_SG.double(), self.dynamics_SS.double() + self.links_SS
        nonzeros_G = (reach * (entries_SS @ reach)).sum(0)
        return int((nonzeros_G * self.columns_G).sum())


def reachable(
    layout: Layout,
    slope_pattern: Sequence[Sequence[bool]],
    state_pattern: Sequence[Sequence[bool]],
    n: int | None,
) -> Pattern:
    """Finds the pattern of SnAp-n, equation (5), from masks and never from the values of a step.

    `slope_pattern` (c × m) and `state_pattern` (c × c) are the cell's. SnAp-n keeps the rows of a
    parameter's own layer. With `n=None` the pattern holds every entry of RTRL's influence matrix,
    of all layers, that can differ from zero. Menick et al. 2020, arXiv 2006.07232, section 3.

    >>> from snaprun.cells import Vanilla
    >>> ring_KK = torch.eye(4).bool() | torch.eye(4).roll(1, 0).bool()  # unit u feeds itself, u + 1
    >>> layout = Layout.of(torch.cat((ring_KK, torch.ones(4, 1).bool()), 1)[None])  # and a bias
    >>> cell = Vanilla()
    >>> steps = (1, 2, 3, 4, None)
    >>> [reachable(layout, cell.slope_pattern, cell.state_pattern, n).live for n in steps]
    [12, 24, 36, 48, 48]
    """
    layout = layout.to("cpu")
    slope_CM = torch.tensor(slope_pattern)
    units = layout.units
    dynamics_SS = _dynamics(layout, slope_CM, torch.tensor(state_pattern))

    # Slots with the same column of the slope pattern form a class; a block is a (unit, class).
    classes_QC, class_M = torch.unique(slope_CM.T, dim=0, return_inverse=True)
    block_of_P = layout.unit_P * len(classes_QC) + class_M[layout.slot_P]
    used_G, block_P = torch.unique(block_of_P, return_inverse=True)
    unit_G, class_G = used_G // len(classes_QC), used_G % len(classes_QC)

    own_SG = (classes_QC[class_G].T[:, None, :] & (unit_G == torch.arange(units)[:, None])).reshape(
        -1, len(used_G)
    )
    links_SS = _links(layout, slope_CM) if n is None else torch.zeros_like(dynamics_SS)
    reach_SG = own_SG
    step_SS = (dynamics_SS | links_SS).float()
    steps = layout.units * slope_CM.shape[0] if n is None else n - 1
    for _ in range(steps):
        further_SG = reach_SG | (step_SS @ reach_SG.float() > 0)
        if further_SG.equal(reach_SG):
            break
        reach_SG = further_SG
    return Pattern(reach_SG, own_SG, dynamics_SS, block_P, links_SS)


def _dynamics(layout: Layout, slope_CM: Tensor, state_CC: Tensor) -> Tensor:
    """Returns P_D, boolean (S, S): the union of the recurrent masks, plus each unit's block."""
    units, components = layout.units, slope_CM.shape[0]
    pattern = _fed(layout.live_MKJ[:, :, :units], slope_CM)
    for p in range(components):
        for q in range(components):
            if state_CC[p, q]:
                pattern[p, :, q].fill_diagonal_(True)
    return pattern.view(components * units, components * units)


def _links(layout: Layout, slope_CM: Tensor) -> Tensor:
    """Returns E, boolean (S, S): the rows that h(t) of a layer reaches in the layer above."""
    passed = sum(layout.layers[:-1])
    weights_MKV = layout.live_MKJ[:, :, -1 - passed : -1]
    padded_MKK = torch.nn.functional.pad(weights_MKV, (0, layout.units - passed))
    states = slope_CM.shape[0] * layout.units
    return _fed(padded_MKK, slope_CM).view(states, states)


def _fed(weights_MKK: Tensor, slope_CM: Tensor) -> Tensor:
    """Returns which rows (p, u) the output of which unit feeds, boolean (c, k, c, k)."""
    components, units = slope_CM.shape[0], weights_MKK.shape[1]
    pattern = torch.zeros(components, units, components, units, dtype=torch.bool)
    for p in range(components):
        pattern[p, :, 0] = weights_MKK[slope_CM[p]].any(0)
    return pattern
