"""The training loop, top to bottom: batches in, metric rows out, a summary at the end."""

import logging
import math
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from snaprun import hardware
from snaprun.store import DIVERGED, FINISHED, RunWriter, Summary
from snaprun.tasks import Task
from snaprun.train import checkpoint
from snaprun.train.choice import Engine
from snaprun.train.evaluate import bits_per_character
from snaprun.train.options import TrainOptions
from snaprun.train.progress import Progress
from snaprun.train.seeding import stream

LN2 = math.log(2)

log = logging.getLogger(__name__)


def train(
    task: Task,
    engine: Engine,
    options: TrainOptions,
    *,
    seed: int,
    writer: RunWriter,
    progress: Progress,
    extras: Mapping[str, Any],
) -> Summary:
    """Train for `options.tokens` of data-time; returns the summary, which is then on disk.

    Losses are those before the update of their step. A non-finite loss ends the run as diverged
    and the summary says at which token. `extras` go into the summary as they are.
    """
    data = stream(seed, "data")
    log_marks, eval_marks = _Marks(options.log_every), _Marks(options.eval_every)
    tokens, bits, targets = 0, 0.0, 0  # bits and targets since the last row
    last: dict[str, float] = {}
    diverged: dict[str, int] = {}
    in_engine, started = 0.0, time.perf_counter()

    def row(**values: float | None) -> None:
        last.update({name: value for name, value in values.items() if value is not None})
        seconds = time.perf_counter() - started
        writer.row(tokens=tokens, updates=engine.updates, seconds=seconds, **values)

    def validate() -> None:
        batches = task.validation(options.eval_tokens)
        if batches is not None:
            row(validation_bpc=bits_per_character(engine.network, batches))

    while tokens < options.tokens:
        batch = task.batch(options.lanes, data).to(engine.network.core.device)
        before = time.perf_counter()
        nats_TB = engine.run(batch)
        batch_bits = float(nats_TB.sum(dtype=torch.float64)) / LN2
        in_engine += time.perf_counter() - before
        if not math.isfinite(batch_bits):
            diverged["diverged_at_token"] = tokens + _first_bad_token(nats_TB)
            tokens += nats_TB.numel()
            row(bpc=None, **task.metrics())
            break
        tokens += nats_TB.numel()
        batch_targets = int(batch.mask.sum())
        bits, targets = bits + batch_bits, targets + batch_targets
        if batch_targets:
            task.observe(batch_bits / batch_targets)
        done = tokens >= options.tokens
        if log_marks.reached(tokens) or done:
            row(bpc=bits / targets if targets else None, **task.metrics())
            bits, targets = 0.0, 0
        if eval_marks.reached(tokens) or done:
            validate()
        progress.update(tokens, last)

    finite = all(p.isfinite().all() for p in engine.network.parameters)
    if not diverged and not (finite and all(map(math.isfinite, last.values()))):
        diverged["diverged_at_token"] = tokens  # by a late update, so that no loss showed it
    if not engine.updates:
        log.warning(
            "No update was made: train.update_every=%s is longer than the run of %d steps, "
            "or no step had a target.",
            options.update_every,
            tokens // options.lanes,
        )
    engine.measure()
    checkpoint.save(writer.folder, engine.network)
    summary = Summary(
        status=DIVERGED if diverged else FINISHED,
        tokens=tokens,
        updates=engine.updates,
        seconds=time.perf_counter() - started,
        metrics=last,
        cost=_cost(engine, options.lanes, 1e3 * in_engine / tokens),
        extras={**diverged, **task.facts(), **extras},
    )
    writer.finish(summary)
    return summary


class _Marks:
    """Every multiple of `every` tokens, each reached once."""

    def __init__(self, every: int):
        self._every, self._next = every, every

    def reached(self, tokens: int) -> bool:
        if tokens < self._next:
            return False
        self._next = (tokens // self._every + 1) * self._every
        return True


def _first_bad_token(nats_TB: Tensor) -> int:
    """Tokens of the batch before the first non-finite loss, in time order."""
    return int((~nats_TB.isfinite()).flatten().nonzero()[0])


def _cost(engine: Engine, lanes: int, ms_per_token: float) -> dict[str, float]:
    """Measured and analytic cost of core and rule; the readout, the same for all, is apart."""
    counted = engine.rule.cost(engine.network.core, engine.longest_window)
    return {
        "ms_per_token": ms_per_token,
        "macs_per_token": counted.macs,
        "readout_macs_per_token": engine.network.readout.macs,
        "state_bytes": engine.rule_bytes,
        "state_bytes_analytic": counted.state * lanes * engine.network.dtype.itemsize,
        "peak_bytes": hardware.peak_bytes(),  # of the process
    }
