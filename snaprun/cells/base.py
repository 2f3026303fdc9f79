"""Unit-local cells: slots, a transition, and the slopes that determine every derivative.

Shape suffixes: B lanes, C state components, M slots, K units.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

from torch import Tensor


@dataclass(frozen=True)
class Slot:
    """One affine pre-activation of a unit, equation (1): its sources and its initial bias."""

    name: str
    recurrent: bool = True
    input: bool = True
    bias: float | None = 0.0  # None: the slot has no bias


class Cell(ABC):
    """A recurrent cell in which unit u sees other units only through its slots a_mu, equation (1).

    The transition is elementwise per unit, s_u(t) = φ(a_1u … a_mu, s_u(t-1)) with s_u ∈ R^c, and
    component 0 of the state is h, which other units and layers see. The readout sees component
    `read` of the uppermost layer. `transition` and `slopes` are given all units of one layer. The
    constructor takes the keys of the cell's YAML file as keyword arguments.
    """

    slots: tuple[Slot, ...]  # the pre-activations of a unit, m in number
    components: ClassVar[int] = 1  # the components of a unit's state, c in number
    read: ClassVar[int] = 0  # the component that the readout sees
    spikes: ClassVar[bool] = False  # whether h is a spike, which the unit has sent and forgets
    averages: ClassVar[bool] = False  # whether the readout sees the mean of h since the beginning
    self_connections: bool = True  # whether a unit may see its own h
    # c and f0 of a cost c Σ_u (mean h_u − f0)² at every step of every lane, beside the loss.
    rate_cost: float = 0.0
    rate_target: float = 0.0

    @abstractmethod
    def transition(self, pre_BMK: Tensor, state_BCK: Tensor) -> Tensor:
        """Returns the next state s(t), shape (B, c, k), from the pre-activations and s(t-1)."""

    @abstractmethod
    def slopes(self, pre_BMK: Tensor, state_BCK: Tensor) -> tuple[Tensor, Tensor]:
        """Returns ∂s'_u/∂a_mu, shape (B, c, m, k), and ∂s'_u/∂s_u, shape (B, c, c, k).

        Both are computed in closed form.
        """

    def dense(self, units: int, inputs: int) -> list[int]:
        """Returns how many parameters each slot (m,) of a layer has without sparsity."""
        seen = units - (not self.self_connections)
        return [
            units * (seen * slot.recurrent + inputs * slot.input + (slot.bias is not None))
            for slot in self.slots
        ]

    @property
    def credited(self) -> tuple[int, ...]:
        """The components that the direct credit δ meets, ascending."""
        return (0, self.read) if self.rate_cost and self.read else (self.read,)

    @property
    def slope_pattern(self) -> tuple[tuple[bool, ...], ...]:
        """Structural pattern (c × m) of ∂s'/∂a: False where the slope is zero for every input."""
        return ((True,) * len(self.slots),) * self.components

    @property
    def trace_pattern(self) -> tuple[tuple[bool, ...], ...]:
        """Which component (c) each slot (m) reaches, at once or through the unit's own block."""
        components, slots = range(self.components), range(len(self.slots))
        reached = [list(row) for row in self.slope_pattern]
        for _ in components:
            for p, m in product(components, slots):
                reached[p][m] |= any(self.state_pattern[p][q] and reached[q][m] for q in components)
        return tuple(map(tuple, reached))

    @property
    def state_pattern(self) -> tuple[tuple[bool, ...], ...]:
        """Structural pattern (c × c) of ∂s'/∂s: False where the slope is zero for every input."""
        return ((True,) * self.components,) * self.components
