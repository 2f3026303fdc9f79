"""Sparsities draw the boolean mask of live weights over slots, units and sources [h; x; 1].

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
        """Returns the live entries of one slot's recurrent matrix, boolean (k, k)."""

    @abstractmethod
    def input(self, units: int, inputs: int, generator: Generator) -> Tensor:
        """Returns the live entries of one slot's input matrix, boolean (k, a)."""

    share_slots: bool = False
    sparser: str = "sparsity=uniform with a high sparsity.level"  # what makes fewer weights live
    prunes: bool = False  # whether the mask shrinks while the network trains
    rewires: bool = False  # whether `rewired` changes the mask after every update

    def recurrent_apart(self, units: int, generator: Generator) -> Tensor:
        """Returns the same as `recurrent` for a cell in which no unit sees its own h."""
        return self.recurrent(units, generator) & ~torch.eye(units, dtype=torch.bool)

    def live(self, units: int, inputs: int, loops: bool = True) -> tuple[int, int]:
        """Returns the most live entries of a slot's recurrent and input matrix, without a draw.

        `loops` says whether a unit may see its own h.
        """
        return units * (units - (not loops)), units * inputs

    def linked(self, slots: int) -> float:
        """Returns the expected fraction of pairs of units that the union of `slots` masks links."""
        return float(slots > 0)

    def due(self, before: int, tokens: int) -> bool:
        """Returns whether the mask changes between two data-times of training, in tokens."""
        return False

    def pruned(self, tokens: int, live_MKJ: Tensor, weights_MKJ: Tensor) -> Tensor:
        """Returns the mask at the data-time `tokens`, chosen from `live_MKJ` by the weights."""
        return live_MKJ

    def rewired(
        self,
        live_MKJ: Tensor,
        weights_MKJ: Tensor,
        possible_MKJ: Tensor,
        signs_MKJ: Tensor,
        *,
        lr: float,
        generator: Generator,
    ) -> tuple[Tensor, Tensor]:
        """Returns the mask and the dense weights after an update with the rate `lr`.

        `possible_MKJ` are the entries that the cell has, and `signs_MKJ` the sign of each for the
        whole run.
        """
        del possible_MKJ, signs_MKJ, lr, generator
        return live_MKJ, weights_MKJ

    def metrics(self, tokens: int) -> dict[str, float]:
        """Returns the columns that the sparsity adds to a row of metrics."""
        return {}

    def mask(
        self,
        recurrent_slots: Sequence[bool],
        input_slots: Sequence[bool],
        units: int,
        inputs: int,
        generator: Generator,
        *,
        biased_slots: Sequence[bool] | None = None,
        loops: bool = True,
    ) -> Tensor:
        """Draws the live entries of all slots, boolean (m, k, k + a + 1), sources as [h; x; 1].

        `recurrent_slots`, `input_slots` and `biased_slots` (None: all) say which of the m slots
        have such a matrix or a bias, and `loops` whether a unit may see its own h. Each slot draws
        its own masks from `generator`; with `share_slots` all slots share one draw.
        """
        slots, recurrent = len(recurrent_slots), self.recurrent if loops else self.recurrent_apart
        live_MKJ = torch.zeros(slots, units, units + inputs + 1, dtype=torch.bool)
        live_MKJ[:, :, -1] = torch.tensor(biased_slots or [True] * slots)[:, None]
        shared: tuple[Tensor, Tensor] | None = None
        for slot in range(slots):
            drawn = shared or (recurrent(units, generator), self.input(units, inputs, generator))
            shared = drawn if self.share_slots else None
            if recurrent_slots[slot]:
                live_MKJ[slot, :, :units] = drawn[0]
            if input_slots[slot]:
                live_MKJ[slot, :, units:-1] = drawn[1]
        return live_MKJ


class Uniform(Sparsity):
    """Draws exactly round((1 - level)·entries) live weights of each matrix, uniformly at random.

    >>> from snaprun.seeding import stream
    >>> from snaprun.sparsity import SPARSITIES
    >>> sparsity = SPARSITIES["uniform"](level=0.75)
    >>> sparsity.recurrent(8, stream(0, "mask")).sum().item()  # of 64 entries
    16
    """

    sparser = "a larger sparsity.level"

    def __init__(self, level: float = 0.75, share_slots: bool = False):
        self.level = checks.within("sparsity.level", level, 0.0, 1.0, open_high=True)
        self.drawn = self.level  # the level at which masks are drawn
        self.share_slots = share_slots

    def recurrent(self, units: int, generator: Generator) -> Tensor:
        """Draws the live entries at the level, boolean (k, k)."""
        return self._draw(units, units, generator)

    def input(self, units: int, inputs: int, generator: Generator) -> Tensor:
        """Draws the live entries at the level, boolean (k, a)."""
        return self._draw(units, inputs, generator)

    def recurrent_apart(self, units: int, generator: Generator) -> Tensor:
        """Draws the live entries at the level among all but the diagonal, boolean (k, k)."""
        others = ~torch.eye(units, dtype=torch.bool)
        return others.masked_scatter(others, self._draw(units, units - 1, generator))

    def live(self, units: int, inputs: int, loops: bool = True) -> tuple[int, int]:
        """Returns the exact numbers of live entries, which the level fixes."""
        return self._count(units * (units - (not loops))), self._count(units * inputs)

    def linked(self, slots: int) -> float:
        """Returns 1 − level^slots, or 1 − level where all slots share one draw."""
        return 1 - self.drawn ** (min(slots, 1) if self.share_slots else slots)

    def _count(self, size: int) -> int:
        """Returns how many of `size` entries are drawn live."""
        return round((1 - self.drawn) * size)

    def _draw(self, rows: int, columns: int, generator: Generator) -> Tensor:
        size = rows * columns
        live = torch.zeros(size, dtype=torch.bool)
        live[torch.randperm(size, generator=generator)[: self._count(size)]] = True
        return live.view(rows, columns)


class Dense(Sparsity):
    """Makes every weight live.

    >>> from snaprun.sparsity import SPARSITIES
    >>> SPARSITIES["dense"]().input(2, 3, Generator()).int().tolist()
    [[1, 1, 1], [1, 1, 1]]
    """

    def recurrent(self, units: int, generator: Generator) -> Tensor:
        """Returns True everywhere, boolean (k, k)."""
        return torch.ones(units, units, dtype=torch.bool)

    def input(self, units: int, inputs: int, generator: Generator) -> Tensor:
        """Returns True everywhere, boolean (k, a)."""
        return torch.ones(units, inputs, dtype=torch.bool)


class Diagonal(Uniform):
    """Connects each unit only to itself, and draws input matrices uniformly at `level`.

    On a diagonal recurrence SnAp-1 equals RTRL. For the LSTM it takes SnAp-2, because the output
    gate reaches c through h, one step later. Sources: IndRNN, arXiv 1803.04831; eLSTM, Irie et
    al. 2023, arXiv 2305.19044.

    >>> from snaprun.sparsity import SPARSITIES
    >>> SPARSITIES["diagonal"]().recurrent(3, Generator()).int().tolist()
    [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    """

    def __init__(self, level: float = 0.0):
        super().__init__(level)

    def recurrent(self, units: int, generator: Generator) -> Tensor:
        """Returns the diagonal, boolean (k, k)."""
        return torch.eye(units, dtype=torch.bool)

    def recurrent_apart(self, units: int, generator: Generator) -> Tensor:
        """Returns no entry, boolean (k, k): the units are then not connected at all."""
        return torch.zeros(units, units, dtype=torch.bool)

    def live(self, units: int, inputs: int, loops: bool = True) -> tuple[int, int]:
        """Returns k for the diagonal, and the number of live inputs at the level."""
        return units * loops, self._count(units * inputs)

    def linked(self, slots: int) -> float:
        """Returns 0, because a unit feeds no other unit."""
        return 0.0
