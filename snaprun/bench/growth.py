"""Measures how step time and memory grow with n, and with units at equal live parameters."""

import pandas as pd

from snaprun.bench.contenders import started
from snaprun.bench.memory import state_bytes
from snaprun.bench.session import Session


def measure(session: Session) -> pd.DataFrame:
    """Measure step time and bytes of rule state; a row per axis, network, rule and engine."""
    rows = []
    for growth in session.sizes.growth:
        for net in growth.nets:
            session.say(f"growth with {growth.axis}: {net.name}")
            setting = session.setting(net, growth.lanes)
            made = list(started(setting, growth.rules, session.engines))
            times = session.time([contender for contender, _ in made])
            for contender, engine in made:
                rule, name = contender.name.split(" ")
                rows.append(
                    {
                        "axis": growth.axis,
                        "network": net.name,
                        "units": net.units,
                        "sparsity": net.level,
                        "parameters": engine.network.core.layout.size,
                        "lanes": growth.lanes,
                        "rule": rule.partition("/")[0],
                        "engine": name,
                        **times[contender.name].columns("us", 1e6),
                        **state_bytes(engine, rule, growth.lanes),
                    }
                )
    return pd.DataFrame(rows)
