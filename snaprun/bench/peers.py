"""Times our steps and the same steps in JAX, which are dense, in the same rounds."""

import importlib
import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import replace

import pandas as pd

from snaprun.bench.available import LR, Engine
from snaprun.bench.contenders import Setting
from snaprun.bench.interleave import Contender, interleave
from snaprun.bench.problem import STEPS, Feed
from snaprun.bench.sizes import Sizes
from snaprun.bench.step import Measured, compared, row, started
from snaprun.engine.optim import Adam
from snaprun.figures.words import SNAP1_OVER_BPTT

JAX = "jax"
MISSING = "jax is not installed: the part peers is left out (pip install 'snaprun[peers]')."


def installed() -> bool:
    """Return whether JAX can be imported."""
    return importlib.util.find_spec(JAX) is not None


def measure(
    sizes: Sizes,
    engines: Sequence[Engine],
    threads: int,
    seed: int,
    say: Callable[[str], None],
    between: Callable[[], object],
) -> Measured:
    """Time the last of `engines` and JAX; a row per network, task and rule each, and the ratios.

    JAX must be installed.
    """
    limit(threads)
    rows, ratios, engine = [], [], engines[-1]
    for size in sizes.peers:
        say(f"peers {size.net.name}, {size.net.task}, {size.lanes} lanes")
        setting = Setting.make(size.net, size.lanes, engines, seed, sizes.updates)
        contenders = [in_jax(setting, rule) for rule in size.rules]
        contenders += started(setting, size.rules, [engine])
        times = interleave(contenders, sizes.budget, between=between)
        rows += [row(size, name, one) for name, one in times.items()]
        pairs = [
            (f"JAX / ours, {rule}", f"{rule} {JAX}", f"{rule} {engine.name}") for rule in size.rules
        ]
        pairs.append((SNAP1_OVER_BPTT, f"snap1/{STEPS} {JAX}", f"bptt/{STEPS} {JAX}"))
        ratios += compared(size, times, pairs)
    return Measured(pd.DataFrame(rows), ratios)


def in_jax(setting: Setting, rule: str) -> Contender:
    """Return the contender `rule jax`, one sequence per unit; rules: snap1/128 and bptt/128."""
    peer = importlib.import_module("snaprun.bench.in_jax")
    name = rule.partition("/")[0]
    network = replace(setting.net, level=0).build(setting.seed)
    of = peer.shape(network, setting.net.cell)
    run = peer.sequence(of, name, Adam(lr=LR))
    trained = peer.begin(network, of)
    feed = Feed(setting.data)
    moved = {id(batch): peer.moved(batch) for batch in setting.data}

    def work(count: int) -> None:
        nonlocal trained
        for batch in feed.sequences(count):
            trained = run(trained, *moved[id(batch)])
        trained.updates.block_until_ready()

    return Contender(f"{rule} {JAX}", work, len(setting.data[0].mask))


def limit(threads: int) -> None:
    """Make JAX use `threads` threads of the CPU; must be called before JAX is imported."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ["NPROC"] = str(threads)
    if threads == 1:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
