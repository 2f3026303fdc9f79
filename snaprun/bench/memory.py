"""Measures and counts the bytes of rule state, which is kept from step to step."""

from typing import Any

import pandas as pd

from snaprun.bench.contenders import Setting, started
from snaprun.bench.problem import STEPS, rule_of
from snaprun.bench.session import Session

FEW_STEPS = 2  # enough for a rule with a state that does not grow with time


def measure(session: Session) -> pd.DataFrame:
    """Measure the bytes after a window, and count them; a row per network, rule and engine."""
    rows = []
    for size in session.sizes.memory:
        net, lanes = size.net, size.lanes
        session.say(f"memory {net.name}, {net.task}, {lanes} lanes")
        setting = Setting.make(net, lanes, session.engines, session.seed, updates=0)
        for contender, engine in started(setting, size.rules, session.engines):
            rule, name = contender.name.split(" ")
            contender.work(1 if "/" in rule else FEW_STEPS)
            row = {**net.columns(lanes), "rule": rule.partition("/")[0], "engine": name}
            found = state_bytes(engine, rule, lanes)
            measured, analytic = found.values()
            rows.append({**row, **found, "ratio": measured / analytic if analytic else None})
    return pd.DataFrame(rows)


def state_bytes(engine: Any, rule: str, lanes: int) -> dict[str, int]:
    """Return the most bytes that the engine kept for `rule`, and the bytes that `cost` counts."""
    network = engine.network
    counted = rule_of(rule.partition("/")[0]).cost(network.core, STEPS)
    analytic = counted.state * lanes * network.dtype.itemsize
    return {"state_bytes": engine.rule_bytes, "state_bytes_analytic": analytic}
