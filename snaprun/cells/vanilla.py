"""The leaky tanh network."""

import torch
from torch import Tensor

from snaprun import checks
from snaprun.cells.base import Cell, Slot


class Vanilla(Cell):
    """The leaky tanh network; with α = 1 it is Elman's (Cognitive Science 1990).

        h' = (1-α) h + α tanh(a),    ∂h'/∂a = α (1 - tanh² a),    ∂h'/∂h = 1-α

    >>> from snaprun.cells import CELLS
    >>> cell = CELLS["vanilla"](alpha=0.5)
    >>> h_BCK = cell.transition(torch.zeros(5, 1, 8), torch.ones(5, 1, 8))
    >>> h_BCK.shape
    torch.Size([5, 1, 8])
    >>> h_BCK[0, 0, 0].item()  # tanh(0) = 0, so half of h is left
    0.5
    """

    slots = (Slot("a"),)

    def __init__(self, alpha: float = 1.0):
        self.alpha = checks.within("cell.alpha", alpha, 0.0, 1.0, open_low=True)

    def transition(self, pre_BMK: Tensor, state_BCK: Tensor) -> Tensor:
        """Returns the next state h', shape (B, 1, k)."""
        return (1 - self.alpha) * state_BCK + self.alpha * torch.tanh(pre_BMK)

    def slopes(self, pre_BMK: Tensor, state_BCK: Tensor) -> tuple[Tensor, Tensor]:
        """Returns ∂h'/∂a, shape (B, 1, 1, k), and ∂h'/∂h, shape (B, 1, 1, k)."""
        dh_da = self.alpha * (1 - torch.tanh(pre_BMK).square())
        dh_dh = torch.full_like(state_BCK, 1 - self.alpha)
        return dh_da.unsqueeze(1), dh_dh.unsqueeze(1)

    @property
    def state_pattern(self) -> tuple[tuple[bool, ...], ...]:
        """With α = 1 the state h has no direct effect on h'."""
        return ((self.alpha < 1,),)
