"""What the C++ engine is told of a rule, and how its memory reads in the rule's saved form.

One adapter a rule; the table at the end says which rule has which. In C++ lanes come last, padded;
the padding stays zero. Shape suffixes: T steps, B lanes, C components, K units, P parameters, L
entries of a pattern, X numbers that a lane carries.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from snaprun.core import RecurrentCore
from snaprun.influence import choose
from snaprun.influence.native import block_fields
from snaprun.rules import BPTT, RFLO, RTRL, UORO, Frozen, LearningRule, Setup, SnAp

Memory = Mapping[str, Tensor]  # the engine's, by the names that it gives


@dataclass
class Adapter:
    """A rule that sums its gradient step by step and carries nothing else."""

    name = ""  # of the rule in C++

    rule: Any
    core: RecurrentCore
    lanes: int
    outputs: int
    dtype: torch.dtype
    noise: Generator

    def fields(self) -> dict[str, Any]:
        """What the rule needs in the engine's configuration."""
        return {}

    def pattern(self) -> dict[str, Any]:
        """What the rule needs in the configuration's pattern."""
        return {}

    def views(self, memory: Memory) -> dict[str, Any]:
        """The rule's saved tensors that lie in `memory`, as views."""
        return {"gradient": memory["gradient 0"]}

    def carried(self, carried_BX: Tensor) -> dict[str, Tensor]:
        """The rule's saved tensors that the engine reads out, and does not list."""
        del carried_BX
        return {}

    def carry(self, saved: Memory) -> Tensor | None:
        """The reverse: what the engine is assigned, shape (B, X), or None."""
        del saved
        return None

    def draw(self, steps: int) -> Tensor | None:
        """The noise of so many steps, or None."""
        del steps
        return None


class InfluenceAdapter(Adapter):
    """SnAp-n and RTRL: J in blocks."""

    name = "influence"

    def pattern(self) -> dict[str, Any]:
        """The blocks of the rule's pattern."""
        return block_fields(self.core.pattern(self.rule.n))

    def carried(self, carried_BX: Tensor) -> dict[str, Tensor]:
        """J, in the order of `Pattern.entries`."""
        return {"J": carried_BX}

    def carry(self, saved: Memory) -> Tensor:
        """J."""
        return saved["J"]


class SnAp1Adapter(Adapter):
    """SnAp-1: J as traces (C, P), of which the pattern's entries are saved."""

    name = "snap1"

    def _entries(self) -> Tensor:
        """Where J's entries lie among the traces."""
        row_L, column_L = self.core.pattern(1).entries
        return row_L // self.core.units * self.core.layout.size + column_L

    def carried(self, carried_BX: Tensor) -> dict[str, Tensor]:
        """J, in the order of `Pattern.entries`."""
        return {"J": carried_BX[:, self._entries()]}

    def carry(self, saved: Memory) -> Tensor:
        """The traces, zero where J has no entry."""
        traces = self.core.cell.components * self.core.layout.size
        carried_BX = saved["J"].new_zeros(self.lanes, traces)
        carried_BX[:, self._entries()] = saved["J"]
        return carried_BX


class BPTTAdapter(Adapter):
    """BPTT: the tape of the window."""

    name = "bptt"

    def views(self, memory: Memory) -> dict[str, Any]:
        """The tape, steps first, then lanes."""
        begins, has_credit = (memory[name].view(torch.bool) for name in ("begins", "has_credit"))
        slots, units, sources = self.core.layout.live_MKJ.shape
        components = self.core.cell.components
        shapes = {
            "src": (sources,),
            "dsda": (components, slots, units),
            "dsds": (components, components, units),
            "credit": (components, units),
        }
        stride = begins.shape[1]
        parts = memory["tape"].split([torch.Size(x).numel() * stride for x in shapes.values()], 1)
        tape = {
            name: part.unflatten(1, (*shape, stride))[..., : self.lanes].movedim(-1, 1)
            for (name, shape), part in zip(shapes.items(), parts, strict=True)
        }
        return {"tape": tape | {"begins": begins[:, : self.lanes], "has_credit": has_credit}}


class RFLOAdapter(Adapter):
    """RFLO: traces, and the feedback where it is random."""

    name = "rflo"

    def fields(self) -> dict[str, Any]:
        """The feedback, as the rule itself draws it."""
        setup = Setup(self.core, self.lanes, self.dtype, self.outputs, self.noise, choose("auto"))
        feedback_OK = self.rule.init(setup).feedback_OK
        return {} if feedback_OK is None else {"feedback": feedback_OK.double().flatten().tolist()}

    def views(self, memory: Memory) -> dict[str, Any]:
        """The gradient, and the feedback."""
        feedback = {"feedback": memory["feedback"]} if "feedback" in memory else {}
        return super().views(memory) | feedback

    def carried(self, carried_BX: Tensor) -> dict[str, Tensor]:
        """The traces (B, C, P)."""
        return {"trace": carried_BX.unflatten(1, (-1, self.core.layout.size))}

    def carry(self, saved: Memory) -> Tensor:
        """The traces."""
        return saved["trace"].flatten(1)


class UOROAdapter(Adapter):
    """UORO: s̃ and θ̃, and ν as the rule itself draws it."""

    name = "uoro"

    def views(self, memory: Memory) -> dict[str, Any]:
        """The gradient, s̃ (B, C, K) and θ̃ (B, P)."""
        factors = {name: lanes_first(memory[name], self.lanes) for name in ("s", "theta")}
        return super().views(memory) | factors

    def draw(self, steps: int) -> Tensor:
        """ν of every step, shape (T, B, C, K)."""
        shape = (self.lanes, self.core.cell.components, self.core.units)
        nu_TBCK = torch.empty(steps, *shape, dtype=torch.int8)
        for t in range(steps):
            nu_TBCK[t] = torch.randint(0, 2, shape, generator=self.noise) * 2 - 1
        return nu_TBCK


class FrozenAdapter(Adapter):
    """A core that does not learn keeps nothing."""

    name = "frozen"

    def views(self, memory: Memory) -> dict[str, Any]:
        """Nothing."""
        del memory
        return {}


ADAPTERS: dict[type[LearningRule], type[Adapter]] = {
    SnAp: InfluenceAdapter,
    RTRL: InfluenceAdapter,
    BPTT: BPTTAdapter,
    RFLO: RFLOAdapter,
    UORO: UOROAdapter,
    Frozen: FrozenAdapter,
}


def adapter(rule: LearningRule) -> type[Adapter] | None:
    """The adapter of a rule, None where the C++ core has none for it."""
    if type(rule) is SnAp and rule.n == 1:
        return SnAp1Adapter
    return ADAPTERS.get(type(rule))


def lanes_first(padded: Tensor, lanes: int) -> Tensor:
    """A tensor of the engine without its padded lanes, the lanes first."""
    return padded[..., :lanes].movedim(-1, 0)


def fill(tree: Any, saved: Any) -> None:
    """Every tensor of `tree` in place from the one that stands there in `saved`."""
    if isinstance(tree, Tensor):
        tree.copy_(saved)
        return
    for key in tree if isinstance(tree, dict) else range(len(tree)):
        fill(tree[key], saved[key])
