"""Bytes of rule state: what is kept from step to step, measured and counted."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from snaprun.bench.available import Engine
from snaprun.bench.contenders import ours
from snaprun.bench.problem import RULES, STEPS, copy_batch, part
from snaprun.bench.sizes import Sizes

FEW_STEPS = 2  # of rules whose state does not grow with time
KEPT = ("frozen", "bptt/128", "rflo", "uoro", "snap1", "snap2", "snap3")


def measure(
    sizes: Sizes, engines: Sequence[Engine], seed: int, say: Callable[[str], None]
) -> pd.DataFrame:
    """A row a network, rule and engine: bytes after a window, and as the masks count them."""
    rows = []
    for net, lanes in sizes.memory:
        say(f"memory {net.name}, {lanes} lanes")
        whole = copy_batch(lanes, seed)
        for rule in KEPT:
            for engine in engines:
                batch = whole if "/" in rule else part(whole, FEW_STEPS)
                made = ours(engine, net.build(seed), rule, batch, seed)
                if made is None:
                    continue
                made[1].run(batch)
                measured, analytic = state_bytes(made[1], rule, lanes)
                rows.append(
                    {
                        "network": net.name,
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
    """Bytes that the engine has kept for `rule` at most, and those that its cost counts."""
    network = engine.network
    counted = RULES[rule.partition("/")[0]]().cost(network.core, STEPS)
    return engine.rule_bytes, counted.state * lanes * network.dtype.itemsize
