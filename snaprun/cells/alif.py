"""The adaptive leaky integrate-and-fire neuron."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from snaprun import checks
from snaprun.cells.lif import LIF, Slopes, decay


@dataclass(eq=False)
class ALIF(LIF):
    """The leaky integrate-and-fire neuron with an adaptive threshold, the unit of an LSNN.

        A = v_th + β_u b,    z' = H(v' − A) if r ≤ 0, else 0,    b' = ρ b + z'

    Its state is (z, v, b, r, f); all else is as in `LIF`, ψ with |v' − A|, and ρ = e^(−1/tau_a). A
    fraction `adaptive` of the units has β_u = `beta`, those that come last, and the others have
    β_u = 0; by default β = 1.7 (1−ρ)/(1−α). Bellec et al. 2018, arXiv 1803.09574, and 2020, Nature
    Communications 11:3625.

    b' follows the new spike z'. With b' = ρ b + z instead a parameter would reach b a step late,
    and SnAp-1 would drop the slow trace.

    >>> from snaprun.cells import CELLS
    >>> cell = CELLS["alif"](tau_m=5, tau_a=200, adaptive=0.5)
    >>> state_BCK = cell.transition(torch.ones(1, 1, 4), torch.zeros(1, 5, 4))
    >>> state_BCK[0, 2].tolist()  # b'
    [1.0, 1.0, 1.0, 1.0]
    >>> cell.beta_of(4).round(decimals=4).tolist()
    [0.0, 0.0, 0.0468, 0.0468]
    """

    parts: ClassVar[tuple[str, ...]] = ("z", "v", "b", "r", "f")
    components: ClassVar[int] = len(parts)
    read: ClassVar[int] = parts.index("f")

    tau_a: float = 200.0
    adaptive: float = 0.45
    beta: float | None = None

    def __post_init__(self):
        super().__post_init__()
        checks.within("cell.tau_a", self.tau_a, 0, math.inf, open_low=True)
        checks.within("cell.adaptive", self.adaptive, 0, 1)
        if self.beta is not None:
            checks.within("cell.beta", self.beta, 0, math.inf, open_high=True)
        elif self.alpha == 1:
            accepted = "a smaller number with cell.beta=null, whose 1.7 (1−ρ)/(1−α) divides by 0"
            checks.refuse("cell.tau_m", self.tau_m, accepted, "Set cell.beta.")

    @property
    def strength(self) -> float:
        """β of the units whose threshold adapts."""
        return 1.7 * (1 - self.rho) / (1 - self.alpha) if self.beta is None else self.beta

    @property
    def rho(self) -> float:
        """ρ, by which b decays in a step."""
        return decay(self.tau_a)

    def beta_of(self, units: int) -> Tensor:
        """Returns β_u of the units of a layer, shape (k,), float64."""
        first = units - round(self.adaptive * units)
        return self.strength * (torch.arange(units) >= first).double()

    def _threshold(self, s: dict[str, Tensor]) -> Tensor:
        return self.v_th + self.beta_of(s["b"].shape[-1]).to(s["b"]) * s["b"]

    def _adapted(self, s: dict[str, Tensor], z: Tensor) -> dict[str, Tensor]:
        return {"b": self.rho * s["b"] + z}

    def _spike_slopes(self, psi: Tensor, through_v: Slopes) -> Slopes:
        return {**through_v, "b": -psi * self.beta_of(psi.shape[-1]).to(psi)}

    def _adaptation_slopes(self, dz: Slopes) -> dict[str, Slopes]:
        return {"b": {**dz, "b": dz["b"] + self.rho}}

    def _adapted_by(self, of_v: set[str]) -> dict[str, set[str]]:
        return {"z": {*of_v, "b"}, "b": {*of_v, "b"}, "f": {*of_v, "b", "f"}}
