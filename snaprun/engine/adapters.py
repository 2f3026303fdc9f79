"""The adapters translate between a rule in Python and the same rule in the C++ engine.

An adapter tells the engine how to set the rule up, and presents the engine's memory in the form in
which the rule saves its state. ADAPTERS lists the adapter of every rule. In C++ lanes are the last
dimension and padded; the padding stays zero. Shape suffixes: T steps, B lanes, C components,
K units, P parameters, L entries of a pattern, X numbers carried per lane.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from snaprun.core import RecurrentCore
from snaprun.engine.saved import DATA, copied
from snaprun.influence import choose
from snaprun.influence.native import block_fields
from snaprun.rules import (
    BPTT,
    RFLO,
    RTRL,
    SAB,
    UORO,
    EProp,
    Frozen,
    LearningRule,
    Rate,
    Setup,
    SnAp,
)
from snaprun.rules.bptt import taped
from snaprun.rules.replay import stacked
from snaprun.rules.uoro import signs

Memory = Mapping[str, Tensor]  # the engine's buffers, by the engine's names


@dataclass
class Adapter:
    """The adapter of a rule that sums its gradient step by step and carries nothing else."""

    name = ""  # the rule's name in C++

    rule: Any
    core: RecurrentCore
    lanes: int
    outputs: int
    dtype: torch.dtype
    noise: Generator

    def fields(self) -> dict[str, Any]:
        """Return the entries that the rule needs in the engine's configuration."""
        return {}

    def pattern(self) -> dict[str, Any]:
        """Return the entries that the rule needs in the pattern of that configuration."""
        return {}

    def views(self, memory: Memory) -> dict[str, Any]:
        """Return views into `memory` of the rule's saved tensors that lie there."""
        return {"gradient": memory["gradient 0"]}

    def saved(self, views: dict[str, Any]) -> dict[str, Any]:
        """Return copies of `views` in the form in which they are saved."""
        return copied(views)

    def carried(self, carried_BX: Tensor) -> dict[str, Tensor]:
        """Return the rule's saved tensors that the engine copies out as `carried_BX`."""
        return {}

    def carry(self, saved: Memory) -> Tensor | None:
        """Return the (B, X) tensor to assign to the engine, the inverse of `carried`; or None."""
        return None

    def draw(self, steps: int) -> Tensor | None:
        """Return the noise of `steps` steps, or None for a rule without noise."""
        return None


class InfluenceAdapter(Adapter):
    """The adapter of SnAp-n and RTRL, which store J in blocks."""

    name = "influence"

    def pattern(self) -> dict[str, Any]:
        """Return the blocks of the rule's pattern."""
        return block_fields(self.core.pattern(self.rule.n))

    def carried(self, carried_BX: Tensor) -> dict[str, Tensor]:
        """Return J with its entries in the order of `Pattern.entries`."""
        return {"J": carried_BX}

    def carry(self, saved: Memory) -> Tensor:
        """Return J."""
        return saved["J"]


class SnAp1Adapter(Adapter):
    """The adapter of SnAp-1, which stores J as traces (C, P) and saves the pattern's entries."""

    name = "snap1"

    def fields(self) -> dict[str, Any]:
        """Return the components that each slot reaches at once."""
        return {"traces": as_words(self.core.cell.slope_pattern)}

    def _entries(self) -> Tensor:
        """Return the index of every entry of J among the traces."""
        row_L, column_L = self.core.pattern(1).entries
        return row_L // self.core.units * self.core.layout.size + column_L

    def carried(self, carried_BX: Tensor) -> dict[str, Tensor]:
        """Return J with its entries in the order of `Pattern.entries`."""
        return {"J": carried_BX[:, self._entries()]}

    def carry(self, saved: Memory) -> Tensor:
        """Return the traces, which are zero where J has no entry."""
        traces = self.core.cell.components * self.core.layout.size
        carried_BX = saved["J"].new_zeros(self.lanes, traces)
        carried_BX[:, self._entries()] = saved["J"]
        return carried_BX


class BPTTAdapter(Adapter):
    """The adapter of BPTT, which keeps the tape of the window."""

    name = "bptt"

    def fields(self) -> dict[str, Any]:
        """Return the number of steps after which the credit is cut; 0: never."""
        return {"truncate": self.rule.truncate or 0}

    def views(self, memory: Memory) -> dict[str, Any]:
        """Return the tape with dimensions (T, B, …)."""
        begins, has_credit = (memory[name].view(torch.bool) for name in ("begins", "has_credit"))
        tape = self.taped(memory["tape"], begins.shape[1])
        return {"tape": tape | {"begins": begins[:, : self.lanes], "has_credit": has_credit}}

    def taped(self, tape: Tensor, stride: int) -> dict[str, Tensor]:
        """Return views (T, B, …) of the T steps on a tape (T, X), by their saved names."""
        shapes = taped(self.core)
        parts = tape.split([torch.Size(x).numel() * stride for x in shapes.values()], 1)
        return {
            name: part.unflatten(1, (*shape, stride))[..., : self.lanes].movedim(-1, 1)
            for (name, shape), part in zip(shapes.items(), parts, strict=True)
        }


class BudgetAdapter(BPTTAdapter):
    """The adapter of BPTT within a budget of memory, which keeps a stack of states."""

    name = "budget"

    def views(self, memory: Memory) -> dict[str, Any]:
        """Return the rule's tensors, those of the stack in lists, bottom first."""
        lanes, stack = self.lanes, memory["stack"]
        stride = memory["cursor"].shape[-1]
        hidden = memory["cursor"].shape
        internal = sum(math.prod(shape) for shape in taped(self.core).values()) * stride
        of: dict[str, list[Tensor]] = {name: [] for name in stacked(self.core, lanes)}
        for kind in memory["kinds"].tolist():
            size = internal if kind else hidden.numel()
            item, stack = stack[:size], stack[size:]
            if not kind:
                of["hidden"].append(lanes_first(item.view(hidden), lanes))
                continue
            parts = self.taped(item[None], stride)
            parts["state"] = parts.pop("credit")
            for name, part in parts.items():
                of[name].append(part[0])
        data = {
            "inputs": memory["inputs"],
            "targets": memory["targets"],
            "mask": memory["mask"].view(torch.bool),
            "resets": memory["resets"].view(torch.bool)[:, :lanes],
        }
        return {
            **of,
            "cursor": lanes_first(memory["cursor"], lanes),
            "credit": lanes_first(memory["lambda"], lanes),
            "pending_src": memory["sources"][..., :lanes].movedim(-1, 1),
            "pending_credit": memory["slot credit"][..., :lanes].permute(0, 3, 2, 1),
            **super(BPTTAdapter, self).views(memory),
            **(data if len(data["mask"]) else {}),
        }

    def saved(self, views: dict[str, Any]) -> dict[str, Any]:
        """Return a copy with the states of the stack stacked."""
        like = views["cursor"]
        stacks = {
            name: torch.stack(views[name]) if views[name] else like.new_zeros(0, *shape)
            for name, shape in stacked(self.core, self.lanes).items()
        }
        no_data = {name: torch.empty(0) for name in DATA}
        rest = {name: x for name, x in views.items() if name not in stacks}
        return {**no_data, **stacks, **copied(rest)}


class SABAdapter(BPTTAdapter):
    """The adapter of SAB, whose tape also holds what each step recalled."""

    name = "sab"

    def fields(self) -> dict[str, Any]:
        """Return the steps of a block of credit, and whether memories take none."""
        return {"truncate": self.rule.k_trunc, "detach": self.rule.detach}

    def views(self, memory: Memory) -> dict[str, Any]:
        """Return the tape with dimensions (T, B, …), or (T, R, B) of the memories recalled."""
        units, tape = self.core.layout.layers[-1], super().views(memory)["tape"]
        recalled = {name: memory[name] for name in ("index", "weights", "slope")}
        recalled["proposed"] = memory["proposed"][..., :units]
        recalled["recall_credit"] = memory["recall credit"][..., :units]
        return {"tape": tape | recalled}


class RFLOAdapter(Adapter):
    """The adapter of RFLO, which keeps traces and, if the feedback is random, the feedback."""

    name = "rflo"

    def fields(self) -> dict[str, Any]:
        """Return the components that each slot reaches, and the feedback as the rule draws it."""
        setup = Setup(self.core, self.lanes, self.dtype, self.outputs, self.noise, choose("auto"))
        feedback_OK = self.rule.init(setup).feedback_OK
        traces = {"traces": as_words(self.core.cell.trace_pattern)}
        if feedback_OK is None:
            return traces
        return traces | {"feedback": feedback_OK.double().flatten().tolist()}

    def views(self, memory: Memory) -> dict[str, Any]:
        """Return the gradient and, if it is random, the feedback."""
        feedback = {"feedback": memory["feedback"]} if "feedback" in memory else {}
        return super().views(memory) | feedback

    def carried(self, carried_BX: Tensor) -> dict[str, Tensor]:
        """Return the traces (B, C, P)."""
        return {"trace": carried_BX.unflatten(1, (-1, self.core.layout.size))}

    def carry(self, saved: Memory) -> Tensor:
        """Return the traces, flattened to (B, C·P)."""
        return saved["trace"].flatten(1)


class EPropAdapter(RFLOAdapter):
    """The adapter of e-prop, which is RFLO in C++ with other traces and feedback that may adapt."""

    def fields(self) -> dict[str, Any]:
        """Return those of RFLO, whether spikes act on nothing, and how the feedback decays."""
        adaptive = {"feedback_decay": self.rule.decay} if self.rule.adapts else {}
        return super().fields() | {"drop_spikes": self.core.cell.spikes} | adaptive


class RateAdapter(Adapter):
    """The adapter of rate, which keeps the trace of a bias and sums the sources."""

    name = "rate"

    def fields(self) -> dict[str, Any]:
        """Return the components that each slot reaches."""
        return {"traces": as_words(self.core.cell.trace_pattern)}

    def views(self, memory: Memory) -> dict[str, Any]:
        """Return the gradient, ε (B, C, M, K), Σ src (B, J), and its steps (B,)."""
        kept = ("trace", "sources", "steps")
        return super().views(memory) | {n: lanes_first(memory[n], self.lanes) for n in kept}


class UOROAdapter(Adapter):
    """The adapter of UORO, which keeps s̃ and θ̃ and draws ν as the Python rule does."""

    name = "uoro"

    def views(self, memory: Memory) -> dict[str, Any]:
        """Return the gradient, s̃ (B, C, K) and θ̃ (B, P)."""
        factors = {name: lanes_first(memory[name], self.lanes) for name in ("s", "theta")}
        return super().views(memory) | factors

    def draw(self, steps: int) -> Tensor:
        """Return ν of every step, shape (T, B, C, K)."""
        shape = torch.Size((self.lanes, self.core.cell.components, self.core.units))
        nu_TBCK = torch.empty(steps, *shape, dtype=torch.int8)
        for t in range(steps):
            nu_TBCK[t] = signs(self.noise, shape)
        return nu_TBCK


class FrozenAdapter(Adapter):
    """The adapter of a core that does not learn; the rule keeps nothing."""

    name = "frozen"

    def views(self, memory: Memory) -> dict[str, Any]:
        """Return no views."""
        return {}


ADAPTERS: dict[type[LearningRule], type[Adapter]] = {
    SnAp: InfluenceAdapter,
    RTRL: InfluenceAdapter,
    BPTT: BPTTAdapter,
    SAB: SABAdapter,
    RFLO: RFLOAdapter,
    EProp: EPropAdapter,
    Rate: RateAdapter,
    UORO: UOROAdapter,
    Frozen: FrozenAdapter,
}


def adapter(rule: LearningRule) -> type[Adapter] | None:
    """Return the adapter class of `rule`, or None if the C++ core does not have the rule."""
    if type(rule) is SnAp and rule.n == 1:
        return SnAp1Adapter
    if type(rule) is BPTT and rule.replays:
        return BudgetAdapter
    return ADAPTERS.get(type(rule))


def as_words(pattern: Iterable[Iterable[bool]]) -> list[str]:
    """Return a word a component, with '1' for every slot that reaches it."""
    return ["".join("01"[reached] for reached in row) for row in pattern]


def lanes_first(padded: Tensor, lanes: int) -> Tensor:
    """Return an engine tensor without the padded lanes, and with lanes as the first dimension."""
    return padded[..., :lanes].movedim(-1, 0)


def fill(tree: Any, saved: Any) -> None:
    """Copy every tensor of `saved` into the tensor at the same place in `tree`."""
    if isinstance(tree, Tensor):
        tree.copy_(saved)
        return
    for key in tree if isinstance(tree, dict) else range(len(tree)):
        fill(tree[key], saved[key])
