"""A study draws the trials of a search and remembers how they ended.

A trial enters the journal in one line, with its parameters; a launch that was killed leaves trials
without an end, which the next launch takes up. What the sampler draws for a trial depends on
the seed, the number of the trial and the ends of those before it, and so is the same when a search
was killed and launched again.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.distributions import distribution_to_json
from optuna.samplers import TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from snaprun.checks import one_of
from snaprun.files import writing
from snaprun.metrics import Metric, from_json, judged_by
from snaprun.outcome import Outcome, Score, Status
from snaprun.search.journal import JOURNAL, opened
from snaprun.search.options import Options
from snaprun.search.space import Dimension
from snaprun.store.lock import Lock

if TYPE_CHECKING:
    import pandas as pd

optuna.logging.set_verbosity(optuna.logging.WARNING)

_METRIC, _DIVERGED = "metric", "diverged"  # attributes of the study, of a trial


def place(
    root: Path, space: Sequence[Dimension], fixed: Mapping[str, Any], options: Options
) -> Path:
    """Return the folder of a search under `root`; another search has another folder.

    `fixed` tells all that the runs have in common.
    """
    what = {
        "space": {d.key: distribution_to_json(d.values) for d in space},
        "metric": options.metric,
        "pruner": options.pruner,
        "seed": options.seed,
        **fixed,
    }
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]
    return root / f"search-{digest}"


@dataclass(frozen=True)
class Trial:
    """One trial: its number and its values by key; `like` is an earlier trial with the same."""

    number: int
    values: Mapping[str, Any]
    like: int | None = None


class Study:
    """The trials of the search in `folder`, which one process at a time may lead.

    `declared` returns the metrics that trials may have; it is called for a new search alone.
    Raises UserError if another process leads the search, its journal is damaged, or
    `options.metric` is no metric of the task.
    """

    def __init__(
        self,
        folder: Path,
        space: Sequence[Dimension],
        options: Options,
        declared: Callable[[], Sequence[Metric]],
    ) -> None:
        self.folder, self.space = folder, space
        self._options = options
        metric = None if (folder / JOURNAL).exists() else objective(declared(), options.metric)
        self._lock = Lock(folder)
        try:
            with writing(folder), self._lock.enter().file(JOURNAL, "ab"):
                pass  # the journal exists now, and is a file of its own
            self._storage, _ = opened(folder)
            known = self._storage.get_all_studies()
            if not (known and _METRIC in known[0].user_attrs):
                metric = metric or objective(declared(), options.metric)
                # A launch that was killed may have made the study without its attribute.
                made = optuna.create_study(
                    storage=self._storage,
                    study_name=folder.name,
                    direction=_direction(metric),
                    load_if_exists=True,
                )
                made.set_user_attr(_METRIC, metric.to_json())
            self._study = optuna.load_study(study_name=folder.name, storage=self._storage)
            self.metric = metric_of(self._study)
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> "Study":
        return self

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials so far, by number."""
        return self._study.get_trials(deepcopy=False)

    @property
    def done(self) -> bool:
        """Whether no trial is left."""
        return len([*self.ended()]) == self._options.trials

    def ended(self) -> Iterator[tuple[Trial, Outcome]]:
        """Yield the trials that have ended, up to the first that has not, and how."""
        for trial in self.trials[: self._options.trials]:
            if not trial.state.is_finished():
                return
            yield Trial(trial.number, trial.params), self.outcome(trial)

    def take(self, number: int) -> Trial:
        """Return trial `number`, drawn now unless an earlier launch did."""
        trials = self.trials
        if number == len(trials):
            trials = [*trials, self._drawn(number, trials)]
        params = trials[number].params
        alike = (trial.number for trial in trials[:number] if trial.params == params)
        return Trial(number, params, next(alike, None))

    def _drawn(self, number: int, before: Sequence[FrozenTrial]) -> FrozenTrial:
        """Draw trial `number` outside the journal, then write it there in one line."""
        seed = np.random.SeedSequence([self._options.seed, number]).generate_state(1)
        draft = optuna.create_study(
            sampler=TPESampler(seed=int(seed[0])), direction=_direction(self.metric)
        )
        draft.add_trials(before)
        space = {dimension.key: dimension.values for dimension in self.space}
        params = draft.ask(space).params
        drawn = create_trial(state=TrialState.RUNNING, params=params, distributions=space)
        self._study.add_trial(drawn)
        return drawn

    def tell(self, trial: Trial, outcome: Outcome) -> Outcome:
        """Write how a trial ended, unless that is written; return it with the value it counts as.

        A run that diverged counts as the worst value of the metric.
        """
        number = trial.number
        if self.trials[number].state.is_finished():
            return outcome
        if trial.like is not None:
            outcome = self._repeated(number, self.trials[trial.like])
        elif outcome.status is Status.DIVERGED:
            self._storage.set_trial_user_attr(self._id(number), _DIVERGED, True)
        value = self.metric.worst if outcome.status is Status.DIVERGED else None
        if outcome.status in (Status.DONE, Status.SKIPPED) and outcome.score:
            value = outcome.score.value
        if value is not None and math.isfinite(value):
            self._study.tell(number, value)
        else:
            pruned = outcome.status is Status.PRUNED
            self._study.tell(number, state=TrialState.PRUNED if pruned else TrialState.FAIL)
        return outcome

    def _repeated(self, number: int, like: FrozenTrial) -> Outcome:
        """Give a trial the reports and the mark of an earlier one with the same values."""
        for step, value in like.intermediate_values.items():
            self._storage.set_trial_intermediate_value(self._id(number), step, value)
        if _DIVERGED in like.user_attrs:
            self._storage.set_trial_user_attr(self._id(number), _DIVERGED, True)
        return self.outcome(like)

    def _id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study._study_id, number)

    def outcome(self, trial: FrozenTrial) -> Outcome:
        """Return how a trial that has ended did so."""
        if trial.state == TrialState.COMPLETE and _DIVERGED not in trial.user_attrs:
            assert trial.value is not None
            score = Score(self.metric.key, trial.value, self.metric.better)
            return Outcome(Status.SKIPPED, score=score)
        if trial.state == TrialState.COMPLETE:
            return Outcome(Status.DIVERGED)
        if trial.state == TrialState.PRUNED:
            return Outcome(Status.PRUNED)
        return Outcome(Status.FAILED, problem="the run with these values failed")

    def best(self) -> FrozenTrial | None:
        """Return the best trial that neither diverged nor was pruned, of equals the first."""
        done = [t for t in self.trials if t.state.is_finished() and self.outcome(t).score]
        return max(done, key=lambda t: (t.value or 0.0) * self.metric.better, default=None)

    def name(self, trial: Trial) -> str:
        """Return a trial in words, its numbers rounded."""
        words = (dimension.word(trial.values[dimension.key], 4) for dimension in self.space)
        return " ".join([f"#{trial.number}", *words])

    def words(self, values: Mapping[str, Any]) -> list[str]:
        """Return the values of a trial as on the command line."""
        return [dimension.word(values[dimension.key]) for dimension in self.space]

    def table(self) -> "pd.DataFrame":
        """Return of each trial that has ended the number, the end, the value and the parameters."""
        import pandas as pd

        ended = [trial for trial in self.trials if trial.state.is_finished()]
        ends = [self.outcome(trial).status for trial in ended]
        found: dict[str, list[Any]] = {
            "trial": [trial.number for trial in ended],
            "end": [str(Status.DONE if end is Status.SKIPPED else end) for end in ends],
            "value": [trial.value for trial in ended],
        }
        own = {d.key: [trial.params[d.key] for trial in ended] for d in self.space}
        return pd.DataFrame(found | own).astype({"value": "float64"})


def metric_of(study: optuna.Study) -> Metric:
    """Return the metric by which a study judges its trials."""
    return from_json([study.user_attrs[_METRIC]])[0]


def objective(declared: Sequence[Metric], key: str | None) -> Metric:
    """Return the metric called `key`, or else the one that judges networks; raises UserError."""
    known = {metric.key: metric for metric in declared}
    if key is None:
        return judged_by(declared, known) or declared[0]
    return known[one_of("search.metric", key, known)]


def _direction(metric: Metric) -> StudyDirection:
    return StudyDirection.MAXIMIZE if metric.better > 0 else StudyDirection.MINIMIZE
