"""The long short-term memory with a forget gate."""

import torch
from torch import Tensor

from snaprun.cells.base import Cell, Slot


class LSTM(Cell):
    """The long short-term memory with a forget gate (Gers et al. 2000); its state is (h, c).

        c' = σ(f) c + σ(i) tanh(g),    h' = σ(o) tanh(c')

    The forget bias starts at 1 (Jozefowicz et al. 2015). In one step the output gate o reaches
    h' only.

    >>> from snaprun.cells import CELLS
    >>> cell = CELLS["lstm"]()
    >>> [(slot.name, slot.bias) for slot in cell.slots]
    [('i', 0.0), ('f', 1.0), ('g', 0.0), ('o', 0.0)]
    >>> s_BCK = cell.transition(torch.zeros(5, 4, 8), torch.zeros(5, 2, 8))
    >>> s_BCK.shape
    torch.Size([5, 2, 8])
    """

    slots = (Slot("i"), Slot("f", bias=1.0), Slot("g"), Slot("o"))
    components = 2

    def transition(self, pre_BMK: Tensor, state_BCK: Tensor) -> Tensor:
        """Returns the next state (h', c'), shape (B, 2, k)."""
        i, f, g, o = self._gates(pre_BMK)
        c = f * state_BCK[:, 1] + i * g
        return torch.stack((o * torch.tanh(c), c), 1)

    def slopes(self, pre_BMK: Tensor, state_BCK: Tensor) -> tuple[Tensor, Tensor]:
        """Returns ∂(h', c')/∂(i, f, g, o), (B, 2, 4, k), and ∂(h', c')/∂(h, c), (B, 2, 2, k)."""
        i, f, g, o = self._gates(pre_BMK)
        c_tm1 = state_BCK[:, 1]
        tanh_c = torch.tanh(f * c_tm1 + i * g)
        dh_dc = o * (1 - tanh_c * tanh_c)
        zero = torch.zeros_like(o)
        dc_da = torch.stack((i * (1 - i) * g, f * (1 - f) * c_tm1, i * (1 - g * g), zero), 1)
        dh_da = dc_da * dh_dc.unsqueeze(1)
        dh_da[:, 3] = o * (1 - o) * tanh_c
        ds_ds = torch.stack((zero, dh_dc * f, zero, f), 1)
        return torch.stack((dh_da, dc_da), 1), ds_ds.unflatten(1, (2, 2))

    @property
    def slope_pattern(self) -> tuple[tuple[bool, ...], ...]:
        """Every slope but ∂c'/∂o can differ from zero."""
        return ((True, True, True, True), (True, True, True, False))

    @property
    def state_pattern(self) -> tuple[tuple[bool, ...], ...]:
        """The state reaches the next one through c only: h acts through the slots."""
        return ((False, True), (False, True))

    @staticmethod
    def _gates(pre_BMK: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        i, f, g, o = pre_BMK.unbind(1)
        return torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
