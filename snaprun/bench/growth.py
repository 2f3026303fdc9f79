"""Measures how step time and memory grow with n, and with units at equal live parameters."""

from collections.abc import Callable, Sequence

import pandas as pd

from snaprun.bench.available import Engine
from snaprun.bench.contenders import Setting, ours
from snaprun.bench.interleave import Contender, interleave
from snaprun.bench.memory import state_bytes
from snaprun.bench.problem import Net
from snaprun.bench.sizes import Growth, Sizes


def measure(
    sizes: Sizes,
    engines: Sequence[Engine],
    seed: int,
    say: Callable[[str], None],
    between: Callable[[], object],
) -> pd.DataFrame:
    """Measure step time and bytes of rule state; a row per axis, network, rule and engine."""
    rows: list[dict[str, object]] = []
    for growth in sizes.growth:
        for net in growth.nets:
            say(f"growth with {growth.axis}: {net.name}")
            rows += _network(growth, net, sizes, engines, seed, between)
    return pd.DataFrame(rows)


def _network(
    growth: Growth,
    net: Net,
    sizes: Sizes,
    engines: Sequence[Engine],
    seed: int,
    between: Callable[[], object],
) -> list[dict[str, object]]:
    setting = Setting.make(net, growth.lanes, engines, seed, sizes.updates)
    contenders: list[Contender] = []
    started = {}
    for rule in growth.rules:
        for engine in engines:
            made = ours(engine, setting, rule)
            if made is not None:
                contenders.append(made[0])
                started[made[0].name] = made[1]
    times = interleave(contenders, sizes.budget, between=between)
    rows = []
    for name, engine in started.items():
        rule, engine_name = name.split(" ")
        measured, analytic = state_bytes(engine, rule, growth.lanes)
        rows.append(
            {
                "axis": growth.axis,
                "network": net.name,
                "units": net.units,
                "sparsity": net.level,
                "parameters": engine.network.core.layout.size,
                "lanes": growth.lanes,
                "rule": rule.partition("/")[0],
                "engine": engine_name,
                **times[name].columns("us", 1e6),
                "state_bytes": measured,
                "state_bytes_analytic": analytic,
            }
        )
    return rows
