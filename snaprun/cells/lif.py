"""The leaky integrate-and-fire neuron, and what its adaptive sibling shares with it."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from snaprun import checks
from snaprun.cells.base import Cell, Slot
from snaprun.cells.spike import Spike

Reset = Literal["attached", "detached"]
Slopes = dict[str, Tensor | float]  # of a part of the state, by what it is differentiated by


@dataclass(eq=False)
class LIF(Cell):
    """The leaky integrate-and-fire neuron; its state is (z, v, r, f), and the readout sees f.

        v' = α v + a − v_th z,    z' = H(v' − v_th) if r ≤ 0, else 0,
        r' = clip(r + n_ref z' − 1, 0, n_ref),    f' = κ f + (1−κ) z'

    z is the spike that other units and layers see, v the membrane potential, r the steps until the
    neuron may spike again, and f the filtered spikes. α = e^(−1/tau_m) and κ = e^(−1/tau_out), time
    constants in steps. The slope of the spike is the surrogate

        ψ = ∂z'/∂v' = (γ/v_th) max(0, 1 − |v' − v_th|/v_th),    0 where r > 0,

    and every gradient is exact with that slope (Bellec et al. 2018, arXiv 1803.09574). With
    `reset=detached` no gradient flows through the reset −v_th z. r has no slope.

    The slot has no bias. A unit does not see its own spike through a weight unless
    `self_connections` is true, and `recurrent=False` leaves recurrent weights away. With a
    `rate_cost` c and a `rate_target` f0 training adds c Σ_u (mean z_u − f0)² to the loss of every
    lane at every step, targets or not, where the mean is over lanes and steps.

    >>> from snaprun.cells import CELLS
    >>> cell = CELLS["lif"](tau_m=20, v_th=0.6)
    >>> state_BCK = torch.zeros(1, 4, 3)
    >>> state_BCK = cell.transition(torch.tensor([[[0.5, 0.7, 1.4]]]), state_BCK)
    >>> state_BCK[0, 0].tolist()  # the spikes z'
    [0.0, 1.0, 1.0]
    """

    parts: ClassVar[tuple[str, ...]] = ("z", "v", "r", "f")
    components: ClassVar[int] = len(parts)
    read: ClassVar[int] = parts.index("f")
    spikes: ClassVar[bool] = True

    tau_m: float = 20.0
    tau_out: float = 20.0
    v_th: float = 0.6
    gamma: float = 0.3
    refractory: int = 5
    reset: Reset = "attached"
    self_connections: bool = False
    recurrent: bool = True
    rate_cost: float = 0.0
    rate_target: float = 0.02

    def __post_init__(self):
        checks.within("cell.tau_m", self.tau_m, 0, math.inf, open_low=True)
        checks.within("cell.tau_out", self.tau_out, 0, math.inf, open_high=True)
        checks.within("cell.v_th", self.v_th, 0, math.inf, open_low=True, open_high=True)
        checks.within("cell.gamma", self.gamma, 0, math.inf, open_high=True)
        checks.at_least("cell.refractory", self.refractory, 0)
        checks.one_of("cell.reset", self.reset, get_args(Reset))
        checks.within("cell.rate_cost", self.rate_cost, 0, math.inf, open_high=True)
        checks.within("cell.rate_target", self.rate_target, 0, 1)
        self.slots = (Slot("a", recurrent=self.recurrent, bias=None),)

    @property
    def alpha(self) -> float:
        """α, by which v decays in a step."""
        return decay(self.tau_m)

    @property
    def kappa(self) -> float:
        """κ, by which f decays in a step."""
        return decay(self.tau_out)

    @property
    def attached(self) -> bool:
        """Whether a gradient flows through the reset."""
        return self.reset == "attached"

    def surrogate(self, above: Tensor) -> Tensor:
        """Returns the slope of a spike, (γ/v_th) max(0, 1 − |x|/v_th), from x = v' − A."""
        return self.gamma / self.v_th * (1 - above.abs() / self.v_th).clamp(min=0)

    def transition(self, pre_BMK: Tensor, state_BCK: Tensor) -> Tensor:
        """Returns the next state, shape (B, c, k)."""
        s = dict(zip(self.parts, state_BCK.unbind(1), strict=True))
        v = self.alpha * s["v"] + pre_BMK[:, 0]
        v = v - self.v_th * (s["z"] if self.attached else s["z"].detach())
        z = Spike.apply(v - self._threshold(s), self.surrogate) * (s["r"] <= 0)
        r = (s["r"] + self.refractory * z - 1).clamp(0, self.refractory).detach()
        f = self.kappa * s["f"] + (1 - self.kappa) * z
        after = {"z": z, "v": v, "r": r, "f": f, **self._adapted(s, z)}
        return torch.stack([after[part] for part in self.parts], 1)

    def slopes(self, pre_BMK: Tensor, state_BCK: Tensor) -> tuple[Tensor, Tensor]:
        """Returns ∂s'/∂a, shape (B, c, 1, k), and ∂s'/∂s, shape (B, c, c, k)."""
        s = dict(zip(self.parts, state_BCK.unbind(1), strict=True))
        v = self.alpha * s["v"] + pre_BMK[:, 0] - self.v_th * s["z"]
        psi = self.surrogate(v - self._threshold(s)) * (s["r"] <= 0)
        dv: Slopes = {"a": 1.0, "v": self.alpha}
        if self.attached:
            dv["z"] = -self.v_th
        dz = self._spike_slopes(psi, {by: psi * slope for by, slope in dv.items()})
        df: Slopes = {by: (1 - self.kappa) * slope for by, slope in dz.items()}
        df["f"] = self.kappa
        rows = {"z": dz, "v": dv, "f": df, **self._adaptation_slopes(dz)}
        table = torch.stack([self._row(rows.get(part, {}), psi) for part in self.parts], 1)
        return table[:, :, :1], table[:, :, 1:]

    def _row(self, slopes: Slopes, like: Tensor) -> Tensor:
        """Returns the slopes of a part by a, then by all parts of the state, (B, 1 + c, k)."""
        zero = torch.zeros_like(like)
        return torch.stack([zero + slopes.get(by, zero) for by in ("a", *self.parts)], 1)

    @property
    def slope_pattern(self) -> tuple[tuple[bool, ...], ...]:
        """The slot reaches every part at once but r."""
        return tuple((part != "r",) for part in self.parts)

    @property
    def state_pattern(self) -> tuple[tuple[bool, ...], ...]:
        """v and, if the reset is attached, z reach all parts but r; f reaches itself."""
        of_v = {"v", "z"} if self.attached else {"v"}
        by = {"z": of_v, "v": of_v, "r": set[str](), "f": {*of_v, "f"}, **self._adapted_by(of_v)}
        return tuple(tuple(other in by[part] for other in self.parts) for part in self.parts)

    # What adaptation adds.

    def _threshold(self, s: dict[str, Tensor]) -> Tensor | float:
        """Returns the potential above which a unit spikes."""
        del s
        return self.v_th

    def _adapted(self, s: dict[str, Tensor], z: Tensor) -> dict[str, Tensor]:
        """Returns further parts of the next state."""
        del s, z
        return {}

    def _spike_slopes(self, psi: Tensor, through_v: Slopes) -> Slopes:
        """Returns the slopes of z' from those through v'."""
        del psi
        return through_v

    def _adaptation_slopes(self, dz: Slopes) -> dict[str, Slopes]:
        """Returns the slopes of the further parts from those of z'."""
        del dz
        return {}

    def _adapted_by(self, of_v: set[str]) -> dict[str, set[str]]:
        """Returns which parts reach the parts of the state that adaptation concerns."""
        del of_v
        return {}


def decay(tau: float) -> float:
    """Returns e^(−1/tau), and 0 for tau = 0."""
    return math.exp(-1 / tau) if tau else 0.0
