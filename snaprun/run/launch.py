"""Launching trains one run from plain objects and writes it to its folder."""

import logging
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snaprun import checks
from snaprun.checks import Pruned, Stopped, UserError
from snaprun.engine.base import Engine
from snaprun.run import checkpoint, memory
from snaprun.run.build import built
from snaprun.run.ending import require_judged
from snaprun.run.loop import Probe, Report, Training
from snaprun.run.machine import denormals_flushed
from snaprun.run.parts import Parts
from snaprun.run.progress import Progress
from snaprun.run.setting import Segments, setting
from snaprun.run.signals import StopSignals
from snaprun.store import METRICS, RunWriter, Summary, read_summary
from snaprun.trackers import Trackers

log = logging.getLogger(__name__)


def run(
    parts: Parts,
    folder: Path,
    config: Mapping[str, Any],
    *,
    bar: bool,
    trackers: Trackers | None = None,
    probe: Probe | None = None,
    report: Report | None = None,
) -> Summary:
    """Train the run of `parts` and write it to `folder`, together with its `config`.

    A run that has a checkpoint continues from it; a complete run is left as it is. `bar` shows a
    progress bar; the `trackers` get the rows of the metrics, too; `report` hears of every
    validation and may end the run.
    """
    machine, options = parts.machine, parts.options
    with checks.telling_exhaustion(lambda: memory.exhausted(parts, probe)):
        engine = build(parts, probe)
        now = setting(engine, machine)
        extras = {"lr": parts.optimiser.lr} | {k: now[k] for k in ("versions", "engine", "device")}
        with (
            RunWriter(folder, config, trackers) as writer,
            Progress(folder.name, options.tokens, bar) as progress,
            StopSignals() as stop,
            denormals_flushed(),
        ):
            training = Training(
                parts.task,
                parts.architecture.sparsity,
                engine,
                options,
                seed=machine.seed,
                writer=writer,
                progress=progress,
                stop=stop,
                extras=extras,
                segments=Segments(now),
                probe=probe,
                report=report,
            )
            summary = read_summary(folder)
            if summary is not None and summary.complete(options.extent):
                return summary  # another process has finished the run in the meantime
            try:
                _start(writer, training, summary, options.strict)
                return training.run()
            except (UserError, Stopped, Pruned):
                raise
            except Exception:
                writer.fail(traceback.format_exc())
                raise


def build(parts: Parts, probe: Probe | None = None) -> Engine:
    """Prepare the task and return the engine before its first step.

    Raises UserError if there is not enough memory.
    """
    parts.machine.start()
    parts.task.prepare(parts.options.lanes)
    require_judged(parts.task, parts.options)
    return built(parts, probe)


def _start(writer: RunWriter, training: Training, summary: Summary | None, strict: bool) -> None:
    """Restore the checkpoint if there is one, else begin the run."""
    saved = checkpoint.load(writer.opened)
    if saved is not None:
        checkpoint.restore(writer.folder, training, saved)
        if training.changed:
            _tell_of_change(writer.folder, training, strict)
        writer.resume(training.mark, training.tokens)
        log.info("%s goes on from its checkpoint at %d tokens", writer.folder, training.tokens)
    elif summary is None:
        if writer.opened.stat(METRICS):
            log.info("%s: no checkpoint had been written; it starts afresh", writer.folder)
        writer.begin()
    else:
        remedy = checkpoint.RESTART
        checks.refuse(
            "run folder", str(writer.folder), "one with its checkpoint to go on from", remedy
        )


def _tell_of_change(folder: Path, training: Training, strict: bool) -> None:
    """Warn that the setting may differ from the checkpoint's; raise UserError if `strict`."""
    line = f"{folder} is resumed at token {training.tokens}; {training.changed}."
    if strict:
        remedy = "Resume it in the setting of its checkpoint, or set train.strict=false."
        raise UserError(f"{line} train.strict=true refuses that. {remedy}")
    log.warning("%s The last bits may differ from those of a run in one setting.", line)
