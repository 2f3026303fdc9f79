"""Backpropagation through time, full or truncated."""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from types import ModuleType
from typing import Any, get_args

import torch
from torch import Tensor

from snaprun import checks
from snaprun.core import Record, RecurrentCore, Sizes, Storage
from snaprun.core.jacobians import dynamics_vjp, slot_vjp
from snaprun.rules.base import Cost, Counts, LearningRule, Setup
from snaprun.rules.schedule import (  # instructions
    BACK,
    CELLS,
    FINEST,
    HOLD,
    POLICIES,
    RESTORE,
    TAPE,
    Schedule,
    full,
    least,
    peak,
)
from snaprun.sparsity import Layout


@dataclass(frozen=True)
class BPTTState:
    """The tape since the last update; the tape grows in place."""

    layout: Layout
    empty: dict[str, Tensor]  # a saved tape of no steps
    tape: list[Record] = field(default_factory=list)
    begins: dict[int, Tensor] = field(default_factory=dict)  # lanes that begin at a tape index


class BPTT(LearningRule[BPTTState]):
    """Carries credit backward over a tape of the steps since the last update (Werbos 1990).

        λ_t = δ_t + λ_(t+1) D_(t+1),    g = Σ_t λ_t I_t                                  (6)

    Each call of `gradient` cuts the tape. With an update every T steps the rule is truncated BPTT
    with the state carried (Williams & Peng 1990); with one update per sequence it is exact.

    `memory` bounds the bytes that an engine keeps of a window of T steps, as a fraction of what the
    full tape needs, in (0, 1], or in words such as "64MB"; the engine then repeats the steps that
    it does not keep, by the schedule `policy` of snaprun.rules.schedule (Gruslys et al. 2016, arXiv
    1606.03401), and the gradient is the same. None keeps the full tape, as `step` always does.
    `truncate` = k sets λ to zero before the steps t of the window with (t + 1) mod k = 0: credit
    stays within blocks of k steps, and the window still makes one update. Raises UserError for
    other values.

    >>> from snaprun.cells import Vanilla
    >>> from snaprun.rules import RULES
    >>> from snaprun.sparsity import Dense
    >>> core = RecurrentCore.build(Vanilla(), Dense(), 8, 4, torch.Generator())
    >>> [RULES["bptt"]().cost(core, horizon).state for horizon in (1, 10)]  # numbers on the tape
    [37, 370]
    """

    claim = "exact"
    state_type = BPTTState
    taped = True
    memory: float | str | None = None
    policy: POLICIES = "mixed"
    truncate: int | None = None

    def __init__(
        self,
        memory: float | str | None = None,
        policy: POLICIES = "mixed",
        truncate: int | None = None,
    ):
        _read(memory)
        self.memory = memory
        self.policy = checks.one_of("rule.policy", policy, get_args(POLICIES))
        self.truncate = truncate
        if truncate is not None:
            self.truncate = checks.at_least("rule.truncate", truncate, 1)
            self.claim = "biased"

    @property
    def replays(self) -> bool:
        """Whether the memory of a window is bounded."""
        return self.memory is not None

    @property
    def lighter(self) -> str:
        """A bound of the memory, or a smaller one."""
        return "a smaller rule.memory" if self.replays else "a bound such as rule.memory=0.05"

    def budget(self, steps: int, hidden: int, internal: int) -> int:
        """Returns the bytes that a window of `steps` steps may keep, which may be too few.

        `hidden` and `internal` are the bytes of a hidden and of an internal state, as in Schedule.
        """
        size = _read(self.memory)
        whole = full(steps, hidden, internal)
        return whole if size is None else int(size * whole) if size <= 1 else int(size)

    def require_enough(self, steps: int, hidden: int, internal: int) -> None:
        """Raises UserError unless a window of `steps` steps may keep the least possible."""
        needed, budget = least(hidden, internal), self.budget(steps, hidden, internal)
        if budget < needed:
            fraction = math.ceil(1e4 * needed / full(steps, hidden, internal)) / 1e4
            checks.refuse(
                "rule.memory",
                self.memory,
                f"at least {needed} B, or {fraction:g} of the full tape of "
                f"{steps} step{'s' * (steps > 1)} (it allows {budget} B)",
            )

    def schedule(self, steps: int, hidden: int, internal: int) -> Schedule:
        """Returns the schedule of a window, whose budget is at least the least possible."""
        budget = self.budget(steps, hidden, internal)
        most = full(max(steps, 1), hidden, internal)
        budget = min(max(budget, least(hidden, internal)), most)
        return Schedule(hidden, internal, budget, self.policy)

    def cuts(self, t: int) -> bool:
        """Returns whether no credit flows back from step t of a window to step t - 1."""
        return self.truncate is not None and (t + 1) % self.truncate == 0

    def init(self, setup: Setup) -> BPTTState:
        """Returns an empty tape."""
        core, lanes = setup.core, setup.lanes
        like = core.initial_state(lanes, setup.dtype)
        shapes = taped(core)
        empty = {name: like.new_zeros(0, lanes, *shape) for name, shape in shapes.items()}
        empty["has_credit"] = torch.zeros(0, dtype=torch.bool)
        empty["begins"] = torch.zeros(0, lanes, dtype=torch.bool, device=core.device)
        return BPTTState(core.layout, empty)

    def reset(self, state: BPTTState, lanes_B: Tensor) -> BPTTState:
        """Stops the credit of later steps from flowing back past this point in `lanes_B`."""
        begun_B = state.begins.get(len(state.tape))
        state.begins[len(state.tape)] = lanes_B if begun_B is None else begun_B | lanes_B
        return state

    def step(self, state: BPTTState, record: Record) -> BPTTState:
        """Appends the record to the tape."""
        state.tape.append(record)
        return state

    def gradient(self, state: BPTTState) -> tuple[Tensor, BPTTState]:
        """Returns equation (6) over the tape, shape (P,), and an empty tape."""
        return self.swept(state), BPTTState(state.layout, state.empty)

    def swept(
        self, state: BPTTState, through: Callable[[int, Record, Tensor], Tensor] | None = None
    ) -> Tensor:
        """Returns equation (6) over the tape, shape (P,), by one sweep back.

        `through` takes a step t of the tape, its record and its credit λ_t, and returns the credit
        that flows into the cell instead of λ_t.
        """
        if not state.tape:
            return state.empty["src"].new_zeros(state.layout.size)
        credit_BCK = torch.zeros_like(state.tape[-1].dsda_BCMK[:, :, 0])
        slot_credit: list[Tensor] = []
        for t in range(len(state.tape) - 1, -1, -1):
            record = state.tape[t]
            if record.credit_BCK is not None:
                credit_BCK = credit_BCK + record.credit_BCK
            if through is not None:
                credit_BCK = through(t, record, credit_BCK)
            slot_credit.append(slot_vjp(record, credit_BCK).flatten(1))
            if t == 0:  # the window has no earlier step to take λ D
                break
            if self.cuts(t):
                credit_BCK = torch.zeros_like(credit_BCK)
                continue
            credit_BCK = dynamics_vjp(record, credit_BCK)
            if t in state.begins:
                credit_BCK = credit_BCK.masked_fill(state.begins[t][:, None, None], 0)
        sources = torch.cat([record.src_BJ for record in reversed(state.tape)])
        dense = torch.cat(slot_credit).T @ sources  # Σ_t λ_t I_t over all pairs (slot·unit, source)
        return state.layout.gather(dense)

    def kept(self, state: BPTTState) -> Iterable[Tensor]:
        """Yields the tensors that the tape holds of each step."""
        for record in state.tape:
            yield from (record.src_BJ, record.dsda_BCMK, record.dsds_BCCK)
            if record.credit_BCK is not None:
                yield record.credit_BCK

    def state_dict(self, state: BPTTState) -> dict[str, Any]:
        """Returns the tape, stacked over its T steps; a step without credit has zero credit."""
        tape, empty = state.tape, state.empty
        no_credit_BCK = empty["credit"].new_zeros(empty["credit"].shape[1:])
        none_B = empty["begins"].new_zeros(empty["begins"].shape[1:])
        steps = {
            "src": [r.src_BJ for r in tape],
            "dsda": [r.dsda_BCMK for r in tape],
            "dsds": [r.dsds_BCCK for r in tape],
            "credit": [no_credit_BCK if r.credit_BCK is None else r.credit_BCK for r in tape],
            "has_credit": [torch.tensor(r.credit_BCK is not None) for r in tape],
            "begins": [state.begins.get(t, none_B) for t in range(len(tape))],
        }
        return {"tape": {name: torch.stack(x) if x else empty[name] for name, x in steps.items()}}

    def load_state_dict(
        self, state: BPTTState, saved: dict[str, Any], weights_MKJ: Tensor
    ) -> BPTTState:
        """Returns a state with the saved tape, unstacked into one record per step."""
        tape: dict[str, Tensor] = saved["tape"]
        src, dsda, dsds, credit = (
            tape[name].to(state.empty["src"], copy=True)
            for name in ("src", "dsda", "dsds", "credit")
        )
        layers = tuple(state.layout.places)
        records = [
            Record(src[t], dsda[t], dsds[t], weights_MKJ, layers, credit[t] if has_credit else None)
            for t, has_credit in enumerate(tape["has_credit"].tolist())
        ]
        begins = tape["begins"].to(src.device, copy=True)
        begun = {t: begins[t] for t in begins.any(1).nonzero().flatten().tolist()}
        return BPTTState(state.layout, state.empty, records, begun)

    def in_numbers(self, size: int) -> "BPTT":
        """Returns the rule with a budget in bytes counted in numbers of a lane."""
        budget = _read(self.memory)
        if budget is None or budget <= 1:
            return self
        numbers = f"{max(2, int(budget) // size)}B"
        return BPTT(numbers, self.policy, self.truncate)

    def cost(self, core: RecurrentCore, horizon: int) -> Cost:
        """Counts the forward steps, λ ∂s'/∂a, λ I, λ D and λ E, and takes the mean over a window.

        The window has `horizon` steps, each with a target. Its first step needs no λ D, nor does a
        step before which λ is cut.
        """
        n, window = Counts.of(core), max(horizon, 1)
        hidden, internal = stored_numbers(core)
        forwards, kept, touched, order = window, window * internal, 2 * window * internal, "T k + p"
        if self.replays:
            schedule = self.schedule(window, hidden, internal)
            plan, forwards = schedule.plan(window), schedule.forwards(window)
            kept = peak(plan, hidden, internal)
            moved = {HOLD: hidden, RESTORE: hidden, TAPE: internal, BACK: internal}
            touched = sum(size * int((plan == what).sum()) for what, size in moved.items())
            bounded = _read(self.memory) or 0
            order = f"{float(bounded):g} T k + p" if bounded <= 1 else "memory + p"
        macs = forwards * n.weights + window * n.links + _backward_macs(core, window, self.truncate)
        return Cost(
            round(macs / window),
            kept,
            round(touched / window),
            order,
            "k² + p",
            forwards=forwards / window,
        )

    def storage(self, sizes: Sizes, backend: ModuleType | None) -> Storage:
        """Counts the tape of a window, or what a bounded memory and its plan take.

        In C++ the tape grows by copying itself; if a batch comes in pieces, to up to one and a
        half times the size needed. In PyTorch the backward pass stacks sources and slot credits.
        """
        n, w = sizes, sizes.itemsize
        per_slot = n.slots * n.units
        lanes = n.padded if backend is None else n.lanes
        scratch = (4 * per_slot + 2 * n.states) * lanes * w + n.parameters * w
        if self.replays:
            number = lanes * w
            schedule = self.schedule(n.window, n.states * number, n.record * number)
            kept = schedule.budget
            # The dense gradient, the cursor, λ, and a step that is reversed.
            scratch += n.dense * w + n.record * number
            table = n.window * FINEST * kept // schedule.hidden if self.policy == "mixed" else 0
            setup = min(CELLS, table) * CELL_BYTES
            plan = PLAN_BYTES * n.window
            # With the cursor, λ, the gradient, and the plan as int64.
            saved = kept + 2 * schedule.hidden + n.parameters * w + 2 * plan
            return Storage(kept, scratch, index=plan, setup=setup, saved=saved)
        if backend is None:
            tape = n.window * n.padded * (n.record * w + 1)
            return Storage(tape, scratch, backward=tape * 3 // 2 * (n.window > 1), saved=tape)
        tape = n.window * n.lanes * n.record * w
        stacked = n.window * n.lanes * (n.sources + 2 * per_slot) * w
        errors = n.window * n.lanes * n.outputs * w
        return Storage(tape, errors, backward=stacked + 2 * n.dense * w, saved=tape)


def bounded(rule: LearningRule[Any]) -> BPTT | None:
    """Returns the rule if it is BPTT with a bounded memory, for which an engine replays steps."""
    return rule if isinstance(rule, BPTT) and rule.replays else None


def stored_numbers(core: RecurrentCore) -> tuple[int, int]:
    """Returns how many numbers a lane has in a hidden state, and in an internal state.

    An internal state holds a state instead of the credit of a step of the tape.
    """
    return core.states, sum(math.prod(shape) for shape in taped(core).values())


PLAN_BYTES = 32  # of the instructions of a step, int32, rounded up
CELL_BYTES = 14  # of an entry of the schedule's table, while it grows; measured
UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNITS |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def _read(memory: float | str | None) -> Fraction | None:
    """Returns a fraction of the full tape, up to 1, or the number of bytes, from 2 on."""
    if memory is None:
        return None
    if isinstance(memory, str):
        found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?) ?([kKMGT]?i?B)", memory)
        if found and found[2] in UNITS and (size := Fraction(found[1]) * UNITS[found[2]]) > 1:
            return size
    elif not isinstance(memory, bool) and 0 < memory <= 1:
        return Fraction(str(memory))  # 0.3 is 3/10
    accepted = "a fraction of the full tape in (0, 1], bytes such as 64MB, or null"
    plain = not isinstance(memory, bool | str) and memory > 1
    remedy = f"{memory:g} bytes are written {memory:g}B." if plain else ""
    checks.refuse("rule.memory", memory, accepted, remedy)


def taped(core: RecurrentCore) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the numbers that the tape holds of a step and lane, by saved name."""
    slots, units, sources = core.layout.live_MKJ.shape
    components = core.cell.components
    return {
        "src": (sources,),
        "dsda": (components, slots, units),
        "dsds": (components, components, units),
        "credit": (components, units),
    }


def _backward_macs(core: RecurrentCore, steps: int, truncate: int | None) -> int:
    """Returns the multiply-adds of equation (6) over a window, skipping structural zeros of λ.

    δ meets few components, so λ reaches the others only in earlier steps. Blocks between two cuts
    cost what windows of their own cost.
    """
    if truncate is None:
        return _uncut_macs(core, steps)
    first = min(truncate - 1, steps)
    whole, last = divmod(steps - first, truncate)
    blocks = ((first, 1), (truncate, whole), (last, 1))
    return sum(count * _uncut_macs(core, size) for size, count in blocks)


def _uncut_macs(core: RecurrentCore, steps: int) -> int:
    """Returns the multiply-adds of equation (6) over steps without a cut."""
    live_MKJ = core.layout.live_MKJ.cpu()
    credited_CK = core.credited(passed=True)
    return sum(
        _layer_macs(core, live_MKJ[:, layer.units], credited_CK[:, layer.units].any(1), steps)
        for layer in core.layers
    )


def _layer_macs(core: RecurrentCore, live_MKJ: Tensor, credited_C: Tensor, steps: int) -> int:
    """Returns those of a layer, of whose components credit meets the `credited_C` at a step."""
    slope_CM = torch.tensor(core.cell.slope_pattern)
    state_CC = torch.tensor(core.cell.state_pattern)
    units = live_MKJ.shape[1]
    parameters_M = live_MKJ.flatten(1).sum(1)
    recurrent_M = live_MKJ[:, :, : core.units].flatten(1).sum(1)
    macs, lambda_C = 0, credited_C
    for left in range(steps - 1, -1, -1):
        slot_M = slope_CM[lambda_C].any(0)
        gradient = units * int(slope_CM[lambda_C].sum()) + int(parameters_M[slot_M].sum())
        blocks_CC = state_CC[lambda_C]
        back = units * int(blocks_CC.sum()) + int(recurrent_M[slot_M].sum())
        before_C = blocks_CC.any(0) | credited_C  # δ of the earlier step
        before_C[0] |= bool(recurrent_M[slot_M].any())
        if before_C.equal(lambda_C):  # and so in all earlier steps
            return macs + (left + 1) * gradient + left * back
        macs += gradient + (back if left else 0)
        lambda_C = before_C
    return macs
