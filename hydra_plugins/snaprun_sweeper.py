"""The sweeper of `snaprun search` is here because Hydra looks for sweepers in this package."""

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.errors import MissingConfigException
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.snaprun_launchers import Share, Spreader
from snaprun import config as configs
from snaprun import search
from snaprun.checks import Stopped, UserError, refuse
from snaprun.explain import WRONG, explanation
from snaprun.identity import EXTENT, WHEREABOUTS, run_id
from snaprun.jobs import Session
from snaprun.metrics import AVERAGE, Metric
from snaprun.outcome import Outcome, Status

if TYPE_CHECKING:  # Hydra imports this module for every command
    from snaprun.search.space import Dimension
    from snaprun.search.study import Study, Trial

_OWN = "search."  # the beginning of the search's own keys
_AGAIN = 2  # times that a trial is run whose process died, was stopped or raised an error


class Searcher(Sweeper):
    """hydra/sweeper=search runs the trials of a search, in rounds of those drawn at once."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what Hydra hands over; raises UserError in another command."""
        assert isinstance(task_function, Session)
        self._session, self._context, self._config = task_function, hydra_context, config
        if task_function.command.name != "search":
            refuse("hydra/sweeper", "search", "basic", "It belongs to `snaprun search`.")
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[Any]:
        """Run the trials that are left; raises UserError for a mistake in the words."""
        search.needed()
        from snaprun.search.study import Study, place
        from snaprun.store.extent import Extent

        launcher = self._launcher
        if not isinstance(launcher, Spreader):
            refuse("hydra.launcher", type(launcher).__name__, "one of snaprun's own")
        HydraConfig.instance().set_config(self._config)  # Hydra itself does so for jobs alone
        parser = OverridesParser.create(self._context.config_loader)
        parsed = parser.parse_overrides(arguments)
        overrides = {o.get_key_element(): o for o in parsed}.values()  # the last of a key counts
        space = [_dimension(o) for o in overrides if o.is_sweep_override()]
        fixed = [_fixed(o) for o in overrides if not o.is_sweep_override()]
        self._require_choices(space, fixed)
        plain = self._composed([*fixed, *(d.word(d.first) for d in space)])
        options, plain = configs.search(plain), configs.of_run(plain)
        if not space:
            example = "'optim.lr=tag(log, interval(1e-4,1e-1))'"
            raise UserError(f"There is nothing to search: give a key several values, as {example}.")
        for key in ("restart", "dry"):
            if plain[key]:
                refuse(key, True, "false in a search", "`snaprun train` takes it.")
        root = configs.run_folder(plain).parent
        # The name of a run leaves its bounds out.
        bounds = {bound.name: plain["train"][bound.name] for bound in fields(Extent)}
        given = {key: value for key, value in bounds.items() if value is not None}
        common = {"run": run_id(plain), **given}
        folder = place(root, space, common, options)
        with Study(folder, space, options, partial(_metrics, plain)) as study:
            rounds = partial(self._rounds, study, options, fixed)
            if study.done:
                next(rounds(1), None)  # no job is left for workers
            else:
                launcher.spread(rounds)
            self._session.end = _end(study, fixed, self._folder)
        return []

    def _composed(self, words: list[str]) -> dict[str, Any]:
        """Return the resolved configuration of a trial; raises UserError if it is wrong."""
        try:
            composed = self._context.config_loader.load_sweep_config(self._config, words)
            own = [str(key) for key in composed if key != "hydra"]
            return configs.resolve(OmegaConf.masked_copy(composed, own))
        except WRONG as error:
            raise UserError(explanation(error, "search", words)) from error

    def _require_choices(self, space: Sequence["Dimension"], fixed: Sequence[str]) -> None:
        """Raise UserError if a searched group has no YAML file of one of its choices."""
        for dimension in space:
            group = dimension.key.lstrip("+").partition("@")[0]
            if not self._context.config_loader.get_group_options(group):
                continue
            for value in getattr(dimension.values, "choices", ()):
                try:
                    self._composed([*fixed, dimension.word(value)])
                except UserError as error:  # another mistake may be none beside other values
                    if isinstance(error.__cause__, MissingConfigException):
                        raise

    def _folder(self, words: list[str]) -> Path:
        return configs.run_folder(configs.of_run(self._composed(words)))

    def _rounds(
        self, study: "Study", options: search.Options, fixed: Sequence[str], width: int
    ) -> Iterator[list[Share]]:
        """Yield the trials that are to run at once; told in order when all of them have ended."""
        session, at_once = self._session, options.parallel or width
        session.begin(options.trials, "trial", (Status.DIVERGED, Status.PRUNED))
        for trial, outcome in study.ended():
            session.outcomes[trial.number] = study.name(trial), outcome
        first = len(session.outcomes)
        for begin in range(first // at_once * at_once, options.trials, at_once):
            end = min(begin + at_once, options.trials)
            trials = [study.take(number) for number in range(max(begin, first), end)]
            left = [trial for trial in trials if trial.like is None]
            for _ in range(_AGAIN):
                if left:
                    yield [_share(study, fixed, trial) for trial in left]
                ends = session.outcomes
                again = (Status.FAILED, Status.STOPPED)
                left = [t for t in left if ends[t.number][1].status in again]
            for trial in trials:
                if trial.like is None:
                    outcome = session.outcomes[trial.number][1]
                    if outcome.status is Status.STOPPED:  # its checkpoint waits for another launch
                        raise Stopped(outcome.signum)
                    study.tell(trial, outcome)
                    continue
                told = study.tell(trial, Outcome())
                report = f"as trial #{trial.like}, which has the same values"
                session.record(trial.number, study.name(trial), replace(told, report=report))


def _share(study: "Study", fixed: Sequence[str], trial: "Trial") -> Share:
    """Return the job that runs a trial."""
    words = [*fixed, *study.words(trial.values)]
    keys = {"search.folder": str(study.folder), "search.trial": trial.number}
    return Share(trial.number, study.name(trial), words, keys)


def _metrics(plain: Mapping[str, Any]) -> list[Metric]:
    """Return the metrics that a run has.

    Those of held-out data only if the task holds out data, and those of averaged weights only if
    the run keeps an average.
    """
    from snaprun.run.ending import held_out

    parts = configs.parts(plain)
    parts.task.prepare(parts.options.lanes)
    found = held_out(parts.task, parts.options)
    own = {metric.key: metric for metric in parts.task.declared}
    current = [
        metric
        for key, metric in own.items()
        if not key.endswith(AVERAGE) and (metric.every == "log_every" or key in found)
    ]
    if parts.options.average is None:
        return current
    averaged = (metric.averaged() for metric in current)
    return [*current, *(own.get(metric.key, metric) for metric in averaged)]


def _fixed(override: Override) -> str:
    """Return the word of a key with one value; raises UserError if several were meant."""
    value = override.value()
    if isinstance(value, str) and re.match(r"(tag|interval|range|choice)\(", value):
        key = override.get_key_element()
        remedy = f"Put the quotes around the whole of it: '{key}={value}'."
        refuse(key, value, "values without quotes of their own", remedy)
    return override.input_line or ""


def _dimension(override: Override) -> "Dimension":
    """Return the values of a key with several ones; raises UserError."""
    from snaprun.search.space import choice, numbers

    key, values = override.get_key_element(), override.value()
    written = (override.input_line or "").partition("=")[2]
    if key.startswith(_OWN) or key in (*WHEREABOUTS, *EXTENT):
        refuse(key, written, "one value, because another value would not make another run")
    tags = getattr(values, "tags", set())
    if unknown := sorted(tags - {"log"}):
        refuse(key, written, "no tag but log", f"Remove {', '.join(unknown)}.")
    log = "log" in tags
    if isinstance(values, IntervalSweep):
        assert values.start is not None
        assert values.end is not None
        return numbers(key, values.start, values.end, None, log, written)
    if isinstance(values, RangeSweep):
        every = sorted(values.range()) or [0]
        kind = int if isinstance(every[0], int) else float
        ends = kind(every[0]), kind(every[-1])
        return numbers(key, *ends, kind(abs(values.step)), log, written)
    if log:
        refuse(key, written, "tag(log, …) of an interval or a range")
    if isinstance(values, ChoiceSweep):
        values.shuffle = False  # else the same command would be another search
    return choice(key, [str(value) for value in override.sweep_string_iterator()], written)


def _end(study: "Study", fixed: Sequence[str], place: Callable[[list[str]], Path]) -> str:
    """Return the best run, its command and the files of the figure."""
    from snaprun import figures

    best = study.best()
    if best is None:
        return "No trial has reached its end with a value."
    own = [word for word in fixed if not word.lstrip("+~").startswith(_OWN)]
    words = [*own, *study.words(best.params)]
    scales = {dimension.key: dimension.scale for dimension in study.space}
    files = figures.searched(study.table(), study.metric, scales, study.folder)
    command = shlex.join(["snaprun", "train", *words, *configs.search_path()])
    said = f"best: {study.metric.key} {best.value:.6g} of trial #{best.number}"
    return "\n".join([said, f"  {place(words)}", f"  {command}", *map(str, files)])
