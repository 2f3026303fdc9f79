"""Replays a window by its plan: exact BPTT that keeps some states and repeats the other steps.

Shape suffixes as in snaprun.rules.base.
"""

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from snaprun.core import Linearise, Record, RecurrentCore
from snaprun.core.jacobians import dynamics_vjp, slot_vjp
from snaprun.require import mismatch, require_count, require_equal, require_tensor
from snaprun.rules.base import Setup
from snaprun.rules.bptt import BPTT, stored_numbers, taped
from snaprun.rules.schedule import (  # with the instructions of a plan
    BACK,
    DROP,
    HOLD,
    RESTORE,
    TAPE,
    Plan,
    Schedule,
    full,
    peak,
    stack_bytes,
)
from snaprun.rules.walk import Place, place

MOST_STEPS = 2**31 - 1  # of a window, as in train.update_every
INTERNAL = ("src", "dsda", "dsds", "state")


class Forward(Protocol):
    """The forward pass of a window, whose steps can be repeated: its weights do not change."""

    def begins(self, t: int) -> Tensor | None:
        """Returns the lanes (B,) in which a sequence begins before step t; None: in no lane."""
        ...

    def step(self, t: int, state_BCK: Tensor) -> tuple[Tensor, Linearise]:
        """Returns step t from the state before it, in which these lanes are zeroed first."""
        ...

    def credit(self, t: int, state_BCK: Tensor) -> Tensor | None:
        """Returns δ_t, (B, k) by what the readout sees, from the state after step t.

        It is None if the step has no target. Each step is asked once, the last one first.
        """
        ...


@dataclass(frozen=True)
class Held:
    """A state on the stack: a hidden one, or an internal one, which has a record."""

    steps: int  # of the window, done when it was pushed
    state_BCK: Tensor
    record: Record | None = None


class Replay:
    """Interprets the plan of a window, which may be interrupted after every step of it.

    A window begins with `begin`; `follow` takes each step of the first pass; `reverse` then makes
    the reverse pass, in which the gradient is summed as it comes, and `finish` returns it:

        λ_t = δ_t + λ_(t+1) D_(t+1),    g = Σ_t λ_t I_t                                  (6)

    >>> from snaprun.cells import GRU
    >>> from snaprun.sparsity import Dense
    >>> from snaprun.verify.problem import Problem
    >>> sizes = {"units": 5, "inputs": 3, "outputs": 2, "lanes": 2, "steps": 9, "seed": 0}
    >>> problem = Problem.draw(GRU(), Dense(), **sizes)
    >>> replay = Replay(BPTT(memory=0.4), problem.setup(torch.Generator()))
    >>> state_BCK = problem.core.initial_state(2, torch.float64)
    >>> replay.begin(problem.steps, state_BCK)
    >>> for t in range(problem.steps):
    ...     state_BCK, linearise = problem.step(t, state_BCK)
    ...     replay.follow(state_BCK, linearise)
    >>> replay.reverse(problem)  # replayed and reversed steps
    15
    >>> replay.forwards, replay.finish().shape == (problem.core.layout.size,)
    (15, True)
    """

    def __init__(self, rule: BPTT, setup: Setup):
        core = setup.core
        self._rule, self._core, self._lanes, self._dtype = rule, core, setup.lanes, setup.dtype
        zero_BCK = core.initial_state(setup.lanes, setup.dtype)
        self._zero_BCK, number = zero_BCK, setup.lanes * zero_BCK.element_size()
        self.hidden, self.internal = (number * n for n in stored_numbers(core))
        self._dense = zero_BCK.new_zeros(core.layout.live_MKJ.shape).flatten(0, 1)
        self.forwards = 0  # steps done, replayed ones included
        self.peak = 0  # most bytes on the stack so far
        self._clear()

    def _clear(self) -> None:
        self.steps = self.passed = self.at = self.part = self._cursor = self._bytes = 0
        self.plan: Plan | None = None
        self.stack: list[Held] = []
        self.cursor_BCK = self.credit_BCK = self._zero_BCK
        self.cost_K: Tensor | None = None  # a further credit on h at every step of the window
        self._dense.zero_()

    @property
    def open(self) -> bool:
        """Whether a window is open."""
        return self.plan is not None

    @property
    def reverses(self) -> bool:
        """Whether the first pass of the open window is over."""
        return self.open and self.passed == self.steps

    def schedule(self, steps: int) -> Schedule:
        """Returns the schedule of a window of `steps` steps."""
        return self._rule.schedule(steps, self.hidden, self.internal)

    def begin(self, steps: int, state_BCK: Tensor) -> None:
        """Begins a window of `steps` steps with the state before its first step."""
        self.plan, self.steps = self.schedule(steps).plan(steps), steps
        self._hold(state_BCK)

    def follow(self, state_BCK: Tensor, linearise: Linearise) -> None:
        """Takes a step of the first pass, which led to `state_BCK`."""
        self.passed += 1
        self._take(self.passed, state_BCK, linearise)
        self._hold(state_BCK)

    def close(self) -> None:
        """Ends the first pass here."""
        assert self.plan is not None
        if self.passed < self.steps:
            kept = [(held.steps, held.record is not None) for held in self.stack]
            schedule = self.schedule(self.steps).holding(self.plan)
            self.plan = schedule.closing(kept, self.passed)
            self.at, self.part, self.steps = 0, 0, self.passed
            self._idle()

    def reverse(self, forward: Forward, most: int | None = None) -> int:
        """Does up to `most` steps of the reverse pass, replayed and reversed ones; None: all.

        Returns how many were done. The window is to be finished when `over`.
        """
        done = 0
        while not self.over and done != most:
            if self._plan[self.at] == BACK:
                self._back(forward)
                self.at += 1
            else:
                t = self._cursor
                state_BCK, linearise = forward.step(t, self.cursor_BCK)
                self.cursor_BCK, self._cursor = state_BCK, t + 1
                self._take(t + 1, state_BCK, linearise)
            done += 1
            self._idle()
        return done

    @property
    def over(self) -> bool:
        """Whether the reverse pass is over."""
        return self.plan is not None and self.at == len(self.plan)

    def finish(self) -> Tensor:
        """Returns the gradient (P,) summed so far, and ends the window."""
        gradient_P = self._gradient()
        self._clear()
        return gradient_P

    @property
    def _plan(self) -> Plan:
        assert self.plan is not None
        return self.plan

    def _gradient(self) -> Tensor:
        layout = self._core.layout
        return layout.gather(self._dense.view(layout.live_MKJ.shape))

    def _take(self, steps: int, state_BCK: Tensor, linearise: Linearise) -> None:
        """Count a forward step of the plan, and keep its internal state if the plan says so."""
        self.forwards += 1
        if self._plan[self.at] == TAPE:
            record = linearise()
            names = ("src_BJ", "dsda_BCMK", "dsds_BCCK")
            record = replace(record, **{name: _own(getattr(record, name)) for name in names})
            self._push(Held(steps, state_BCK, record))
            self.at += 1
            return
        self.part += 1
        if self.part == self._plan[self.at]:
            self.at, self.part = self.at + 1, 0

    def _hold(self, state_BCK: Tensor) -> None:
        """Keep the state of the first pass wherever the plan says so."""
        while self._plan[self.at] == HOLD:
            self._push(Held(self.passed, state_BCK))
            self.at += 1

    def _push(self, held: Held) -> None:
        self.stack.append(held)
        self._bytes += self.hidden if held.record is None else self.internal
        self.peak = max(self.peak, self._bytes)

    def _idle(self) -> None:
        """Follow the instructions up to the next step, in the reverse pass."""
        while not self.over and (n := self._plan[self.at]) in (HOLD, RESTORE, DROP):
            if n == HOLD:
                self._push(Held(self._cursor, self.cursor_BCK))
            elif n == RESTORE:
                self.cursor_BCK, self._cursor = self.stack[-1].state_BCK, self.stack[-1].steps
            else:
                self.stack.pop()
                self._bytes -= self.hidden
            self.at += 1

    def _back(self, forward: Forward) -> None:
        """Reverse the step on top of the stack."""
        held = self.stack.pop()
        self._bytes -= self.internal
        t, record, credit_BCK = held.steps - 1, held.record, self.credit_BCK
        assert record is not None
        if (credit_BK := forward.credit(t, held.state_BCK)) is not None:
            credit_BCK = credit_BCK.clone()
            credit_BCK[:, record.read, record.layers[-1].units] += credit_BK
        if self.cost_K is not None:
            credit_BCK = credit_BCK.clone()
            credit_BCK[:, 0] += self.cost_K
        slot_BX = slot_vjp(record, credit_BCK).flatten(1)
        self._dense.addmm_(slot_BX.T, record.src_BJ)
        if t == 0 or self._rule.cuts(t):
            self.credit_BCK = self._zero_BCK
            return
        self.credit_BCK = dynamics_vjp(record, credit_BCK)
        if (begins_B := forward.begins(t)) is not None:
            self.credit_BCK = self.credit_BCK.masked_fill(begins_B[:, None, None], 0)

    def state_dict(self) -> dict[str, Any]:
        """Returns a copy of the state, in the form that every engine saves.

        `steps_planned` is T (0: no window is open), `plan` the instructions (n,), because another
        engine or version may plan otherwise, `at` how many of them are done, and `part` how many
        steps of the next one. The stack's hidden states are in `hidden`, and its internal ones
        in `src`, `dsda`, `dsds` and `state`, each (n, B, …) and bottom first. `cursor` is the state
        from which the reverse pass replays, `credit` λ, and `gradient` (P,) what is summed, without
        the last few reversed steps, of which `pending_src` (n, B, J) and `pending_credit`
        (n, B, m, k), λ ∂s'/∂a, are the factors: the C++ engine adds some steps at once.
        """
        hidden = [held.state_BCK for held in self.stack if held.record is None]
        internal = [(held.state_BCK, held.record) for held in self.stack if held.record is not None]
        shapes = stacked(self._core, self._lanes)
        stacks: dict[str, list[Tensor]] = {
            "hidden": hidden,
            "src": [record.src_BJ for _, record in internal],
            "dsda": [record.dsda_BCMK for _, record in internal],
            "dsds": [record.dsds_BCCK for _, record in internal],
            "state": [state_BCK for state_BCK, _ in internal],
        }
        return {
            "steps_planned": self.steps,
            "plan": stored(self.plan),
            "at": self.at,
            "part": self.part,
            **{
                name: torch.stack(x) if x else self._zero_BCK.new_zeros(0, *shapes[name])
                for name, x in stacks.items()
            },
            "cursor": self.cursor_BCK.clone(),
            "credit": self.credit_BCK.clone(),
            **{
                name: self._zero_BCK.new_zeros(0, *shape)
                for name, shape in pending(self._core, self._lanes).items()
            },
            "gradient": self._gradient(),
            "forwards": self.forwards,
        }

    def load_state_dict(self, saved: dict[str, Any], weights_MKJ: Tensor) -> None:
        """Continues from `saved`, a `state_dict` that `require` accepts, with these weights."""
        self._clear()
        self.forwards, self.peak = saved["forwards"], 0
        if not saved["steps_planned"]:
            return
        self.steps, self.at, self.part = (saved[key] for key in ("steps_planned", "at", "part"))
        plan: Plan = saved["plan"].numpy().astype(np.int32)
        self.plan, found = plan, place(plan.tolist(), self.steps, self.at, self.part)
        self.passed, self._cursor = found.passed, found.cursor
        layers, own = self._core.layers, self._zero_BCK
        taken = {name: iter(saved[name].to(own, copy=True)) for name in stacked(self._core, 1)}
        for steps, internal in found.stack:
            if not internal:
                self.stack.append(Held(steps, next(taken["hidden"]).clone()))
                continue
            src, dsda, dsds, state = (next(taken[name]).clone() for name in INTERNAL)
            record = Record(src, dsda, dsds, weights_MKJ, layers, read=self._core.cell.read)
            self.stack.append(Held(steps, state, record))
        self._bytes = stack_bytes(found.stack, self.hidden, self.internal)
        self.peak = max(self.peak, self._bytes)
        self.cursor_BCK = saved["cursor"].to(own, copy=True)
        self.credit_BCK = saved["credit"].to(own, copy=True)
        dense_MKJ = self._core.layout.scatter(saved["gradient"].to(own))
        self._dense.copy_(dense_MKJ.flatten(0, 1))
        for src_BJ, slot_BMK in zip(
            *(saved[name].to(own) for name in ("pending_src", "pending_credit")), strict=True
        ):
            self._dense.addmm_(slot_BMK.flatten(1).T, src_BJ)


def stored(plan: Plan | None) -> Tensor:
    """Returns a plan as checkpoints hold it; no window is open if it is None."""
    return torch.tensor([] if plan is None else plan, dtype=torch.int64)


def pending(core: RecurrentCore, lanes: int) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the factors of a step that the gradient lacks, by saved name."""
    slots, units, sources = core.layout.live_MKJ.shape
    return {"pending_src": (lanes, sources), "pending_credit": (lanes, slots, units)}


def stacked(core: RecurrentCore, lanes: int) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of one state on the stack, by the name of its part in a checkpoint."""
    of_lane = taped(core)
    state = of_lane.pop("credit")
    return {
        name: (lanes, *shape)
        for name, shape in {"hidden": state, **of_lane, "state": state}.items()
    }


def require(
    saved: dict[str, Any],
    core: RecurrentCore,
    of: tuple[int, torch.dtype],
    state_bytes: tuple[int, int],
) -> None:
    """Raises ValueError unless `saved`, of the right entries, is a state on this core.

    Its window has as many steps as `saved["mask"]`. `of` is the lanes and the type of numbers, and
    `state_bytes` the bytes of a hidden and of an internal state. The plan may be one of another
    schedule, within the full tape.
    """
    where, (lanes, dtype) = "state.rule", of
    require_count(f"{where}.steps_planned", saved["steps_planned"], most=MOST_STEPS)
    require_count(f"{where}.forwards", saved["forwards"])
    steps = saved["steps_planned"]
    found, plan = Place((), 0, 0), saved["plan"]
    length = len(plan) if steps and isinstance(plan, Tensor) and plan.dim() else 0
    require_tensor(f"{where}.plan", plan, torch.int64, (length,))
    if steps:
        require_count(f"{where}.part", saved["part"], most=steps)
        found = place(plan.tolist(), steps, saved["at"], saved["part"])
        if peak(plan.numpy().astype(np.int32), *state_bytes) > full(steps, *state_bytes):
            mismatch(f"{where}.plan", "one within the full tape", "one that keeps more")
    else:
        require_equal(where, {key: saved[key] for key in ("at", "part")}, {"at": 0, "part": 0})
    if len(saved["mask"]) != found.passed:
        mismatch(f"{where}.mask", f"{found.passed} steps", f"{len(saved['mask'])}")
    internals = sum(taken for _, taken in found.stack)
    for name, shape in stacked(core, lanes).items():
        count = len(found.stack) - internals if name == "hidden" else internals
        require_tensor(f"{where}.{name}", saved[name], dtype, (count, *shape))
    for name in ("cursor", "credit"):
        require_tensor(f"{where}.{name}", saved[name], dtype, stacked(core, lanes)["state"])
    src = saved["pending_src"]
    count = len(src) if isinstance(src, Tensor) and src.dim() else 0
    for name, shape in pending(core, lanes).items():
        require_tensor(f"{where}.{name}", saved[name], dtype, (count, *shape))
    require_tensor(f"{where}.gradient", saved["gradient"], dtype, (core.layout.size,))


def _own(x: Tensor) -> Tensor:
    """Returns a tensor with the same values that keeps no other numbers in memory."""
    return x if x.untyped_storage().nbytes() == x.numel() * x.element_size() else x.clone()
