"""Times whole training steps: forward, loss, credit, rule, and update by Adam."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import pandas as pd

from snaprun.bench.available import NATIVE, Engine
from snaprun.bench.contenders import Setting, autograd, ours
from snaprun.bench.interleave import Contender, Times, interleave, ratio
from snaprun.bench.problem import STEPS
from snaprun.bench.ratios import Ratio
from snaprun.bench.sizes import Sizes, Step
from snaprun.figures.words import SNAP1_OVER_BPTT

AUTOGRAD = "torch.nn"


class Measured(NamedTuple):
    """A table with a row per network, task, rule and engine, and the ratios."""

    table: pd.DataFrame
    ratios: list[Ratio]


def measure(
    sizes: Sizes,
    engines: Sequence[Engine],
    seed: int,
    say: Callable[[str], None],
    between: Callable[[], object],
) -> Measured:
    """Time all groups of whole steps."""
    rows: list[dict[str, object]] = []
    ratios: list[Ratio] = []
    for size in sizes.step:
        say(f"step {size.net.name}, {size.net.task}, {size.lanes} lanes")
        setting = Setting.make(size.net, size.lanes, engines, seed, sizes.updates)
        contenders = started(setting, size.rules, engines)
        if size.autograd:
            contenders += [autograd(setting, steps) for steps in (1, STEPS)]
        times = interleave(contenders, sizes.budget, between=between)
        rows += [row(size, name, one) for name, one in times.items()]
        ratios += _ratios(size, engines, times)
    return Measured(pd.DataFrame(rows), ratios)


def started(setting: Setting, rules: Sequence[str], engines: Sequence[Engine]) -> list[Contender]:
    """Return a contender for each rule and each engine that can run it."""
    made = [ours(engine, setting, rule) for rule in rules for engine in engines]
    return [one[0] for one in made if one is not None]


def row(size: Step, name: str, times: Times) -> dict[str, object]:
    """Return the table row of the contender `rule/steps engine`."""
    rule, engine = name.split(" ")
    family, _, every = rule.partition("/")
    return {
        "network": size.net.name,
        "task": size.net.task,
        "inputs": size.net.inputs,
        "lanes": size.lanes,
        "rule": family,
        "update_every": int(every) if every else 1,
        "engine": engine,
        **times.columns("us", 1e6),
        "rounds": len(times.seconds),
    }


def compared(
    size: Step, times: dict[str, Times], pairs: Sequence[tuple[str, str, str]]
) -> list[Ratio]:
    """Return the ratios of the pairs (wording, above, below) for which both have times."""
    return [
        Ratio(what, size.net, size.lanes, below.split(" ")[1], ratio(times[above], times[below]))
        for what, above, below in pairs
        if above in times and below in times
    ]


def _ratios(size: Step, engines: Sequence[Engine], times: dict[str, Times]) -> list[Ratio]:
    nn = {"gru": "GRU", "lstm": "LSTM", "vanilla": "RNN"}[size.net.cell]
    pairs = []
    for engine in engines:
        snap1, bptt = f"snap1/{STEPS} {engine.name}", f"bptt/{STEPS} {engine.name}"
        pairs += [
            (f"nn.{nn} T=1 / SnAp-1", f"autograd/1 {AUTOGRAD}", f"snap1 {engine.name}"),
            (f"nn.{nn} T={STEPS} / BPTT", f"autograd/{STEPS} {AUTOGRAD}", bptt),
            (SNAP1_OVER_BPTT, snap1, bptt),
        ]
    pairs += [
        (f"torch engine / native, {rule}", f"{rule} torch", f"{rule} {NATIVE}")
        for rule in size.rules
    ]
    return compared(size, times, pairs)
