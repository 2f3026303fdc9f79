"""The packed order of the live recurrent parameters.

Shape suffixes: P live parameters, M slots, K units, J = k + a + 1 sources [h; x; 1].
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """The place of each entry of θ ∈ R^P: θ holds the live weights, by unit, slot, then source."""

    live_MKJ: Tensor  # boolean: the mask
    unit_P: Tensor  # int64
    slot_P: Tensor  # int64
    source_P: Tensor  # int64, into [h; x; 1]
    flat_P: Tensor  # int64, into the flattened dense weights (m·k·J)

    @classmethod
    def of(cls, live_MKJ: Tensor) -> "Layout":
        """Returns the layout of a boolean mask (m, k, k + a + 1)."""
        unit_P, slot_P, source_P = live_MKJ.permute(1, 0, 2).nonzero(as_tuple=True)
        _, units, sources = live_MKJ.shape
        flat_P = (slot_P * units + unit_P) * sources + source_P
        return cls(live_MKJ, unit_P, slot_P, source_P, flat_P)

    @property
    def size(self) -> int:
        """P, the number of live recurrent parameters (recurrent, input and bias)."""
        return len(self.unit_P)

    @property
    def units(self) -> int:
        """k."""
        return self.live_MKJ.shape[1]

    @property
    def inputs(self) -> int:
        """a."""
        return self.live_MKJ.shape[2] - self.live_MKJ.shape[1] - 1

    def scatter(self, theta_P: Tensor) -> Tensor:
        """Returns the dense weights (m, k, J) of the packed vector θ; dead weights are zero."""
        dense = theta_P.new_zeros(self.live_MKJ.numel())
        return dense.index_put_((self.flat_P,), theta_P).view(self.live_MKJ.shape)

    def gather(self, dense_MKJ: Tensor) -> Tensor:
        """Returns the packed vector (P,) of a dense array (m, k, J)."""
        return dense_MKJ.flatten()[self.flat_P]

    def to(self, device: torch.device | str) -> "Layout":
        """Returns the same layout on another device."""
        return Layout(**{name: array.to(device) for name, array in vars(self).items()})
