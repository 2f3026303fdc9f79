"""The training loop takes batches, writes rows of metrics, and ends with a summary."""

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, Protocol

import torch

from snaprun.checks import Pruned, Stopped
from snaprun.core import Sizes
from snaprun.engine.base import Begun, Engine
from snaprun.engine.prune import Masks
from snaprun.engine.saved import require_planned, set_noise
from snaprun.losses import Columns
from snaprun.metrics import judged_by
from snaprun.model.network import Network
from snaprun.require import MOST, require_count, require_entries, require_equal
from snaprun.run import checkpoint
from snaprun.run.course import Course
from snaprun.run.divergence import Diverged, Watch, non_finite
from snaprun.run.ending import Best
from snaprun.run.options import TrainOptions
from snaprun.run.progress import Progress
from snaprun.run.setting import Segments
from snaprun.run.signals import StopSignals
from snaprun.run.spent import cost, parameters
from snaprun.run.validate import of_average, validate
from snaprun.seeding import stream
from snaprun.sparsity import Sparsity
from snaprun.store import BEST, DIVERGED, FINISHED, NON_FINITE, Mark, RunWriter, Summary, outline
from snaprun.tasks import Task, draw

# Takes the number of a validation and the newest metrics; returns whether to end the run early.
Report = Callable[[int, Mapping[str, float]], bool]
PIECE_SECONDS = 0.5  # the loop checks signals and the clock between pieces of this duration
PARTS = ("run", "facts", "metrics", "course", "engine", "task", "data")  # of a checkpoint
LATER = ("watch", "segments", "best")  # parts that one of an older snaprun lacks

log = logging.getLogger(__name__)


class Probe(Protocol):
    """A probe looks at a run between two batches and leaves training unchanged."""

    lighter: str  # the choice that makes the probe need less memory, in words

    def bytes(self, sizes: Sizes) -> int:
        """Return the bytes that a look takes in addition to the run."""
        ...

    def __call__(
        self, since: int, tokens: int, task: Task, engine: Engine, stop: StopSignals
    ) -> Mapping[str, float]:
        """Look at the run from `since` to `tokens`, both included, and return a row, or {}."""
        ...


class Training:
    """Trains a run as far as `options.extent` says.

    The loss of a step is computed before the update of that step. A non-finite loss or parameter
    ends the run at once as diverged; a run that has blown up (snaprun.run.divergence) counts as
    diverged at its end. The summary names the token. `extras` go into the summary unchanged.
    Checkpoints are taken between time steps, and a resumed run equals an unbroken one bit by bit.
    """

    def __init__(
        self,
        task: Task,
        sparsity: Sparsity,
        engine: Engine,
        options: TrainOptions,
        *,
        seed: int,
        writer: RunWriter,
        progress: Progress,
        stop: StopSignals,
        extras: Mapping[str, Any],
        segments: Segments,
        probe: Probe | None = None,
        report: Report | None = None,
    ):
        self._task, self._sparsity = task, sparsity
        self._engine, self._options = engine, options
        self._writer, self._progress, self._stop = writer, progress, stop
        self._extras, self._segments = extras, segments
        self._probe, self._report = probe, report
        self._data = stream(seed, "data")
        self._masks = Masks(engine, sparsity, seed)
        self._first = True  # whether this process has yet to draw a batch
        self._columns = Columns(task.loss, task.measures)
        self._course = Course(log_at=options.log_every, eval_at=options.eval_every)
        self._due = checkpoint.Due(options.checkpoint_every)
        self._steps_per_second = 0.0  # in the last piece
        self._watch, self._best = Watch(), Best()
        self._diverged: Diverged | None = None
        self.mark = Mark(0, 0)  # where the metrics of a resumed run continue
        self.changed = ""  # how the setting differs from the checkpoint's, in words
        self._started = time.perf_counter()

    @property
    def tokens(self) -> int:
        """The data-time of all finished batches."""
        return self._course.tokens

    def run(self) -> Summary:
        """Train to the end, write the summary and return it.

        Raises Stopped after a signal, Pruned if `report` ends the run; both keep a checkpoint.
        """
        self._started = time.perf_counter() - self._course.seconds
        self._progress.begin(self._course.tokens)
        if self._course.at_validation:  # the last process may have died before these two
            if self._best.tokens == self._course.tokens:
                self._keep_best(self.state_dict())
            self._report_validation()
        while True:
            self._write_what_is_due()
            if (ended := self._ended_by()) or self._diverged:
                return self._finish(ended)
            batch = self._batch_in_progress()
            self._train_on_what_is_left(batch)
            self._account_for(batch)

    def _ended_by(self) -> str:
        """Return what ends the run here, between two batches, or ""."""
        seconds = time.perf_counter() - self._started
        return self._options.extent.ended_by(self._course.tokens, seconds, self._best.stale)

    def _batch_in_progress(self) -> Begun:
        """Return the batch in progress, or the next batch if none is."""
        if self._course.begun is None:
            network = self._engine.network
            batch = draw(self._task, self._options.lanes, self._data, self._first)
            batch, self._first = batch.to(network.core.device), False
            outputs_TBO = None
            if self._columns.outputs:
                shape = (*batch.mask.shape, self._task.outputs)
                outputs_TBO = torch.zeros(shape, dtype=network.dtype, device=batch.mask.device)
            self._course.begun = self._engine.begun(batch, outputs_TBO)
        return self._course.begun

    def _train_on_what_is_left(self, begun: Begun) -> None:
        """Train on the rest of the batch in pieces, with checkpoints between the pieces."""
        while not self._engine.done(begun):
            self._checkpoint_if_due()
            steps = max(1, int(PIECE_SECONDS * self._steps_per_second))
            before, busy = time.perf_counter(), time.process_time()
            done = self._engine.advance(begun, steps)
            seconds = time.perf_counter() - before
            busy = time.process_time() - busy if begun.losses_TB.device.type == "cpu" else seconds
            self._steps_per_second = done / max(seconds, 1e-9)
            # Wall time less the time that other processes took, as far as one thread can tell.
            self._course.in_engine += min(seconds, busy)

    def _checkpoint_if_due(self) -> None:
        """Write a checkpoint if one is due or the run has to stop; raise Stopped if it has to."""
        if self._due.reached(self._course.tokens) or self._stop.requested:
            self._save()
        self._stop.check()

    def _account_for(self, done: Begun) -> None:
        """Count a finished batch, tell the task its loss, and change the mask if that is due."""
        course, engine = self._course, self._engine
        batch = done.batch
        loss = self._task.loss.reported(float(done.losses_TB.sum(dtype=torch.float64)))
        self._diverged = non_finite(done.losses_TB, loss, engine.finite, course.tokens)
        course.begun = None
        before, course.tokens = course.tokens, course.tokens + done.losses_TB.numel()
        targets = int(batch.mask.sum())
        course.loss, course.targets = course.loss + loss, course.targets + targets
        self._columns.add(
            course.measured, batch.targets, batch.mask, done.outputs_TBO, batch.baseline
        )
        chance = self._task.chance
        self._watch.count(
            loss, targets, chance=chance, tokens=course.tokens, updates=engine.updates
        )
        if targets and not self._diverged:
            self._task.observe(loss / targets)
        self._masks.follow(before, course.tokens)

    def _write_what_is_due(self) -> None:
        """Write the row, and run the validation and the probe, if they are due."""
        course, options = self._course, self._options
        if self._diverged:
            return
        if course.tokens >= course.log_at:
            self._write_training_row()
            course.log_at = _next_multiple(options.log_every, course.tokens)
        if course.tokens >= course.eval_at:
            try:
                improved = self._validate(self._best)
            except Stopped:
                self._save()  # the checkpoint records that the validation is due
                raise
            course.eval_at = _next_multiple(options.eval_every, course.tokens)
            if improved:
                # The checkpoint first, so that the run never resumes before its best.
                self._keep_best(self._save())
            self._report_validation()
        if not self._diverged and course.tokens >= course.probed:
            self._run_probe()
        self._progress.update(course.tokens, course.last)

    def _write_training_row(self) -> None:
        course = self._course
        mean = course.loss / course.targets if course.targets else None
        measured = self._columns.values(course.measured)
        self._row(**{self._task.loss.training.key: mean, **measured})
        course.loss, course.targets, course.measured = 0.0, 0, {}
        course.logged = course.tokens

    def _validate(self, best: Best) -> bool:
        """Write the metrics on held-out data, and return whether `best` has improved."""
        values = self._held_out(self._engine.network)
        if not all(map(math.isfinite, values.values())):
            words = "the held-out loss was non-finite at"
            self._diverged = Diverged(self._course.tokens, NON_FINITE, words)
        if (average := self._engine.average()) is not None:
            averaged = self._held_out(self._engine.network.at(average))
            values |= of_average(averaged)
        if values:
            self._row(**values)
        self._course.validated = self._course.tokens
        metric = judged_by(self._task.declared, values)
        return not self._diverged and best.take(metric, values, self._course.tokens)

    def _report_validation(self) -> None:
        course, options = self._course, self._options
        if self._report is None or self._diverged or self._ended_by():
            return
        if self._report(course.tokens // options.eval_every, course.last):
            self._save()
            raise Pruned

    def _held_out(self, network: Network) -> dict[str, float]:
        """Return the task's metrics of `network` on held-out data."""
        tokens, in_core = self._options.eval_tokens, self._engine.in_core
        return validate(self._task, network, tokens, in_core, self._stop.check)

    def _run_probe(self) -> None:
        course = self._course
        if self._probe is not None:
            try:
                seen = self._probe(
                    course.probed, course.tokens, self._task, self._engine, self._stop
                )
            except Stopped:
                self._save()  # the checkpoint records that the probe has yet to look
                raise
            if seen:
                self._write(seen)
        course.probed = course.tokens + 1

    def _row(self, **values: float | None) -> None:
        course = self._course
        if self._task.loss.training.key in values:
            values |= self._task.metrics() | self._sparsity.metrics(course.tokens)
        course.last |= {name: value for name, value in values.items() if value is not None}
        self._write(values)

    def _write(self, values: Mapping[str, float | None]) -> None:
        course = self._course
        course.seconds = time.perf_counter() - self._started
        self._writer.row(
            tokens=course.tokens, updates=self._engine.updates, seconds=course.seconds, **values
        )

    def _finish(self, ended: str) -> Summary:
        """Write the last checkpoint, the last rows and the summary of a run `ended` by a bound."""
        course, engine, best = self._course, self._engine, replace(self._best)
        trained = time.perf_counter() - self._started
        if not self._diverged:
            self._save()  # before the last rows, which a run with more tokens does not have
            if course.logged < course.tokens:
                self._write_training_row()
            if course.validated < course.tokens:
                self._validate(best)
            self._diverged = self._diverged or self._watch.verdict(
                engine.updates, self._task.chance, self._task.loss
            )
        elif course.logged < course.tokens:
            self._row(**{self._task.loss.training.key: None})
        if not engine.updates:
            log.warning(
                "No update was made: train.update_every=%s is longer than the run of %d steps, "
                "or no step had a target.",
                self._options.update_every,
                course.tokens // self._options.lanes,
            )
        if not self._diverged and self._sparsity.due(course.tokens, MOST):
            log.warning(
                "The run ended after %d tokens, before the network was pruned to sparsity.level: "
                "train.tokens is less than sparsity.end.",
                course.tokens,
            )
        engine.measure()
        how = vars(self._diverged) if self._diverged else {}
        summary = Summary(
            status=DIVERGED if self._diverged else FINISHED,
            tokens=course.tokens,
            updates=engine.updates,
            seconds=time.perf_counter() - self._started,
            metrics=course.last,
            declared=self._task.declared,
            cost=cost(
                engine, self._options.lanes, course.tokens, 1e3 * course.in_engine / course.tokens
            ),
            extras={
                **{f"diverged_{name}": value for name, value in how.items()},
                **({} if self._diverged else {"ended_by": ended}),
                "stale": self._best.stale,
                "trained_seconds": trained,  # without the last validation
                **best.told(),
                "resumed": course.resumed,
                "segments": self._segments.to_list(),
                "parameters": parameters(engine.network),
                **self._task.facts(),
                **self._extras,
            },
        )
        self._writer.finish(summary)
        return summary

    def _save(self) -> dict[str, Any]:
        """Write a checkpoint and return its contents."""
        self._course.seconds = time.perf_counter() - self._started
        contents = self.state_dict()
        with self._writer.checkpoint() as file:
            checkpoint.write(file, contents)
        self._due.begin(self._course.tokens)
        return contents

    def _keep_best(self, contents: Mapping[str, Any]) -> None:
        """Write the network of a checkpoint's `contents` as the best one so far."""
        with self._writer.checkpoint(BEST) as file:
            checkpoint.write(file, checkpoint.of_network(contents))

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the rest of the run depends on, and the mark of its metrics."""
        return {
            "run": self._writer.folder.name,
            "facts": self._task.facts(),
            "metrics": asdict(self._writer.mark()),
            "course": self._course.state_dict(),
            "engine": self._engine.state_dict(),
            "task": self._task.state_dict(),
            "data": self._data.get_state(),
            "watch": self._watch.state_dict(),
            "segments": self._segments.to_list(),
            "best": self._best.state_dict(),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue from `saved`, a `state_dict`.

        Raises ValueError if `saved` is damaged or belongs to another run.
        """
        require_entries("checkpoint", saved, (*PARTS, *(name for name in LATER if name in saved)))
        require_equal("run", saved["run"], self._writer.folder.name)
        require_equal("data", saved["facts"], self._task.facts())
        self.mark = outline.mark(saved)
        lanes, network = self._options.lanes, self._engine.network
        course = Course.from_state_dict(saved["course"], network, lanes, self._columns)
        drawn = course.tokens // lanes + (len(course.begun.batch.mask) if course.begun else 0)
        if course.logged and not self.mark.size:
            raise ValueError(f"metrics mismatch: {course.logged} tokens were logged.")
        self._load_engine(saved["engine"], course)
        if course.begun and self._engine.done(course.begun):
            raise ValueError("course.begun mismatch: nothing is left to do for its batch.")
        self._task.load_state_dict(saved["task"], drawn)
        set_noise(self._data, saved["data"], "data")
        self._course = course
        self._course.resumed += 1
        self._watch = Watch.from_state_dict(saved.get("watch"), course.tokens, self._engine.updates)
        self._best = Best.from_state_dict(saved.get("best"), course.tokens)
        begun = course.begun.steps * lanes if course.begun else 0
        self.changed = self._segments.resume(saved.get("segments"), course.tokens + begun)
        self._due.begin(self._course.tokens)

    def _load_engine(self, saved: Any, course: Course) -> None:
        if self._options.update_every == "sequence":
            require_planned(saved, len(course.begun.batch.mask) if course.begun else 0)
        self._masks.resume(saved)
        begun = course.begun.steps if course.begun else 0
        done = course.tokens // self._options.lanes + begun
        for name in ("updates", "longest_window", "steps"):
            require_count(f"state.{name}", saved[name], most=done)
        if self._options.update_every == "sequence":
            require_equal("state.steps", saved["steps"], begun)


def _next_multiple(every: int, tokens: int) -> int:
    return (tokens // every + 1) * every
