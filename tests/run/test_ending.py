"""Patience, a bound of time, and the best checkpoint: runs that end early and that are stopped."""

import itertools
from types import SimpleNamespace

import pytest

from snaprun.metrics import judged_by
from snaprun.run import checkpoint, loop
from snaprun.run.ending import Best
from snaprun.run.loop import Training
from snaprun.store import BEST, DIVERGED
from snaprun.tasks import Copy
from tests.run import test_resume
from tests.run.test_resume import assert_equal, broken, rows, same

EVERY = 200
LONG = 2600


@pytest.fixture
def launch(tmp_path):
    """Launch a run whose held-out loss goes up and down, in a folder of its own."""
    text = tmp_path / "text"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 9)
    own = {
        "task": "crops",
        "rule": "snap 1",
        "optimiser": "sgd",
        "tokens": LONG,
        "text": text,
        "engine": "auto",
    }

    def launch(name, monkeypatch=None, looks=0, **more):
        folder, choices = tmp_path / name / "run", own | {"eval_every": EVERY} | more
        if monkeypatch:
            with monkeypatch.context() as patch:
                return folder, broken(folder, patch, looks, **choices)[1]
        return folder, test_resume.launch(folder, **choices)

    return launch


def validations(folder):
    """Data-time and held-out loss of every validation that was due."""
    told = [row for row in rows(folder) if "validation_bpc" in row]
    return [(row["tokens"], row["validation_bpc"]) for row in told]


def test_patience_ends_a_run_after_so_many_validations_without_improvement(launch, monkeypatch):
    long, whole = launch("long")
    assert (whole.extras["ended_by"], whole.tokens) == ("tokens", LONG + 7)
    told = validations(long)
    for patience in (1, 2):
        since = [n - min(range(n + 1), key=lambda i: told[i][1]) for n in range(len(told))]
        ends = next(tokens for (tokens, _), n in zip(told, since, strict=True) if n == patience)
        folder, short = launch(f"patient{patience}", patience=patience)
        assert (short.extras["ended_by"], short.tokens) == ("patience", ends)
        assert ends < LONG
        before = [row for row in rows(long) if row["tokens"] <= ends]
        assert rows(folder)[: len(before)] == before
        stopped, _ = launch(f"stopped{patience}", monkeypatch, 150, patience=patience)
        assert_equal(folder, stopped)
        _, again = launch(f"patient{patience}", patience=patience)
        assert again.seconds == short.seconds  # it is done

    launch("patient1", patience=2)
    assert_equal(folder, long.parents[1] / "patient1" / "run")
    launch("patient1", patience=None)
    assert_equal(long, long.parents[1] / "patient1" / "run")


def test_the_clock_ends_a_run_and_a_longer_time_continues_it(launch, monkeypatch):
    long, _ = launch("long", tokens=600)
    ticks = itertools.count()
    clock = SimpleNamespace(perf_counter=lambda: float(next(ticks)), process_time=lambda: 0.0)
    monkeypatch.setattr(loop, "time", clock)
    folder, first = launch("timed", tokens=600, time="2m30s")
    assert first.extras["ended_by"] == "time"
    assert 150 <= first.seconds < 200
    assert 0 < first.tokens < 600
    assert rows(folder)[:5] == rows(long)[:5]
    _, again = launch("timed", tokens=600, time=150)
    assert again.seconds == first.seconds  # it is done
    _, second = launch("timed", tokens=600, time=first.seconds + 100)
    assert second.extras["ended_by"] == "time"
    assert first.tokens < second.tokens < 600
    launch("timed", tokens=600)
    assert_equal(long, folder)
    _, least = launch("least", tokens=600, time=1e-9)
    assert least.tokens == 33  # a batch


def test_the_best_network_is_that_of_the_best_validation(launch):
    folder, summary = launch("long")
    value, tokens = min((value, tokens) for tokens, value in validations(folder))
    assert summary.extras["best"] == {"metric": "validation_bpc", "value": value, "tokens": tokens}
    until, short = launch("until", tokens=tokens)
    assert short.tokens == tokens
    last, best = checkpoint.load(until), checkpoint.load(folder, BEST)
    same(best["engine"]["network"], last["engine"]["network"])
    assert best["course"] == {"tokens": tokens}
    assert set(best["engine"]) == {"network", "updates"}


@pytest.mark.parametrize("dies_in", ["_save", "_keep_best"])
def test_a_run_that_dies_at_its_best_keeps_no_best_of_a_future(dies_in, launch, monkeypatch):
    whole, _ = launch("whole")
    kept = getattr(Training, dies_in)
    died = set()

    class Died(Exception):
        pass

    def dies(self, *contents):
        if self.tokens not in died:  # once for each of its calls
            died.add(self.tokens)
            raise Died
        return kept(self, *contents)

    monkeypatch.setattr(Training, dies_in, dies)
    for _ in range(20):
        try:
            folder, _ = launch("dying")
            break
        except Died:
            folder = whole.parents[1] / "dying" / "run"
            last, best = checkpoint.load(folder), checkpoint.load(folder, BEST)
            if best is not None:
                assert best["course"]["tokens"] <= last["course"]["tokens"]
    assert len(died) > 4
    assert_equal(whole, folder)
    same(checkpoint.load(whole, BEST), checkpoint.load(folder, BEST))


def test_a_validation_at_which_the_run_diverges_is_not_its_best(launch, monkeypatch):
    """The loss improves, but another value is not finite: no checkpoint of this moment exists."""
    held_out = iter([(2.0, 1.0), (1.0, float("inf"))])

    def validate(*of):
        bpc, other = next(held_out)
        return {"validation_bpc": bpc, "other": other}

    monkeypatch.setattr(loop, "validate", validate)
    folder, summary = launch("diverged")
    assert summary.status == DIVERGED
    assert summary.extras["best"]["value"] == 2.0
    assert summary.extras["best"]["tokens"] == checkpoint.load(folder, BEST)["course"]["tokens"]


def test_an_equal_or_infinite_value_is_no_improvement():
    mastered = judged_by(Copy.declared, {"level", "mastered"})
    assert mastered is not None
    assert mastered.key == "mastered"
    best = Best()
    took = [best.take(mastered, {"mastered": x}, n) for n, x in enumerate((float("inf"), 2, 2, 3))]
    assert took == [False, True, False, True]
    assert Best.from_state_dict(best.state_dict(), 3) == best
    for wrong in ({"tokens": 4}, {"value": float("inf")}, {"metric": 3}, {"stale": -1}):
        with pytest.raises(ValueError, match="best"):
            Best.from_state_dict(best.state_dict() | wrong, 3)
