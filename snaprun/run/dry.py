"""A dry run tells a run's parameters, memory and time without writing anything."""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from textwrap import indent

import torch

from snaprun import checks
from snaprun.costs.memory import TAPE, in_units
from snaprun.engine.base import Engine
from snaprun.engine.evaluate import HeldOut
from snaprun.run import memory
from snaprun.run.launch import build
from snaprun.run.loop import Probe
from snaprun.run.parts import Parts
from snaprun.run.validate import EVAL_STEPS
from snaprun.seeding import stream
from snaprun.tasks import Batch, checked, draw

SECONDS = 2.0  # the longest time to train, not counting the first step


def rehearse(parts: Parts, probe: Probe | None = None) -> str:
    """Train for a moment and return a few indented lines about the run.

    Raises UserError if the run cannot be trained.
    """
    expected = memory.demand(parts, memory.sizes(parts), probe)
    left = [f"{in_units(n)} is left {where}" for _, n, where in memory.places(parts, expected)]
    with checks.telling_exhaustion(lambda: memory.exhausted(parts, probe)):
        engine = build(parts, probe)
        per_step, steps = (_timed_windows if engine.rule.replays else _timed)(parts, engine)
        validation, bound = _validation_seconds(parts, engine)
    core, options, name = engine.network.core, parts.options, type(engine).__name__
    counts = memory.sizes(parts, core)
    needed = memory.demand(parts, counts, probe)
    largest_first = sorted(needed.parts.items(), key=lambda part: -part[1])
    listed = ", ".join(f"{part} {in_units(size)}" for part, size in largest_first if size)
    weights, dense = core.layout.size, 0  # `dense` counts them without sparsity
    for layer in core.layout.split(core.layout.live_MKJ):
        units, inputs = layer.shape[1], layer.shape[2] - layer.shape[1] - 1
        dense += sum(core.cell.dense(units, inputs))
    training = per_step * options.tokens / options.lanes
    stops = f", or until train.time={options.time:g} s" if options.time is not None else ""
    lines = [
        f"parameters: {weights:,} live of {dense:,} recurrent ({100 * weights / dense:.3g} %), "
        f"and {counts.readout:,} of the readout"
        + (f" and {counts.attention:,} of the attention" if counts.attention else ""),
        f"memory: about {in_units(needed.total)} ({', '.join(left)}): {listed}",
        f"time: {bound or 'about '}{_duration(training + validation)} for {options.tokens:,} tokens"
        + stops
        + (f", {bound}{_duration(validation)} of it to validate" if validation else "")
        + f"; {1e3 * per_step:.3g} ms a step of {options.lanes} lanes, measured over {steps:,} "
        f"steps ({name})",
    ]
    if TAPE in needed.parts:
        known = "" if isinstance(options.update_every, int) else ", the longest sequence known now"
        lines.insert(2, f"tape: {counts.window} steps{known}")
    if probe:
        lines.append("comparing takes time besides")
    return indent("\n".join(lines), "  ")


def _timed(parts: Parts, engine: Engine) -> tuple[float, int]:
    """Return the seconds per time step, drawing batches included, and the steps measured."""
    data, lanes = stream(parts.machine.seed, "data"), parts.options.lanes

    def drawn() -> Batch:
        return draw(parts.task, lanes, data).to(engine.network.core.device)

    batch, first = drawn(), 1
    _wait(engine.run(batch.piece(0, 1)))  # the first step includes costs that occur once
    done, piece, start, seconds = 0, 1, time.perf_counter(), 0.0
    while seconds < SECONDS and done < max(1, parts.options.tokens // lanes):
        if first >= len(batch.mask):
            batch, first = drawn(), 0
        loss_TB = engine.run(batch.piece(first, piece))
        _wait(loss_TB)
        seconds = time.perf_counter() - start
        first, done = first + len(loss_TB), done + len(loss_TB)
        piece = max(1, int(SECONDS / 4 * done / seconds))
    return seconds / done, done


def _timed_windows(parts: Parts, engine: Engine) -> tuple[float, int]:
    """Return the same for a rule that replays, from windows that end early if they are long.

    A step is said to take the time of a forward step as often as the rule makes it in a whole
    window, and the rest of the time that was measured once.
    """
    options, data = parts.options, stream(parts.machine.seed, "data")
    window = memory.sizes(parts).window

    def timed(most: int) -> tuple[int, int, float, float]:
        """Return steps, forward steps, and the seconds of the first pass and of the reverse one."""
        batch = draw(parts.task, options.lanes, data).to(engine.network.core.device)
        begun, before, piece = engine.begun(batch), engine.forwards or 0, 1
        most, start = min(most, len(batch.mask)), time.perf_counter()
        while begun.steps < most and time.perf_counter() - start < SECONDS / 4:
            engine.advance(begun, min(piece, most - begun.steps))
            piece *= 2
        passed = time.perf_counter()
        engine.update()
        _wait(begun.losses_TB)
        seconds = passed - start, time.perf_counter() - passed
        return begun.steps, (engine.forwards or 0) - before, *seconds

    timed(1)  # the first window includes costs that occur once
    done, forwards, ahead, back = 0, 0, 0.0, 0.0
    while ahead + back < SECONDS and done < max(1, options.tokens // options.lanes):
        found = timed(window)
        done, forwards = done + found[0], forwards + found[1]
        ahead, back = ahead + found[2], back + found[3]
    first = ahead / done
    rule = engine.rule.in_numbers(engine.number_bytes)
    repeated = rule.cost(engine.network.core, window).forwards
    return first * repeated + max(0.0, back - first * (forwards - done)) / done, done


class _Enough(Exception):
    """The time for measuring is over."""


@dataclass
class _Timing:
    """Estimates the seconds of a validation in place of making it; a tasks.Evaluation."""

    parts: Parts
    engine: Engine
    end: float
    seconds: float = 0.0

    def __call__(self, batches: Iterable[Batch], /) -> float:
        """Measure the first batch in place of all; raises _Enough at the end."""
        task, engine, per_step = self.parts.task, self.engine, None
        for batch in batches:
            if per_step is None:
                checked(task, batch)
                # Its last steps, because earlier ones may have no target.
                piece = batch.piece(max(0, len(batch.mask) - EVAL_STEPS), EVAL_STEPS)
                start = time.perf_counter()
                HeldOut(engine.network, task.measures, engine.in_core).metrics([piece])
                per_step = (time.perf_counter() - start) / len(piece.mask)
            self.seconds += per_step * len(batch.mask)
            if time.perf_counter() > self.end:
                raise _Enough
        return math.inf

    def metrics(self, batches: Iterable[Batch], /) -> dict[str, float]:
        """Do the same."""
        self(batches)
        return {}


def _validation_seconds(parts: Parts, engine: Engine) -> tuple[float, str]:
    """Return the seconds of all validations of a run, and "at least " if they are a bound."""
    options, bound = parts.options, ""
    timing = _Timing(parts, engine, time.perf_counter() + SECONDS)
    try:
        parts.task.held_out(timing, options.eval_tokens)
    except _Enough:
        bound = "at least "
    times = -(-options.tokens // options.eval_every) * (2 if options.average else 1)
    return timing.seconds * times, bound


def _wait(loss_TB: torch.Tensor) -> None:
    if loss_TB.is_cuda:
        torch.cuda.synchronize()


def _duration(seconds: float) -> str:
    """Return `seconds` in words, in a suitable unit."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:.2g} s"
