"""The gated recurrent unit with the reset after the matrix product."""

import torch
from torch import Tensor

from snaprun.cells.base import Cell, Slot


class GRU(Cell):
    """The gated recurrent unit of cuDNN and `torch.nn.GRU`.

        n = tanh(n_x + σ(r)·n_h),    h' = (1-σ(z)) n + σ(z) h

    This is not the cell of Cho et al. (arXiv 1406.1078). There the reset acts before the product
    U h, so a parameter of r reaches every unit in one step, and the cell is not unit-local.

    >>> from snaprun.cells import CELLS
    >>> cell = CELLS["gru"]()
    >>> [(slot.name, slot.recurrent, slot.input) for slot in cell.slots]
    [('z', True, True), ('r', True, True), ('n_x', False, True), ('n_h', True, False)]
    >>> h_BCK = cell.transition(torch.zeros(5, 4, 8), torch.zeros(5, 1, 8))
    >>> h_BCK.shape
    torch.Size([5, 1, 8])
    """

    slots = (Slot("z"), Slot("r"), Slot("n_x", recurrent=False), Slot("n_h", input=False))

    def transition(self, pre_BMK: Tensor, state_BCK: Tensor) -> Tensor:
        """Returns the next state h', shape (B, 1, k)."""
        z, _, n = self._gates(pre_BMK)
        h = state_BCK[:, 0]
        return (n + z * (h - n)).unsqueeze(1)

    def slopes(self, pre_BMK: Tensor, state_BCK: Tensor) -> tuple[Tensor, Tensor]:
        """Returns ∂h'/∂(z, r, n_x, n_h), (B, 1, 4, k), and ∂h'/∂h = σ(z), (B, 1, 1, k)."""
        z, r, n = self._gates(pre_BMK)
        h = state_BCK[:, 0]
        dh_dnx = (1 - z) * (1 - n * n)
        dh_dnh = dh_dnx * r
        dh_dr = dh_dnh * (1 - r) * pre_BMK[:, 3]
        dh_dz = z * (1 - z) * (h - n)
        return torch.stack((dh_dz, dh_dr, dh_dnx, dh_dnh), 1).unsqueeze(1), z[:, None, None]

    @staticmethod
    def _gates(pre_BMK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z, r = torch.sigmoid(pre_BMK[:, :2]).unbind(1)
        n = torch.tanh(pre_BMK[:, 2] + r * pre_BMK[:, 3])
        return z, r, n
