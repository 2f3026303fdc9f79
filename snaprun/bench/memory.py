"""Measures and counts the bytes of rule state, which is kept from step to step."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from snaprun.bench.available import Engine
from snaprun.bench.contenders import Setting, ours
from snaprun.bench.problem import STEPS, rule_of
from snaprun.bench.sizes import Sizes

FEW_STEPS = 2  # enough for a rule with a state that does not grow with time


def measure(
    sizes: Sizes, engines: Sequence[Engine], seed: int, say: Callable[[str], None]
) -> pd.DataFrame:
    """Measure the bytes after a window, and count them; a row per network, rule and engine."""
    rows = []
    for size in sizes.memory:
        net, lanes = size.net, size.lanes
        say(f"memory {net.name}, {net.task}, {lanes} lanes")
        setting = Setting.make(net, lanes, engines, seed, updates=0)
        for rule in size.rules:
            for engine in engines:
                made = ours(engine, setting, rule)
                if made is None:
                    continue
                contender, started = made
                contender.work(1 if "/" in rule else FEW_STEPS)
                measured, analytic = state_bytes(started, rule, lanes)
                rows.append(
                    {
                        "network": net.name,
                        "task": net.task,
                        "inputs": net.inputs,
                        "lanes": lanes,
                        "rule": rule.partition("/")[0],
                        "engine": engine.name,
                        "state_bytes": measured,
                        "state_bytes_analytic": analytic,
                        "ratio": measured / analytic if analytic else None,
                    }
                )
    return pd.DataFrame(rows)


def state_bytes(engine: Any, rule: str, lanes: int) -> tuple[int, int]:
    """Return the most bytes that the engine kept for `rule`, and the bytes that `cost` counts."""
    network = engine.network
    counted = rule_of(rule.partition("/")[0]).cost(network.core, STEPS)
    return engine.rule_bytes, counted.state * lanes * network.dtype.itemsize
