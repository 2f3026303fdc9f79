"""Which weights are live: one boolean mask over slots, units and sources [h; x; 1].

Shape suffixes: M slots, K units, A inputs, J = k + a + 1 sources.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from snaprun import checks


class Sparsity(ABC):
    """A way of choosing the live weights of a cell; biases are always dense."""

    @abstractmethod
    def recurrent(self, units: int, generator: Generator) -> Tensor:
        """The live entries of one slot's recurrent matrix, boolean (k, k)."""

    @abstractmethod
    def input(self, units: int, inputs: int, generator: Generator) -> Tensor:
        """The live entries of one slot's input matrix, boolean (k, a)."""

    share_slots: bool = False
    sparser: str = "sparsity=uniform with a high sparsity.level"  # what makes fewer weights live
    prunes: bool = False  # the mask changes while the network trains

    def live(self, units: int, inputs: int) -> tuple[int, int]:
        """The live entries of one slot's recurrent and input matrix, at most; nothing is drawn."""
        return units * units, units * inputs

    def linked(self, slots: int) -> float:
        """The expected fraction of pairs of two units that a matrix of `slots` slots links."""
        return float(slots > 0)

    def due(self, before: int, tokens: int) -> bool:
        """Between the two data-times of training, in tokens, the mask changes."""
        del before, tokens
        return False

    def pruned(self, tokens: int, live_MKJ: Tensor, weights_MKJ: Tensor) -> Tensor:
        """The mask at the data-time `tokens`, a part of the one so far, by its weights."""
        del tokens, weights_MKJ
        return live_MKJ

    def metrics(self, tokens: int) -> dict[str, float]:
        """The sparsity's own columns of a metric row."""
        del tokens
        return {}

    def mask(
        self,
        recurrent_slots: Sequence[bool],
        input_slots: Sequence[bool],
        units: int,
        inputs: int,
        generator: Generator,
    ) -> Tensor:
        """The live entries of all slots, boolean (m, k, k + a + 1), in the source order [h; x; 1].

        `recurrent_slots` and `input_slots` say which of the m slots have such a matrix. Each slot
        draws its own masks from `generator`, or all share one draw where `share_slots` is set.
        """
        slots = len(recurrent_slots)
        live_MKJ = torch.zeros(slots, units, units + inputs + 1, dtype=torch.bool)
        live_MKJ[:, :, -1] = True
        shared: tuple[Tensor, Tensor] | None = None
        for slot in range(slots):
            drawn = shared or (
                self.recurrent(units, generator),
                self.input(units, inputs, generator),
            )
            shared = drawn if self.share_slots else None
            if recurrent_slots[slot]:
                live_MKJ[slot, :, :units] = drawn[0]
            if input_slots[slot]:
                live_MKJ[slot, :, units:-1] = drawn[1]
        return live_MKJ


class Uniform(Sparsity):
    """In every matrix exactly round((1 - level)·entries) weights live, uniformly at random."""

    sparser = "a larger sparsity.level"

    def __init__(self, level: float = 0.75, share_slots: bool = False):
        self.level = checks.within("sparsity.level", level, 0.0, 1.0, open_high=True)
        self.share_slots = share_slots

    def recurrent(self, units: int, generator: Generator) -> Tensor:
        """Boolean (k, k) at the level."""
        return _uniform(units, units, self.level, generator)

    def input(self, units: int, inputs: int, generator: Generator) -> Tensor:
        """Boolean (k, a) at the level."""
        return _uniform(units, inputs, self.level, generator)

    def live(self, units: int, inputs: int) -> tuple[int, int]:
        """As many as will be drawn."""
        return _count(units * units, self.level), _count(units * inputs, self.level)

    def linked(self, slots: int) -> float:
        """1 − level^slots, with one draw for all slots 1 − level."""
        return 1 - self.level ** (min(slots, 1) if self.share_slots else slots)


class Dense(Sparsity):
    """Every weight is live."""

    def recurrent(self, units: int, generator: Generator) -> Tensor:
        """All of (k, k)."""
        del generator
        return torch.ones(units, units, dtype=torch.bool)

    def input(self, units: int, inputs: int, generator: Generator) -> Tensor:
        """All of (k, a)."""
        del generator
        return torch.ones(units, inputs, dtype=torch.bool)


class Diagonal(Sparsity):
    """Each unit sees itself alone; input matrices at `level`.

    IndRNN, arXiv 1803.04831; eLSTM, Irie et al. 2023, arXiv 2305.19044.

    On a diagonal recurrence SnAp-1 is RTRL; for the LSTM, whose output gate reaches c by way of
    h one step later, SnAp-2 is.
    """

    sparser = "a larger sparsity.level"

    def __init__(self, level: float = 0.0):
        self.level = checks.within("sparsity.level", level, 0.0, 1.0, open_high=True)

    def recurrent(self, units: int, generator: Generator) -> Tensor:
        """The identity pattern (k, k)."""
        del generator
        return torch.eye(units, dtype=torch.bool)

    def input(self, units: int, inputs: int, generator: Generator) -> Tensor:
        """Boolean (k, a) at the level."""
        return _uniform(units, inputs, self.level, generator)

    def live(self, units: int, inputs: int) -> tuple[int, int]:
        """The diagonal, and the inputs at the level."""
        return units, _count(units * inputs, self.level)

    def linked(self, slots: int) -> float:
        """0: a unit feeds no other."""
        del slots
        return 0.0


def _count(size: int, level: float) -> int:
    """The live ones of `size` entries at a level."""
    return round((1 - level) * size)


def _uniform(rows: int, columns: int, level: float, generator: Generator) -> Tensor:
    size = rows * columns
    live = torch.zeros(size, dtype=torch.bool)
    live[torch.randperm(size, generator=generator)[: _count(size, level)]] = True
    return live.view(rows, columns)
