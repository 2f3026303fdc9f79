"""Whole online steps: forward, loss, credit, rule, update and Adam, per rule and engine."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import pandas as pd

from snaprun.bench.available import NATIVE, Engine
from snaprun.bench.contenders import NEVER, autograd, ours
from snaprun.bench.interleave import Budget, Contender, Spread, Times, interleave, ratio, spread
from snaprun.bench.problem import STEPS, Net, copy_batch, dense_batch
from snaprun.bench.ratios import Ratio
from snaprun.bench.sizes import Sizes, Step

AUTOGRAD = "torch.nn"
PUBLISHED_LANES = 16
# Milliseconds a step of the public sparse SnAp-n in JAX (compiled, whole step without optimiser)
# for a tanh network with 16 inputs and outputs on 16 lanes: measured on one core of the machine
# of issue 3, SnAp-1 and SnAp-2 by units and sparsity. Other machines: an order of magnitude.
PUBLISHED_MS = {
    "vanilla-128@0.9375": {"snap1": 1.9, "snap2": 18.8},
    "vanilla-128@0.75": {"snap1": 3.8, "snap2": 206.0},
    "vanilla-256@0.9375": {"snap1": 6.1, "snap2": 125.0},
    "vanilla-256@0.75": {"snap1": 14.9, "snap2": 2112.0},
}
BESIDE_JAX = "JAX SnAp-{n} / ours"  # the wording of a ratio


class Measured(NamedTuple):
    """The table, a row a network, rule and engine, and the ratios."""

    table: pd.DataFrame
    ratios: list[Ratio]


def measure(
    sizes: Sizes, engines: Sequence[Engine], seed: int, say: Callable[[str], None]
) -> Measured:
    """All groups of whole steps, then the tanh networks beside the published times."""
    rows: list[dict[str, object]] = []
    ratios: list[Ratio] = []
    for size in sizes.step:
        say(f"step {size.net.name}, {size.lanes} lanes")
        times = _group(size, sizes.budget, engines, seed)
        rows += [_row(size.net, size.lanes, name, one) for name, one in times.items()]
        ratios += _ratios(size, engines, times)
    for net in sizes.published:
        say(f"step {net.name} without optimiser")
        for name, one in _without_optimiser(net, sizes.budget, engines, seed).items():
            rows.append(_row(net, PUBLISHED_LANES, name, one, optimiser="none"))
            ratios += _beside_jax(net, name, one)
    return Measured(pd.DataFrame(rows), ratios)


def _group(size: Step, budget: Budget, engines: Sequence[Engine], seed: int) -> dict[str, Times]:
    batch = copy_batch(size.lanes, seed)
    contenders: list[Contender] = []
    for rule in size.rules:
        for engine in engines:
            made = ours(engine, size.net.build(seed), rule, batch, seed)
            contenders += [made[0]] if made is not None else []
    if size.autograd:
        contenders += [autograd(size.net, batch, steps) for steps in (1, STEPS)]
    return interleave(contenders, budget)


def _without_optimiser(
    net: Net, budget: Budget, engines: Sequence[Engine], seed: int
) -> dict[str, Times]:
    batch = dense_batch(net, PUBLISHED_LANES, seed)
    contenders: list[Contender] = []
    for rule in ("snap1", "snap2"):
        for engine in engines:
            made = ours(engine, net.build(seed), rule, batch, seed, update_every=NEVER)
            contenders += [made[0]] if made is not None else []
    return interleave(contenders, budget)


def _row(
    net: Net, lanes: int, name: str, times: Times, optimiser: str = "adam"
) -> dict[str, object]:
    rule, engine = name.split(" ")
    family, _, every = rule.partition("/")
    return {
        "network": net.name,
        "lanes": lanes,
        "rule": family,
        "update_every": (int(every) if every else 1) if optimiser != "none" else None,
        "engine": engine,
        "optimiser": optimiser,
        **times.columns("us", 1e6),
        "rounds": len(times.seconds),
    }


def _ratios(size: Step, engines: Sequence[Engine], times: dict[str, Times]) -> list[Ratio]:
    """Every pair of names that this group has, as (above, below)."""
    nn = {"gru": "GRU", "lstm": "LSTM", "vanilla": "RNN"}[size.net.cell]
    pairs = []
    for engine in engines:
        pairs += [
            (f"nn.{nn} T=1 / SnAp-1", f"autograd/1 {AUTOGRAD}", f"snap1 {engine.name}"),
            (
                f"nn.{nn} T={STEPS} / BPTT",
                f"autograd/{STEPS} {AUTOGRAD}",
                f"bptt/128 {engine.name}",
            ),
            (
                "SnAp-1 / BPTT, both once a sequence",
                f"snap1/128 {engine.name}",
                f"bptt/128 {engine.name}",
            ),
        ]
    pairs += [
        (f"torch engine / native, {rule}", f"{rule} torch", f"{rule} {NATIVE}")
        for rule in size.rules
    ]
    return [
        Ratio(
            what, size.net.name, size.lanes, below.split(" ")[1], ratio(times[above], times[below])
        )
        for what, above, below in pairs
        if above in times and below in times
    ]


def _beside_jax(net: Net, name: str, times: Times) -> list[Ratio]:
    rule, engine = name.split(" ")
    published = PUBLISHED_MS.get(net.name, {}).get(rule)
    if published is None:
        return []
    of = Spread(*spread([1e-3 * published / seconds for seconds in times.seconds]))
    what = BESIDE_JAX.format(n=rule.removeprefix("snap"))
    return [Ratio(what, net.name, PUBLISHED_LANES, engine, of)]
