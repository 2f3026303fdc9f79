"""The sweeper of `snaprun search` stands here because Hydra looks for sweepers in this package."""

import dataclasses
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hydra_plugins.snaprun_launchers import Share, Spreader
from snaprun import config as configs
from snaprun import search
from snaprun.checks import UserError, refuse
from snaprun.identity import WHEREABOUTS, run_id
from snaprun.jobs import Session
from snaprun.outcome import Outcome, Status

if TYPE_CHECKING:  # Hydra imports this module for every command
    from snaprun.search.space import Dimension
    from snaprun.search.study import Study, Trial

_OWN = "search."  # the beginning of the search's own keys
_AGAIN = 2  # times that a trial is run whose process died or raised an error


class Searcher(Sweeper):
    """hydra/sweeper=search runs the trials of a search, in rounds of those drawn at once."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        assert isinstance(task_function, Session)
        self._session, self._context, self._config = task_function, hydra_context, config
        if task_function.command.name != "search":
            refuse("hydra/sweeper", "search", "basic", "It belongs to `snaprun search`.")
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[Any]:
        search.needed()
        from snaprun.search.study import Study, place

        launcher = self._launcher
        if not isinstance(launcher, Spreader):
            refuse("hydra.launcher", type(launcher).__name__, "one of snaprun's own")
        HydraConfig.instance().set_config(self._config)  # Hydra itself does so for jobs alone
        parser = OverridesParser.create(self._context.config_loader)
        overrides = parser.parse_overrides(arguments)
        space = [self._dimension(o) for o in overrides if o.is_sweep_override()]
        fixed = [o.input_line or "" for o in overrides if not o.is_sweep_override()]
        if not space:
            example = "'optim.lr=tag(log, interval(1e-4,1e-1))'"
            raise UserError(f"There is nothing to search: give a key several values, as {example}.")
        plain = self._composed([*fixed, *(d.word(d.first) for d in space)])
        group, plain = plain["search"], configs.of_run(plain)
        options = search.Options(**configs.arguments("search", search.Options, group))
        for key in ("restart", "dry"):
            if plain[key]:
                refuse(key, True, "false in a search", "`snaprun train` takes it.")
        root = configs.run_folder(plain).parent
        common = {"run": run_id(plain), "tokens": plain["train"]["tokens"]}
        folder = place(root, space, common, options)
        declared = lambda: configs.parts(plain).task.declared  # noqa: E731
        with Study(folder, space, options, declared) as study:
            hands = launcher.hands()
            at_once = options.parallel or hands.width
            normal = (Status.DIVERGED, Status.PRUNED)
            self._session.begin(options.trials, "trial", normal)
            for trial, outcome in study.ended():
                self._session.outcomes[trial.number] = study.name(trial), outcome
            first = len(self._session.outcomes)
            launcher.spread(hands, self._rounds(study, fixed, range(first, options.trials), at_once))
            self._session.end = _end(study, fixed, self._folder)
        return []

    def _dimension(self, override: Override) -> "Dimension":
        """Return the values of a key with several ones; raises UserError."""
        from snaprun.search.space import bare, choice, numbers

        key, values = override.get_key_element(), override.value()
        name = bare(key)
        if name.startswith(_OWN) or name in WHEREABOUTS:
            refuse(name, override.get_value_element_as_str(), "one value: it is no key of a run")
        if tags := {*getattr(values, "tags", ())} - {"log"}:
            refuse(f"{name}: tag", ", ".join(sorted(tags)), "log")
        log = "log" in getattr(values, "tags", ())
        if isinstance(values, IntervalSweep):
            assert values.start is not None and values.end is not None
            return numbers(key, values.start, values.end, log=log)
        if isinstance(values, RangeSweep):
            every = sorted(values.range()) or [0]
            kind = int if all(isinstance(value, int) for value in every) else float
            return numbers(key, kind(every[0]), kind(every[-1]), kind(abs(values.step)), log=log)
        if log:
            refuse(name, override.get_value_element_as_str(), "tag(log, …) of an interval or range")
        if getattr(values, "shuffle", False):
            override = dataclasses.replace(override, _value=dataclasses.replace(values, shuffle=False))
        return choice(key, [str(value) for value in override.sweep_string_iterator()])

    def _composed(self, words: list[str]) -> dict[str, Any]:
        """Return the resolved configuration of a trial; raises UserError if it is wrong."""
        try:
            composed = self._context.config_loader.load_sweep_config(self._config, words)
            own = [str(key) for key in composed if key != "hydra"]
            return configs.resolve(OmegaConf.masked_copy(composed, own))
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(configs.explanation(error, "search", words)) from error

    def _folder(self, words: list[str]) -> Path:
        return configs.run_folder(configs.of_run(self._composed(words)))

    def _rounds(
        self, study: "Study", fixed: Sequence[str], numbers: range, at_once: int
    ) -> Iterator[list[Share]]:
        """Yield the trials that are to run at once; told in order when all of them have ended."""
        outcomes = self._session.outcomes

        def share(trial: "Trial") -> Share:
            words = [*fixed, *study.words(trial.values)]
            keys = {"search.folder": str(study.folder), "search.trial": trial.number}
            return Share(trial.number, study.name(trial), words, keys)

        for begin in range(numbers.start // at_once * at_once, numbers.stop, at_once):
            drawn = range(max(begin, numbers.start), min(begin + at_once, numbers.stop))
            trials = [study.take(number) for number in drawn]
            left = [trial for trial in trials if trial.like is None]
            for _ in range(_AGAIN):
                if left:
                    yield [share(trial) for trial in left]
                left = [t for t in left if outcomes[t.number][1].status is Status.FAILED]
            for trial in trials:
                if trial.like is None:
                    study.tell(trial, outcomes[trial.number][1])
                else:
                    told = study.tell(trial, Outcome())
                    report = f"as trial #{trial.like}, which has the same values"
                    told = dataclasses.replace(told, report=report)
                    self._session.record(trial.number, study.name(trial), told)


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
    said = f"best: {study.metric.key} {best.value:.6g}, trial #{best.number}"
    return "\n".join([said, f"  {place(words)}", f"  {command}", *map(str, files)])
