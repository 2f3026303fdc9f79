"""Times a step from Python, by snaprun.Learner, beside the same step within a batch in C++."""

import gc
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from snaprun import Learner
from snaprun.bench.available import LR
from snaprun.bench.contenders import Setting, started
from snaprun.bench.interleave import Budget, Times
from snaprun.bench.problem import STEPS
from snaprun.bench.session import Session
from snaprun.bench.step import tabulated
from snaprun.tasks import Batch

LEARNER = "learner"
# The steps of a short and of a long piece of a batch, so short that other processes seldom cut in.
SHORT, LONG, TRIES = 8, 24, 5


def measure(session: Session) -> pd.DataFrame:
    """Time the last of the engines and the Learner that it trains; a row each.

    A step within a batch is what the longer of two pieces takes more, so that the call of the
    engine does not count. The Learner's row also has the median and the 99th percentile of all
    calls, and what a step from Python takes beyond the engine's own.
    """
    rows, engine = [], session.engines[-1]
    for size in session.sizes.python:
        session.say(f"python {size.net.name}, {size.net.task}, {size.lanes} lanes")
        setting = session.setting(size.net, size.lanes)
        for rule in size.rules:
            ((own, made),) = started(setting, [rule], [engine])
            learner = _learner(setting, rule, engine.name, session.threads)
            calls = _calls(learner, setting)
            for _ in range(session.sizes.updates // STEPS):
                calls()
            within, called, seconds = _timed(made, setting, calls, session)
            names = (own.name, f"{rule} {LEARNER}")
            times = dict(zip(names, (within, called), strict=True))
            pair = ("a step from Python / within a batch", names[1], names[0])
            first, second = tabulated(session, size, times, [pair])
            quantiles = (np.quantile(seconds, (0.5, 0.99)) * 1e6).tolist()
            rows += [first, second | dict(zip(("call_us", "call_us_p99"), quantiles, strict=True))]
    table = pd.DataFrame(rows)
    table["more_us"] = table["us"].diff().where(table["engine"] == LEARNER)
    return table


def _timed(
    engine: Any, setting: Setting, calls: Callable[[], list[float]], session: Session
) -> tuple[Times, Times, list[float]]:
    """Return the times of a step within a batch and from Python, by rounds, and of all calls."""
    budget: Budget = session.sizes.budget
    within: list[float] = []
    called: list[float] = []
    seconds: list[float] = []
    pieces = [setting.data[0].piece(0, steps) for steps in (SHORT, LONG)]
    collecting = gc.isenabled()
    gc.disable()
    try:
        begun = time.perf_counter()
        while len(within) < budget.least or (
            len(within) < budget.most and time.perf_counter() - begun < budget.seconds
        ):
            short, long = (min(_run(engine, piece) for _ in range(TRIES)) for piece in pieces)
            within.append((long - short) / (LONG - SHORT))
            found = calls()
            called.append(float(np.median(found)))
            seconds += found
            session.between()
    finally:
        if collecting:
            gc.enable()
    return Times(tuple(within)), Times(tuple(called)), seconds


def _run(engine: Any, piece: Batch) -> float:
    begun = time.perf_counter()
    engine.run(piece)
    return time.perf_counter() - begun


def _calls(learner: Learner, setting: Setting) -> Callable[[], list[float]]:
    """Return what takes the steps of a batch as arrays of numpy, and returns each call's time."""
    numbers, batch = np.eye(setting.net.inputs, dtype=np.float32), setting.data[0]
    steps = list(zip(numbers[batch.inputs.numpy()], batch.targets.numpy(), strict=True))

    def work() -> list[float]:
        seconds = []
        learner.reset()
        for x, y in steps:
            begun = time.perf_counter()
            learner.step(x, y)
            seconds.append(time.perf_counter() - begun)
        return seconds

    return work


def _learner(setting: Setting, rule: str, engine: str, threads: int) -> Learner:
    net = setting.net
    return Learner(
        net.inputs,
        net.outputs,
        cell=net.cell,
        units=net.units,
        rule=rule,
        sparsity=net.level,
        readout="mlp" if net.hidden else "linear",
        hidden=net.hidden,
        loss="softmax",
        lr=LR,
        lanes=setting.lanes,
        seed=setting.seed,
        engine=engine,
        threads=threads,
    )
