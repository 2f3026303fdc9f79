"""The spiking neuron of deep feed-forward networks, whose output is its firing rate."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from snaprun import checks
from snaprun.cells.base import Cell, Slot
from snaprun.cells.lif import Reset
from snaprun.cells.spike import Spike

Kind = Literal["soft", "hard"]


@dataclass(eq=False)
class DeepLIF(Cell):
    """The spiking neuron of deep networks; its state is (z, m, n, f), and the readout sees f.

        m' = λ (m − θ z) + a,    z' = H(m' − θ),    n' = n + 1,    f' = f + (z' − f)/n'

    z is the spike, which the layer above sees, m the membrane potential, n the number of steps, and
    f the mean of the spikes since the sequence began, the firing rate. With `kind=hard` a spike
    sets the potential to 0: m' = λ m (1 − z) + a. The slope of the spike is the surrogate

        sg = ∂z'/∂m' = 4 s (1 − s),    s = σ(4 (m' − θ))

    With `reset=detached` no gradient flows through the reset. There are no recurrent weights:
    layers read one another (`cell.layers`). n has no slope. Yu et al. 2024, arXiv 2410.11488.

    >>> from snaprun.cells import CELLS
    >>> cell = CELLS["deep_lif"](leak=0.5)
    >>> state_BCK = torch.zeros(1, 4, 1)
    >>> for _ in range(4):
    ...     state_BCK = cell.transition(torch.full((1, 1, 1), 0.9), state_BCK)
    >>> state_BCK[0, 2:, 0].tolist()  # two spikes in four steps
    [4.0, 0.5]
    """

    parts: ClassVar[tuple[str, ...]] = ("z", "m", "n", "f")
    components: ClassVar[int] = len(parts)
    read: ClassVar[int] = parts.index("f")
    spikes: ClassVar[bool] = True
    averages: ClassVar[bool] = True
    slots = (Slot("a", recurrent=False),)

    leak: float = 0.2
    threshold: float = 1.0
    kind: Kind = "soft"
    reset: Reset = "detached"

    def __post_init__(self):
        checks.within("cell.leak", self.leak, 0, 1)
        checks.within("cell.threshold", self.threshold, 0, math.inf, open_low=True, open_high=True)
        checks.one_of("cell.kind", self.kind, get_args(Kind))
        checks.one_of("cell.reset", self.reset, get_args(Reset))

    @property
    def attached(self) -> bool:
        """Whether a gradient flows through the reset."""
        return self.reset == "attached"

    @property
    def hard(self) -> bool:
        """Whether a spike sets the potential to 0."""
        return self.kind == "hard"

    @staticmethod
    def surrogate(above: Tensor) -> Tensor:
        """Returns the slope of a spike, 4 s (1 − s) with s = σ(4 x), from x = m' − θ."""
        s = torch.sigmoid(4 * above)
        return 4 * s * (1 - s)

    def transition(self, pre_BMK: Tensor, state_BCK: Tensor) -> Tensor:
        """Returns the next state, shape (B, 4, k)."""
        z, m, n, f = state_BCK.unbind(1)
        sent = z if self.attached else z.detach()
        kept = m * (1 - sent) if self.hard else m - self.threshold * sent
        m = self.leak * kept + pre_BMK[:, 0]
        z = Spike.apply(m - self.threshold, self.surrogate)
        n = (n + 1).detach()
        return torch.stack((z, m, n, f + (z - f) / n), 1)

    def slopes(self, pre_BMK: Tensor, state_BCK: Tensor) -> tuple[Tensor, Tensor]:
        """Returns ∂s'/∂a, shape (B, 4, 1, k), and ∂s'/∂s, shape (B, 4, 4, k)."""
        z, m, n, _ = state_BCK.unbind(1)
        zero, one = torch.zeros_like(z), torch.ones_like(z)
        kept = m * (1 - z) if self.hard else m - self.threshold * z
        sg = self.surrogate(self.leak * kept + pre_BMK[:, 0] - self.threshold)
        by_m = self.leak * (1 - z if self.hard else one)
        by_z = -self.leak * (m if self.hard else self.threshold * one) if self.attached else zero
        share = 1 / (n + 1)
        rows = (
            (sg, sg * by_z, sg * by_m, zero, zero),
            (one, by_z, by_m, zero, zero),
            (zero,) * 5,
            (share * sg, share * sg * by_z, share * sg * by_m, zero, 1 - share),
        )
        table = torch.stack([torch.stack(row, 1) for row in rows], 1)
        return table[:, :, :1], table[:, :, 1:]

    @property
    def slope_pattern(self) -> tuple[tuple[bool, ...], ...]:
        """The slot reaches every part at once but n."""
        return tuple((part != "n",) for part in self.parts)

    @property
    def state_pattern(self) -> tuple[tuple[bool, ...], ...]:
        """m and, if the reset is attached, z reach all parts but n; f reaches itself."""
        of_m = {"m", "z"} if self.attached else {"m"}
        by = {"z": of_m, "m": of_m, "n": set[str](), "f": {*of_m, "f"}}
        return tuple(tuple(other in by[part] for other in self.parts) for part in self.parts)
