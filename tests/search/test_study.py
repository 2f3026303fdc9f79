"""A study draws what Optuna itself draws, whether or not it is closed and opened in between."""

import math
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.trial import TrialState

from snaprun.checks import UserError
from snaprun.metrics import Metric
from snaprun.outcome import Outcome, Score, Status
from snaprun.search import Options
from snaprun.search.reports import Reports
from snaprun.search.space import Dimension
from snaprun.search.study import Study, place

SPACE = [
    Dimension("optim.lr", FloatDistribution(1e-4, 1.0, log=True)),
    Dimension("cell.units", IntDistribution(4, 64)),
    Dimension("rule", CategoricalDistribution(["snap1", "snap2", "bptt"])),
]
LOSS = Metric("loss", "loss", "", better=-1, worst=1e3)
ACCURACY = Metric("accuracy", "accuracy", "%", better=1, worst=0.0)
TRIALS = 24


def bowl(values) -> float:
    away = math.log10(values["optim.lr"] / 0.02) ** 2 + (values["cell.units"] / 64 - 0.5) ** 2
    return away + {"snap1": 0.3, "snap2": 0.0, "bptt": 1.0}[values["rule"]]


def opened(folder: Path, metric=LOSS, space=SPACE, **options) -> Study:
    return Study(folder, space, Options(**options), lambda: [metric])


def done(value: float, metric=LOSS) -> Outcome:
    return Outcome(Status.DONE, score=Score(metric.key, value, metric.better))


def sampler(seed: int, number: int) -> TPESampler:
    return TPESampler(seed=int(np.random.SeedSequence([seed, number]).generate_state(1)[0]))


@pytest.fixture(scope="module")
def direct() -> list:
    """What Optuna finds by itself."""
    study = optuna.create_study(direction="minimize")
    for number in range(TRIALS):
        study.sampler = sampler(3, number)
        trial = study.ask({one.key: one.values for one in SPACE})
        study.tell(trial, bowl(trial.params))
    return study.trials


@pytest.mark.parametrize("closed", ["never", "before each trial", "while each runs"])
def test_the_trials_are_those_that_optuna_draws(closed, direct, tmp_path):
    study = opened(tmp_path / "s", seed=3, trials=TRIALS)
    for number in range(TRIALS):
        if closed == "before each trial":
            study.__exit__()
            study = opened(tmp_path / "s", seed=3, trials=TRIALS)
        trial = study.take(number)
        if closed == "while each runs":
            study.__exit__()
            study = opened(tmp_path / "s", seed=3, trials=TRIALS)
            assert study.take(number) == trial
        study.tell(trial, done(bowl(trial.values)))
    with study:
        assert [t.params for t in study.trials] == [t.params for t in direct]
        assert [t.value for t in study.trials] == [t.value for t in direct]
        best = study.best()
        assert best
        assert best.value == min(t.value for t in direct)
        assert study.done


def test_trials_at_once_avoid_each_other_and_are_drawn_again_alike(tmp_path):
    """The sampler takes those that run for bad ones, as Optuna does by itself."""
    drawn = []
    for name in "ab":
        with opened(tmp_path / name) as study:
            for begin in range(0, 20, 4):
                for trial in [study.take(number) for number in range(begin, begin + 4)]:
                    study.tell(trial, done(bowl(trial.values)))
            drawn.append([t.params for t in study.trials])
    assert drawn[0] == drawn[1]


def test_ends_are_told_as_optuna_users_expect(tmp_path):
    ends = [
        done(0.5, ACCURACY),
        Outcome(Status.DIVERGED),
        Outcome(Status.PRUNED),
        Outcome(Status.FAILED),
        Outcome(Status.REFUSED),
        done(math.nan, ACCURACY),
        done(0.7, ACCURACY),
    ]
    with opened(tmp_path / "s", ACCURACY, trials=len(ends)) as study:
        for number, end in enumerate(ends):
            study.tell(study.take(number), end)
        states = [t.state for t in study.trials]
        fail = TrialState.FAIL
        complete = TrialState.COMPLETE
        assert states == [complete, complete, TrialState.PRUNED, fail, fail, fail, complete]
        assert study.trials[1].value == ACCURACY.worst
        table = study.table()
        failed = ["failed"] * 3
        assert table["end"].tolist() == ["done", "diverged", "pruned", *failed, "done"]
        assert study.best().number == 6
        assert next(outcome.status for _, outcome in study.ended()) is Status.SKIPPED


def test_a_trial_with_the_values_of_an_earlier_one_has_its_end(tmp_path):
    space = [Dimension("rule", CategoricalDistribution(["snap1", "snap2"]))]
    with opened(tmp_path / "s", space=space, trials=6) as study:
        own = {"snap1": done(1.0), "snap2": Outcome(Status.PRUNED)}
        for number in range(6):
            trial = study.take(number)
            assert (trial.like is None) == (
                trial.values not in [t.params for t in study.trials[:number]]
            )
            if trial.like is None:
                if trial.values["rule"] == "snap2":
                    reports = Reports(tmp_path / "s", number, "none", 9)
                    reports(4, {"loss": 3.5})
                study.tell(trial, own[trial.values["rule"]])
            else:
                study.tell(trial, Outcome())
        ends = {(t.params["rule"], t.state, t.value) for t in study.trials}
        pruned = ("snap2", TrialState.PRUNED, 3.5)
        assert ends == {("snap1", TrialState.COMPLETE, 1.0), pruned}


def test_one_process_at_a_time_leads_a_search(tmp_path):
    with (
        opened(tmp_path / "s"),
        pytest.raises(UserError, match="that no other process writes"),
    ):
        opened(tmp_path / "s")
    opened(tmp_path / "s").__exit__()


def test_an_unknown_metric_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match=r"search\.metric='los' .*Did you mean loss\?"):
        Study(tmp_path / "s", SPACE, Options(metric="los"), lambda: [LOSS])
    assert not list(tmp_path.iterdir())


def test_what_makes_another_search(tmp_path):
    def name(space=SPACE, fixed="run", **options) -> str:
        return place(tmp_path, space, {"run": fixed}, Options(**options)).name

    other = {
        name(space=SPACE[:2]),
        name(fixed="other"),
        name(seed=1),
        name(metric="loss"),
        name(pruner="none"),
    }
    assert len(other | {name()}) == 6
    assert name(trials=99, parallel=3) == name()


VALUES = [[5.0, 4.0, 3.0, 1.0], [6.0, 3.5, 2.0, 2.0], [9.0, 9.0, 9.0, 9.0]]
CURVES = [VALUES[k % 3] if k % 4 else [x + k for x in VALUES[0]] for k in range(16)]


@pytest.mark.parametrize("name", ["median", "hyperband"])
@pytest.mark.parametrize("killed", [False, True])
def test_the_pruner_ends_what_it_ends_by_itself(name, killed, tmp_path, monkeypatch):
    """Also where a process was killed while it reported, and every report is repeated."""
    own = optuna.create_study(
        study_name="s",  # which Hyperband's brackets depend on
        pruner=optuna.pruners.MedianPruner()
        if name == "median"
        else optuna.pruners.HyperbandPruner(1, len(CURVES[0])),
    )
    expected, found = [], []
    for curve in CURVES:
        trial = own.ask()
        stop = None
        for step, value in enumerate(curve, 1):
            trial.report(value, step)
            if trial.should_prune():
                stop = step
                break
        expected.append(stop)
        own.tell(trial, None if stop else curve[-1], TrialState.PRUNED if stop else None)
    assert None in expected
    assert any(expected)

    class Killed(BaseException):
        pass

    def die(self, logs):
        raise Killed

    with opened(tmp_path / "s", trials=99) as study:
        for number, curve in enumerate(CURVES):
            trial = study.take(number)
            stop = None
            for step, value in enumerate(curve, 1):
                reports = Reports(tmp_path / "s", number, name, len(curve))
                if killed:
                    monkeypatch.setattr(type(reports._journal), "append_logs", die)
                    with pytest.raises(Killed):
                        reports(step, {"loss": value})
                    monkeypatch.undo()
                    reports = Reports(tmp_path / "s", number, name, len(curve))
                if reports(step, {"loss": value}):
                    stop = step
                    assert Reports(tmp_path / "s", number, name, len(curve)).pruned
                    break
                assert not reports.pruned
                assert not any(reports(again, {"loss": 1e9}) for again in range(1, step + 1))
            found.append(stop)
            study.tell(trial, Outcome(Status.PRUNED) if stop else done(curve[-1]))
            reported = study.trials[number].intermediate_values
            assert list(reported.values()) == curve[: stop or len(curve)]
    assert found == expected
