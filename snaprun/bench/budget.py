"""Times BPTT within budgets of memory beside the full tape, equal segments, and `torch.nn`."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from typing import get_args

import numpy as np
import pandas as pd

from snaprun.bench.available import Engine
from snaprun.bench.contenders import Setting, TorchNN, of_rule
from snaprun.bench.interleave import Contender, ratio
from snaprun.bench.segments import in_segments
from snaprun.bench.session import Session
from snaprun.bench.sizes import Window
from snaprun.bench.step import AUTOGRAD
from snaprun.engine.base import SEQUENCE
from snaprun.figures.words import CHECKPOINT, FULL_TAPE, SEGMENTS, THEORY
from snaprun.rules import BPTT, schedule
from snaprun.rules.schedule import Schedule, full, least

POLICIES = get_args(schedule.POLICIES)
POINTS = 20  # of a line of theory


@dataclass(frozen=True)
class Entry:
    """A contender with the bytes that it keeps and its forward steps for each step."""

    contender: Contender
    policy: str
    memory: float | None  # the budget, as a fraction of the full tape
    kept: int
    forwards: float

    @property
    def told(self) -> str:
        """The policy and the budget in words."""
        if self.memory is None:
            return self.policy
        return f"{self.policy}, {100 * self.memory:g} % of it"


def measure(session: Session) -> pd.DataFrame:
    """Time windows of many steps; a row per engine, policy and budget, and ratios.

    Each engine's contenders take turns, and each is compared with that engine's full tape. `theory`
    is the time over the full tape's if a step back takes as long as two forward steps,
    (forwards + 2) / 3; rows of the engine `theory` hold nothing else.
    """
    rows: list[dict[str, object]] = []
    for size in session.sizes.windows:
        setting = session.setting(size.net, size.lanes, size.steps)
        state_bytes = (0, 0)
        for engine in session.engines:
            session.say(f"budget {size.net.name}, {size.steps} steps, engine={engine.name}")
            entries, state_bytes = _entries(engine, setting, size)
            rows += _group(session, size, engine.name, entries)
        session.say(f"budget {size.net.name}, {size.steps} steps, {AUTOGRAD}")
        rows += _group(session, size, AUTOGRAD, _torch_nn(setting, size))
        rows += _theory(size, state_bytes)
    return pd.DataFrame(rows)


def _entries(engine: Engine, setting: Setting, size: Window) -> tuple[list[Entry], tuple[int, int]]:
    """Return the full tape, each policy within each budget that is enough, and equal segments.

    Beside them are the bytes of a hidden and of an internal state.
    """
    rules: list[tuple[BPTT, str, float | None]] = [(BPTT(), FULL_TAPE, None)]
    for policy in POLICIES:
        rules += [(BPTT(memory, policy), policy, memory) for memory in size.budgets]
    rules.append((in_segments(_segment(size.steps)), SEGMENTS, None))
    entries, state_bytes = list[Entry](), (0, 0)
    for rule, policy, memory in rules:
        found = of_rule(engine, setting, rule, SEQUENCE, f"{policy} {memory}")
        if found is None:
            continue
        contender, started = found
        state_bytes = started.state_bytes
        if memory is None or rule.budget(size.steps, *state_bytes) >= least(*state_bytes):
            contender.work(1)
            forwards = (started.forwards or size.steps) / size.steps
            entries.append(Entry(contender, policy, memory, started.rule_bytes, forwards))
    return entries, state_bytes


def _torch_nn(setting: Setting, size: Window) -> list[Entry]:
    entries = []
    for policy, segment, forwards in (
        (FULL_TAPE, None, 1.0),
        (CHECKPOINT, _segment(size.steps), 2.0),
    ):
        network = TorchNN(setting, size.steps, segment)
        contender = Contender(policy, network.work, size.steps)
        entries.append(Entry(contender, policy, None, network.taped_bytes(), forwards))
    return entries


def _segment(steps: int) -> int:
    return isqrt(steps - 1) + 1  # √T, rounded up


def _group(
    session: Session, size: Window, engine: str, entries: Sequence[Entry]
) -> list[dict[str, object]]:
    """Time contenders, of which the first keeps the full tape; return a row for each."""
    times = session.time([entry.contender for entry in entries])
    full_tape = entries[0]
    whole, rows = times[full_tape.contender.name], []
    for entry in entries:
        one = times[entry.contender.name]
        if entry is not full_tape:
            what = f"BPTT, T={size.steps}: {entry.told} / {FULL_TAPE}"
            session.compare(what, size.net, size.lanes, engine, one, whole)
        spread = zip(("ratio", "ratio_low", "ratio_high"), ratio(one, whole), strict=True)
        rows.append(
            {
                **size.net.columns(size.lanes),
                "steps": size.steps,
                "engine": engine,
                "policy": entry.policy,
                "memory": entry.memory,
                "bytes": entry.kept,
                "fraction": entry.kept / full_tape.kept,
                "forwards": entry.forwards,
                "theory": _time(entry.forwards),
                **dict(spread),
                **one.columns("us", 1e6),
                "rounds": len(one.seconds),
            }
        )
    return rows


def _theory(size: Window, state_bytes: tuple[int, int]) -> list[dict[str, object]]:
    """Return points of the lines of theory, from under the smallest budget to the full tape."""
    whole, rows = full(size.steps, *state_bytes), []
    for fraction in np.geomspace(min(size.budgets) / 1.2, 1, POINTS).tolist():
        budget = int(fraction * whole)
        for policy in POLICIES if budget >= least(*state_bytes) else ():
            forwards = Schedule(*state_bytes, budget, policy).forwards(size.steps) / size.steps
            rows.append(
                {
                    **size.net.columns(size.lanes),
                    "steps": size.steps,
                    "engine": THEORY,
                    "policy": policy,
                    "bytes": budget,
                    "fraction": fraction,
                    "forwards": forwards,
                    "theory": _time(forwards),
                }
            )
    return rows


def _time(forwards: float) -> float:
    return (forwards + 2) / 3
