"""Times a step from Python, by snaprun.Learner, beside the same step within a batch in C++."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from snaprun import Learner
from snaprun.bench.available import LR
from snaprun.bench.contenders import Setting, started
from snaprun.bench.interleave import Contender
from snaprun.bench.problem import STEPS, Feed
from snaprun.bench.session import Session
from snaprun.bench.step import group

LEARNER = "learner"


def measure(session: Session) -> pd.DataFrame:
    """Time the last of the engines and the Learner that it trains; a row each.

    The Learner's row also has the median and the 99th percentile of its single calls, and what a
    step from Python takes beyond the engine's own.
    """
    rows, engine = [], session.engines[-1]
    for size in session.sizes.python:
        session.say(f"python {size.net.name}, {size.net.task}, {size.lanes} lanes")
        setting = session.setting(size.net, size.lanes)
        for rule in size.rules:
            ((own, made),) = started(setting, [rule], [engine])
            seconds: list[float] = []
            learner = _learner(setting, rule, engine.name, session.threads)
            contenders = [
                Contender(own.name, _batches(made, setting), STEPS),
                Contender(f"{rule} {LEARNER}", _calls(learner, setting, seconds), STEPS),
            ]
            pair = ("a step from Python / within a batch", contenders[1].name, own.name)
            within, called = group(session, size, contenders, [pair])
            quantiles = dict(zip(("call_us", "call_us_p99"), _quantiles(seconds), strict=True))
            rows += [within, called | quantiles]
    table = pd.DataFrame(rows)
    table["more_us"] = table["us"].diff().where(table["engine"] == LEARNER)
    return table


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


def _batches(engine: Any, setting: Setting) -> Callable[[int], None]:
    """Return what trains an engine on so many whole batches."""
    feed = Feed(setting.data)

    def work(count: int) -> None:
        for batch in feed.sequences(count):
            engine.run(batch)

    return work


def _calls(learner: Learner, setting: Setting, seconds: list[float]) -> Callable[[int], None]:
    """Return what calls a learner with the steps of so many batches, as arrays of numpy.

    The time of every call is added to `seconds`.
    """
    numbers = np.eye(setting.net.inputs, dtype=np.float32)
    feed = Feed(
        [replace(x, inputs=torch.from_numpy(numbers[x.inputs.numpy()])) for x in setting.data]
    )

    def work(count: int) -> None:
        for batch in feed.sequences(count):
            learner.reset()
            for x, y in zip(batch.inputs.numpy(), batch.targets.numpy(), strict=True):
                begun = time.perf_counter()
                learner.step(x, y)
                seconds.append(time.perf_counter() - begun)

    return work


def _quantiles(seconds: list[float]) -> list[float]:
    """Return the median and the 99th percentile in microseconds."""
    return (np.quantile(seconds, (0.5, 0.99)) * 1e6).tolist()
