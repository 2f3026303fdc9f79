"""The cost of firing rates, which a cell may ask for beside the task's loss."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from snaprun.cells import Cell

REMEMBERED = 1000  # (lane, step) pairs: so many weigh as much as the mean before them


@dataclass
class RateCost:
    """The cost c Σ_u (m_u − f0)² at every step of every lane, m_u the mean of h_u over these.

    Its credit is 2 c (m_u − f0) on h_u, also where there is no target. In a window the mean is that
    of the windows before it, so that every rule can take the credit as it comes: with n (lane,
    step) pairs in a window, m ← m + n/(n + 1000) (mean of the window − m), from m = f0 on. Like
    the loss, the cost is divided by the number of targets of the window.
    """

    cost: float  # c
    target: float  # f0
    mean_K: Tensor
    summed_K: Tensor = field(init=False)  # over the lanes and steps of the open window

    def __post_init__(self):
        self.summed_K = torch.zeros_like(self.mean_K)

    @classmethod
    def of(cls, cell: Cell, units: int, like: Tensor) -> "RateCost | None":
        """Return the cost of a cell, before the first step; None if it has none."""
        if not cell.rate_cost:
            return None
        return cls(cell.rate_cost, cell.rate_target, like.new_full((units,), cell.rate_target))

    @property
    def credit_K(self) -> Tensor:
        """The credit of h, shape (k,)."""
        return 2 * self.cost * (self.mean_K - self.target)

    def count(self, h_BK: Tensor) -> None:
        """Count the h of a step."""
        self.summed_K = self.summed_K + h_BK.sum(0)

    def follow(self, pairs: int) -> None:
        """End a window of so many (lane, step) pairs."""
        if pairs:
            weight = pairs / (pairs + REMEMBERED)
            self.mean_K = self.mean_K + weight * (self.summed_K / pairs - self.mean_K)
            self.summed_K = torch.zeros_like(self.summed_K)

    def state_dict(self) -> dict[str, Tensor]:
        """Return a copy of the means and of the sums."""
        return {"mean": self.mean_K.clone(), "summed": self.summed_K.clone()}

    def load_state_dict(self, saved: dict[str, Tensor]) -> None:
        """Continue from `saved`, a `state_dict`."""
        self.mean_K = saved["mean"].to(self.mean_K, copy=True)
        self.summed_K = saved["summed"].to(self.mean_K, copy=True)
