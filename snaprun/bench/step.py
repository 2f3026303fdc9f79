"""Times whole training steps: forward, loss, credit, rule, and update by Adam."""

from collections.abc import Mapping, Sequence

import pandas as pd

from snaprun.bench.available import NATIVE
from snaprun.bench.contenders import MODULES, autograd, started
from snaprun.bench.interleave import Contender, Times
from snaprun.bench.problem import STEPS
from snaprun.bench.session import Session
from snaprun.bench.sizes import Step
from snaprun.figures.words import SNAP1_OVER_BPTT

AUTOGRAD = "torch.nn"


def measure(session: Session) -> pd.DataFrame:
    """Time all groups of whole steps; a row per network, task, rule and engine, and ratios."""
    rows: list[dict[str, object]] = []
    for size in session.sizes.step:
        session.say(f"step {size.net.name}, {size.net.task}, {size.lanes} lanes")
        setting = session.setting(size.net, size.lanes)
        contenders = [made for made, _ in started(setting, size.rules, session.engines)]
        if size.autograd:
            contenders += [autograd(setting, steps) for steps in (1, STEPS)]
        rows += group(session, size, contenders, _pairs(session, size))
    return pd.DataFrame(rows)


def group(
    session: Session,
    size: Step,
    contenders: Sequence[Contender],
    pairs: Sequence[tuple[str, str, str]],
) -> list[dict[str, object]]:
    """Time the contenders `rule/steps engine`; return a row for each, as `tabulated` does."""
    return tabulated(session, size, session.time(contenders), pairs)


def tabulated(
    session: Session,
    size: Step,
    times: Mapping[str, Times],
    pairs: Sequence[tuple[str, str, str]],
) -> list[dict[str, object]]:
    """Return a row for each of the `rule/steps engine`.

    Adds the ratios of the pairs (wording, above, below) for which both have times.
    """
    rows = []
    for name, one in times.items():
        rule, engine = name.split(" ")
        family, _, every = rule.partition("/")
        rows.append(
            {
                **size.net.columns(size.lanes),
                "rule": family,
                "update_every": int(every) if every else 1,
                "engine": engine,
                **one.columns("us", 1e6),
                "rounds": len(one.seconds),
            }
        )
    for what, above, below in pairs:
        if above in times and below in times:
            engine = below.split(" ")[1]
            session.compare(what, size.net, size.lanes, engine, times[above], times[below])
    return rows


def _pairs(session: Session, size: Step) -> list[tuple[str, str, str]]:
    pairs = []
    for engine in session.engines:
        snap1, bptt = f"snap1/{STEPS} {engine.name}", f"bptt/{STEPS} {engine.name}"
        if size.autograd:
            nn = MODULES[size.net.cell].__name__
            pairs += [
                (f"nn.{nn} T=1 / SnAp-1", f"autograd/1 {AUTOGRAD}", f"snap1 {engine.name}"),
                (f"nn.{nn} T={STEPS} / BPTT", f"autograd/{STEPS} {AUTOGRAD}", bptt),
            ]
        pairs.append((SNAP1_OVER_BPTT, snap1, bptt))
    return pairs + [
        (f"torch engine / native, {rule}", f"{rule} torch", f"{rule} {NATIVE}")
        for rule in size.rules
    ]
