"""Runs that diverge: where, however they are logged, stopped and cut, in either engine."""

import json
import math

import pytest
import torch

from snaprun.checks import UserError
from snaprun.cli import _main
from snaprun.losses import SoftmaxCrossEntropy
from snaprun.run import checkpoint
from snaprun.run.divergence import FACTOR, SHARE, STRETCH, WINDOW, Watch, non_finite
from snaprun.store import BLOW_UP, NON_FINITE
from tests.engine.engines import EITHER
from tests.run.test_resume import assert_equal, broken, launch, reseal, stopped

CHANCE, TOKENS = 3.0, 7  # bits, of a minibatch with one update and one target
LIMIT = FACTOR * CHANCE


def watched(bits, watch=None, start=0):
    """A watch that has seen a minibatch, with one update and one target, of each of `bits`."""
    watch = watch or Watch()
    for n, value in enumerate(bits, start=start + 1):
        watch.count(value, 1, chance=CHANCE, tokens=n * TOKENS, updates=n)
    return watch


def since(bits):
    """The token from which so many updates have blown up, or None."""
    found = watched(bits).verdict(len(bits), CHANCE, SoftmaxCrossEntropy())
    return found and found.at_token


def test_a_run_that_stays_above_has_blown_up_from_the_first_window_on():
    assert since([LIMIT] * 10 * STRETCH) == 0
    calm = [0.5 * LIMIT] * 12 * WINDOW
    assert since([*calm, *[LIMIT] * STRETCH]) == 12 * WINDOW * TOKENS
    # Lucky minibatches in between do not matter, the mean of a window does.
    assert since([*calm, *[0.0, 3 * LIMIT] * STRETCH]) == 12 * WINDOW * TOKENS


def test_a_run_that_recovers_has_not_however_late_and_however_far_it_was_off():
    for bits in ([1e30] * 50 * STRETCH, [LIMIT] * STRETCH):
        assert since(bits) == 0
        assert since([*bits, *[0.9 * LIMIT] * WINDOW]) is None
    # Nor one that ends during a spike.
    assert since([1.0] * 50 * STRETCH + [1e30] * (STRETCH - WINDOW)) is None
    short = 10 * WINDOW
    assert since([1.0] * (short - WINDOW) + [1e30] * WINDOW) == (short - WINDOW) * TOKENS
    assert math.ceil(SHARE * short) == WINDOW


def test_runs_too_short_for_a_window_are_judged_by_their_mean():
    assert since([LIMIT] * 3) == 0
    assert since([LIMIT, 0.0, LIMIT]) is None
    assert Watch().verdict(0, CHANCE, SoftmaxCrossEntropy()) is None
    nothing = Watch()
    nothing.count(0.0, 0, chance=CHANCE, tokens=9, updates=0)
    assert nothing.verdict(0, CHANCE, SoftmaxCrossEntropy()) is None


def test_a_watch_goes_on_from_a_checkpoint():
    bits = [1.0] * (3 * WINDOW + 5) + [LIMIT] * STRETCH
    for cut in (1, WINDOW - 1, WINDOW, 3 * WINDOW + 20, len(bits) - 1):
        saved = json.loads(json.dumps(watched(bits[:cut]).state_dict()))
        watch = Watch.from_state_dict(saved, cut * TOKENS, cut)
        assert watched(bits[cut:], watch, cut) == watched(bits)


def test_a_checkpoint_keeps_the_names_of_its_first_version():
    names = ["begun_at", "begun_updates", "bits", "targets", "calm_at", "calm_updates"]
    assert list(watched([1.5]).state_dict()) == names
    assert watched([1.5]).state_dict()["bits"] == 1.5


@pytest.mark.parametrize(
    "damage",
    [
        {"bits": math.nan},
        {"bits": -1.0},
        {"begun_at": 1.0},
        {"begun_at": 91},
        {"calm_updates": 1},
        {"targets": "x"},
        {"more": 1},
    ],
)
def test_what_is_no_watch_is_refused(damage):
    with pytest.raises(ValueError, match="watch"):
        Watch.from_state_dict(Watch().state_dict() | damage, 90, 9)
    with pytest.raises(ValueError, match="watch"):
        Watch.from_state_dict(list(damage), 90, 9)


def test_the_first_number_that_is_none_is_named():
    nats_TB = torch.ones(4, 3, dtype=torch.float64)
    assert non_finite(nats_TB, 12.0, True, 100) is None
    found = non_finite(nats_TB, 12.0, False, 100)
    assert (found.at_token, found.by) == (112, NON_FINITE)
    for bad in (math.nan, math.inf):
        nats_TB[2, 1] = bad
        found = non_finite(nats_TB, bad, True, 100)
        assert (found.at_token, found.by) == (107, NON_FINITE)
    # Each of these is a number, their sum is none.
    assert (
        non_finite(torch.full((4, 3), 1e308, dtype=torch.float64), math.inf, True, 0).at_token == 1
    )


# The first update of a float32 network overflows, long before the first target of the next
# sequence, so that a loss shows it late.
OVERFLOW = {"optimiser": "infinite", "every": "sequence", "dtype": "float32", "tokens": 3000}


@pytest.mark.parametrize("engine", EITHER)
def test_parameters_are_looked_at_after_every_minibatch(engine, tmp_path, monkeypatch):
    found = []
    for every in (1, 7, 1000):
        choices = {**OVERFLOW, "engine": engine, "log_every": every}
        found.append(launch(tmp_path / f"{every}" / "run", **choices))
    stops, last = broken(tmp_path / "broken" / "run", monkeypatch, 1, **choices)
    assert stops
    for summary in (*found, last):
        assert summary.status == "diverged"
        assert summary.tokens == summary.extras["diverged_at_token"] == 3 * 3  # of one sequence
        assert summary.extras["diverged_by"] == NON_FINITE
        assert "parameter" in summary.extras["diverged_because"]


WILD = {"optimiser": "wild", "rule": "snap 1", "tokens": 400}


@pytest.mark.parametrize("engine", EITHER)
@pytest.mark.parametrize("every", [1, "sequence"])
def test_a_run_that_has_blown_up_is_diverged_at_its_end(engine, every, tmp_path, monkeypatch):
    choices = {**WILD, "engine": engine, "every": every}
    found = [
        launch(tmp_path / f"{log_every}" / "run", **choices, log_every=log_every)
        for log_every in (1, 7, 1000)
    ]
    for tokens in (100, 250, 400):
        cut = launch(tmp_path / "cut" / "run", **{**choices, "tokens": tokens})
        assert tokens <= cut.tokens < tokens + 60
    _, stopped = broken(tmp_path / "broken" / "run", monkeypatch, 9, **choices)
    for summary in (*found, stopped, cut):
        assert summary.status == "diverged"
        assert 400 <= summary.tokens == found[0].tokens
        assert summary.extras["diverged_at_token"] == 0
        assert summary.extras["diverged_by"] == BLOW_UP
        assert 1e3 < summary.metrics["bpc"] < math.inf


def test_the_command_tells_which_it_was(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = ["train", "cell.units=6", "readout.hidden=5", "train.lanes=3", "optim=sgd"]
    for rate, words in (("1e10", "bpc stayed above 8 bits"), ("1e300", "became non-finite")):
        run = [*small, f"optim.lr={rate}", "train.tokens=400"]
        for _ in range(2):  # the second one is skipped
            assert _main(run) == 1
            (line,) = (x for x in capsys.readouterr().err.splitlines() if "optim.lr" in x)
            assert words in line
            assert "token 0 with" in line or rate == "1e300"


@pytest.mark.parametrize("engine", EITHER)
def test_one_that_has_blown_up_goes_further_as_if_it_had_not_ended(engine, tmp_path):
    choices = {**WILD, "engine": engine}
    for tokens in (200, 400):
        launch(tmp_path / "raised" / "run", **{**choices, "tokens": tokens})
    launch(tmp_path / "whole" / "run", **choices)
    assert_equal(tmp_path / "raised" / "run", tmp_path / "whole" / "run")
    # One whose numbers are none does not.
    ended = launch(tmp_path / "ended" / "run", **OVERFLOW, engine=engine)
    again = launch(tmp_path / "ended" / "run", **{**OVERFLOW, "tokens": 9000}, engine=engine)
    assert again.tokens == ended.tokens


def test_a_run_of_an_earlier_version_is_watched_from_its_checkpoint_on(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    stopped(folder, monkeypatch, **WILD)
    saved = checkpoint.load(folder)
    at = saved["course"]["tokens"]
    assert at
    del saved["watch"]
    reseal(folder, saved)
    summary = launch(folder, **WILD)
    assert (summary.status, summary.extras["diverged_at_token"]) == ("diverged", at)
    saved["watch"] = {"bits": 3.0}
    reseal(folder, saved)
    (folder / "summary.json").unlink()
    with pytest.raises(UserError, match="watch"):
        launch(folder, **WILD)
