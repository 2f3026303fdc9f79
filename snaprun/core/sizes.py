"""The sizes of a training problem, known before its arrays are allocated, and the bytes it stores.

Shape suffixes as in core/recurrent.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from snaprun.cells import Cell
from snaprun.core.recurrent import RecurrentCore
from snaprun.core.reminder import Reminder
from snaprun.sparsity import Reach, Sparsity

LANE_PAD = 8  # the C++ core stores lanes, and the units of memories, in multiples of it


@dataclass(frozen=True)
class Storage:
    """The memory that a learning rule needs on an engine, in bytes, for all lanes."""

    kept: int = 0  # kept from step to step, padding included
    scratch: int = 0  # buffers that live as long as the engine
    index: int = 0  # index arrays that live as long as the engine
    setup: int = 0  # temporaries while the engine is built
    step: int = 0  # temporaries of a step
    backward: int = 0  # temporaries at the end of a window
    saved: int = 0  # the copy that a checkpoint takes
    relabelled: int = 0  # temporaries when the mask changes


@dataclass(frozen=True)
class Sizes:
    """The counts that determine memory: exact for a core, expected before its mask is drawn."""

    cell: Cell
    units: int  # of all layers
    inputs: int  # with the outputs of lower layers, as in Layout
    top: int  # units of the uppermost layer
    parameters_M: tuple[int, ...]  # live parameters of each slot
    lanes: int
    window: int  # steps between updates
    outputs: int  # of the readout
    hidden: int  # units of the readout's hidden layer; 0: no such layer
    itemsize: int  # bytes of a number
    threads: int
    reach: Callable[[int | None], Reach]  # of SnAp-n, from n; None: of RTRL
    reminder: Reminder | None = None

    @classmethod
    def before(
        cls,
        cell: Cell,
        sparsity: Sparsity,
        units: int | Sequence[int],
        inputs: int,
        reminder: Reminder | None = None,
        /,
        **others: int,
    ) -> "Sizes":
        """Returns the sizes to expect of a core before it is built.

        `units` is as in `RecurrentCore.build`, `others` are the fields from `lanes` to `threads`.
        """
        layers = (units,) if isinstance(units, int) else tuple(units)
        recurrent_slots = [slot.recurrent for slot in cell.slots]
        loops = cell.self_connections
        live = [sparsity.live(k, a, loops) for k, a in zip(layers, (inputs, *layers), strict=False)]
        parameters_LM = [
            tuple(
                recurrent * slot.recurrent + fed * slot.input + k * (slot.bias is not None)
                for slot in cell.slots
            )
            for k, (recurrent, fed) in zip(layers, live, strict=True)
        ]

        def reach(n: int | None) -> Reach:
            alone = [
                Reach.expected(
                    cell.slope_pattern,
                    cell.state_pattern,
                    recurrent_slots,
                    parameters_M,
                    k,
                    sparsity.linked,
                    n,
                    loops,
                )
                for k, parameters_M in zip(layers, parameters_LM, strict=True)
            ]
            return Reach.stacked(alone, whole=n is None)

        return cls(
            cell,
            sum(layers),
            inputs + sum(layers[:-1]),
            layers[-1],
            tuple(map(sum, zip(*parameters_LM, strict=True))),
            reach=reach,
            reminder=reminder,
            **others,
        )

    @classmethod
    def of(cls, core: RecurrentCore, **others: int) -> "Sizes":
        """Returns the sizes of a core; `others` are the fields from `lanes` to `threads`."""
        parameters_M = tuple(core.layout.live_MKJ.flatten(1).sum(1).tolist())

        def reach(n: int | None) -> Reach:
            return Reach.of(core.pattern(n))

        layout = core.layout
        top = layout.layers[-1]
        counts = core.cell, core.units, layout.inputs, top, parameters_M
        return cls(*counts, reach=reach, reminder=core.reminder, **others)

    @property
    def slots(self) -> int:
        """m."""
        return len(self.cell.slots)

    @property
    def components(self) -> int:
        """c."""
        return self.cell.components

    @property
    def states(self) -> int:
        """S = c·k."""
        return self.components * self.units

    @property
    def sources(self) -> int:
        """J = k + a + 1."""
        return self.units + self.inputs + 1

    @property
    def dense(self) -> int:
        """The number of entries of the dense weights (m, k, J)."""
        return self.slots * self.units * self.sources

    @property
    def parameters(self) -> int:
        """P."""
        return sum(self.parameters_M)

    @cached_property
    def readout(self) -> int:
        """The number of parameters of the readout."""
        seen = self.top * (1 if self.reminder is None else 2)
        widths = [seen, *([self.hidden] if self.hidden else []), self.outputs]
        return sum((i + 1) * o for i, o in pairwise(widths))

    @property
    def attention(self) -> int:
        """The number of parameters of the reminder's attention; 0 without one."""
        return 0 if self.reminder is None else self.reminder.parameters(self.top)

    @property
    def padded(self) -> int:
        """The number of lanes that the C++ core stores, padding included."""
        return -(-self.lanes // LANE_PAD) * LANE_PAD

    @property
    def wide(self) -> int:
        """The numbers that the C++ core stores of a memory of a reminder, padding included."""
        return -(-self.top // LANE_PAD) * LANE_PAD

    @property
    def record(self) -> int:
        """How many numbers BPTT keeps of a step and lane: sources, slopes and credit."""
        return self.sources + self.components * (self.slots + self.components + 1) * self.units

    def traces(self, pattern: Sequence[Sequence[bool]]) -> int:
        """How many traces a lane has: a parameter has one per component that its slot reaches.

        `pattern` (c × m) says which slot reaches which component.
        """
        reached_M = [sum(map(bool, column)) for column in zip(*pattern, strict=True)]
        return sum(p * c for p, c in zip(self.parameters_M, reached_M, strict=True))
