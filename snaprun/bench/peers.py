"""Times our steps and the same steps in JAX, which are dense, in the same rounds."""

import importlib
import importlib.util
import os
from dataclasses import replace

import pandas as pd

from snaprun.bench.available import LR
from snaprun.bench.contenders import Setting, started
from snaprun.bench.interleave import Contender
from snaprun.bench.problem import STEPS, Feed
from snaprun.bench.session import Session
from snaprun.bench.step import group
from snaprun.engine.optim import Adam
from snaprun.figures.words import SNAP1_OVER_BPTT

JAX = "jax"
MISSING = "jax is not installed: the part peers is left out (pip install 'snaprun[peers]')."


def installed() -> bool:
    """Return whether JAX can be imported."""
    return importlib.util.find_spec(JAX) is not None


def measure(session: Session) -> pd.DataFrame:
    """Time the last of the engines and JAX; a row per network, task and rule each, and ratios.

    JAX must be installed.
    """
    limit(session.threads)
    rows, engine = [], session.engines[-1]
    for size in session.sizes.peers:
        session.say(f"peers {size.net.name}, {size.net.task}, {size.lanes} lanes")
        setting = session.setting(size.net, size.lanes)
        contenders = [in_jax(setting, rule) for rule in size.rules]
        contenders += [made for made, _ in started(setting, size.rules, [engine])]
        pairs = [
            (f"JAX / ours, {rule}", f"{rule} {JAX}", f"{rule} {engine.name}") for rule in size.rules
        ]
        pairs.append((SNAP1_OVER_BPTT, f"snap1/{STEPS} {JAX}", f"bptt/{STEPS} {JAX}"))
        rows += group(session, size, contenders, pairs)
    return pd.DataFrame(rows)


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
