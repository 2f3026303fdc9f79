"""snaprun search from the outside: its trials, its end, pauses and mistakes."""

import json
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import optuna
import pandas as pd
import pytest

from snaprun import figures, workers
from snaprun.checks import Stopped
from snaprun.cli import _main
from snaprun.commands import train
from snaprun.search.journal import JOURNAL, opened
from snaprun.store import RunWriter
from snaprun.workers import Here
from tests.run.test_resume import rows
from tests.test_sweeps import metrics

SMALL = ["cell.units=8", "readout.hidden=5", "train.lanes=3", "dtype=float64"]
SMALL += ["train.tokens=2000", "train.eval_every=400", "train.eval_tokens=200"]
RATE = "optim.lr=tag(log, interval(1e-4,1e-1))"
RULE = "rule=choice(snap1,frozen)"


def search(capfd, *words: str) -> tuple[int, list[str], str]:
    """Exit code, lines on stdout, text on stderr."""
    code = _main(["search", *SMALL, "search.metric=bpc", *words])
    out, err = capfd.readouterr()
    return code, out.splitlines(), err


def trials(root: Path) -> list[tuple]:
    """Number, parameters, end, value and reports of each trial."""
    (journal,) = root.glob(f"*/search-*/{JOURNAL}")
    storage, _ = opened(journal.parent)
    study = optuna.load_study(study_name=journal.parent.name, storage=storage)
    return [
        (t.number, t.params, t.state.name, t.value, t.intermediate_values) for t in study.trials
    ]


@pytest.fixture(autouse=True)
def quick(request, monkeypatch):
    """Draw no figure but in the test of it, because it takes as long as eight trials."""
    if "figure" not in request.node.name:
        monkeypatch.setattr(figures, "searched", lambda *of: [])


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The results of a search that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(figures, "searched", lambda *of: [])
        assert _main(["search", *SMALL, "search.metric=bpc", RATE, RULE, "search.trials=8"]) == 0
    return folder / "results"


def test_a_search_ends_with_the_best_run_its_command_and_a_figure(here, whole, capfd):
    code, out, err = search(capfd, RATE, RULE, "search.trials=8")
    assert (code, err) == (0, "")
    found = trials(whole)
    assert trials(here / "results") == found
    assert {end for _, _, end, *_ in found} == {"COMPLETE", "PRUNED"}
    number, params, _, value, _ = min((t for t in found if t[2] == "COMPLETE"), key=lambda t: t[3])
    told, folder, command, *files = out[-6:]
    assert told == f"best: bpc {value:.6g} of trial #{number}"
    summary = json.loads((here / folder.strip() / "summary.json").read_text())
    assert summary["metrics"]["bpc"] == value
    words = command.split()
    assert words[:2] == ["snaprun", "train"]
    assert words[2 : 2 + len(SMALL)] == SMALL
    assert words[2 + len(SMALL) :] == [f"{key}={value}" for key, value in params.items()]
    assert _main(words[1:]) == 0
    assert f"{folder.strip()}: finished already" in capfd.readouterr().out
    assert all((here / file).stat().st_size > 1000 for file in files[:2])
    table = pd.read_csv(files[2])
    assert table["value"].tolist() == [t[3] for t in found]
    assert [*table] == ["trial", "end", "value", "optim.lr", "rule"]
    stands = [line.split("  ")[:2] for line in out if line.startswith("trial ")]
    assert stands[4] == [
        "trial 5/8",
        f"#4 optim.lr={found[4][1]['optim.lr']:.4g} rule={found[4][1]['rule']}",
    ]


def test_more_trials_go_on_where_fewer_ended(here, whole, capfd):
    for count, said in ((4, "4 trials: 4 done, 0 skipped"), (8, "4 skipped")):
        code, out, _ = search(capfd, RATE, RULE, f"search.trials={count}")
        assert code == 0
        assert any(said in line for line in out)
    assert trials(here / "results") == trials(whole)
    code, out, _ = search(capfd, RATE, RULE, "search.trials=8")
    assert code == 0
    assert out[0].startswith("8 trials: 0 done, ")


def test_a_search_that_is_killed_goes_on_with_the_same_trials(here, whole, capfd, monkeypatch):
    """The process is gone in the middle of the sixth run, right after a report."""

    class Killed(BaseException):
        pass

    from snaprun.search.reports import Reports

    report, reported = Reports.__call__, []

    def report_and_die(self, step, values):
        told = report(self, step, values)
        reported.append(step)
        if reported.count(1) == 6:
            raise Killed
        return told

    with monkeypatch.context() as patch:
        patch.setattr(Reports, "__call__", report_and_die)
        with pytest.raises(Killed):
            search(capfd, RATE, RULE, "search.trials=8", "train.checkpoint_every=300")
    assert len(trials(here / "results")) < 8
    code, *_ = search(capfd, RATE, RULE, "search.trials=8", "train.checkpoint_every=300")
    assert code == 0
    assert trials(here / "results") == trials(whole)
    assert metrics(here / "results") == metrics(whole)


def test_a_search_that_is_killed_between_a_checkpoint_and_a_report_reports(
    here, capfd, monkeypatch
):
    """The first validation of a run is its best one so far, at which it writes a checkpoint."""

    class Killed(BaseException):
        pass

    from snaprun.search.reports import Reports

    def die(self, step, values):
        raise Killed

    words = ["cell.units=choice(3,4)", "search.trials=1", "train.log_every=400"]
    with monkeypatch.context() as patch:
        patch.setattr(Reports, "__call__", die)
        with pytest.raises(Killed):
            search(capfd, *words)
    for more in ([], ["results=whole"]):
        assert search(capfd, *words, *more)[0] == 0
    (found,) = trials(here / "results")
    assert [found] == trials(here / "whole")
    assert list(found[-1]) == [1, 2, 3, 4]


def test_a_signal_stops_the_search_and_the_same_command_goes_on(here, whole, capfd):
    def send() -> None:
        while len(list(here.glob("results/copy/*/metrics.jsonl"))) < 3:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=send, daemon=True).start()
    code, out, _ = search(capfd, RATE, RULE, "search.trials=8")
    assert code == 130
    assert "1 stopped" in out[-1]
    assert search(capfd, RATE, RULE, "search.trials=8")[0] == 0
    assert trials(here / "results") == trials(whole)
    assert metrics(here / "results") == metrics(whole)


def test_a_pruned_run_stands_as_stopped_and_train_goes_on_with_it(here, whole, capfd):
    shutil.copytree(whole, here / "results")
    _, params, *_, reports = next(t for t in trials(here / "results") if t[2] == "PRUNED")
    words = [*SMALL, *(f"{key}={value}" for key, value in params.items())]
    assert _main(["status", "state=stopped", "format=json"]) == 0
    (stopped,) = (
        run
        for run in json.loads(capfd.readouterr().out)
        if run["optim.lr"] == pytest.approx(params["optim.lr"])
    )
    assert stopped["tokens"] >= 400 * max(reports)
    assert stopped["tokens"] < 2000
    assert _main(["train", *words]) == 0
    assert _main(["train", *words, "results=afresh"]) == 0
    (afresh,) = (here / "afresh").glob("copy/*/summary.json")
    name = afresh.parent.name
    run = here / "results/copy" / name
    assert rows(run) == rows(afresh.parent)
    assert json.loads((run / "summary.json").read_text())["resumed"] == 1


def test_trials_at_once_are_the_same_however_they_are_run(here, capfd):
    words = [RATE, RULE, "search.trials=7", "search.parallel=2"]
    assert search(capfd, *words)[0] == 0
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    code, *_ = search(capfd, RATE, RULE, "search.trials=7", "results=beside", *launcher)
    assert code == 0
    assert trials(here / "beside") == trials(here / "results")
    assert metrics(here / "beside") == metrics(here / "results")


@pytest.mark.slow
def test_ray_runs_the_same_trials(here, whole, capfd):
    words = ["hydra/launcher=ray", "+hydra.launcher.init.num_cpus=2", "search.parallel=1"]
    assert search(capfd, RATE, RULE, "search.trials=8", *words)[0] == 0
    assert trials(here / "results") == trials(whole)


def test_equal_trials_are_one_run(here, capfd):
    code, out, _ = search(capfd, "cell.units=choice(3,4)", "search.trials=5", "search.parallel=3")
    assert code == 0
    assert len(list(here.glob("results/copy/*/summary.json"))) == 2
    assert sum("which has the same values" in line for line in out) == 3


def test_runs_that_diverge_count_as_the_worst_and_others_go_on(here, capfd):
    words = ["optim=sgd", "optim.lr=choice(1e-3,1e30,1e31)", "search.trials=6"]
    code, out, err = search(capfd, *words)
    assert code == 0
    assert "0 failed" in next(line for line in out if line.startswith("6 trials"))
    assert "snaprun: trial #" in err
    assert out[-1].endswith("optim.lr=0.001")
    ends = {params["optim.lr"]: value for _, params, _, value, _ in trials(here / "results")}
    assert ends["1e+30"] == ends["1e+31"] > ends["0.001"]


def test_a_trial_that_fails_is_tried_once_more_and_does_not_end_the_search(
    here, capfd, monkeypatch
):
    launch, tries = train.launch, []

    def broken(plain, *rest, **beside):
        tries.append(units := plain["cell"]["units"])
        if units == 3 or (units == 4 and tries.count(4) == 1):
            raise RuntimeError("out of order")
        return launch(plain, *rest, **beside)

    monkeypatch.setattr(train, "launch", broken)
    space = ["cell.units=choice(3,4,5)", "search.trials=9"]
    code, out, err = search(capfd, *space)
    assert code == 1
    assert [tries.count(units) for units in (3, 4, 5)] == [2, 2, 1]
    ends = {params["cell.units"]: end for _, params, end, *_ in trials(here / "results")}
    assert ends == {"3": "FAIL", "4": "COMPLETE", "5": "COMPLETE"}
    assert "RuntimeError: out of order" in err
    assert any(line.startswith("best: ") for line in out)


class Beside(Here):
    """Workers of which one may be stopped by a signal that the search itself does not get."""

    def ended(self):
        number, job = self._next
        yield number, job()


@pytest.mark.parametrize("times", [1, 2])
def test_a_trial_whose_worker_is_stopped_is_not_told_as_failed(times, here, capfd, monkeypatch):
    launch, tries = train.launch, []

    def stopped(plain, *rest, **beside):
        tries.append(units := plain["cell"]["units"])
        if units == 4 and tries.count(4) <= times:
            raise Stopped(signal.SIGTERM)
        return launch(plain, *rest, **beside)

    monkeypatch.setattr(train, "launch", stopped)
    monkeypatch.setattr(workers, "Here", Beside)
    space = ["cell.units=choice(3,4)", "search.trials=4"]
    codes = [search(capfd, *space)[0] for _ in range(times)]
    assert codes == [0] if times == 1 else [128 + signal.SIGTERM, 0]
    assert {end for _, _, end, *_ in trials(here / "results")} == {"COMPLETE"}


def test_a_search_within_another_bound_is_another_search(here, capfd):
    space = ["cell.units=choice(3,4)", "search.trials=1"]
    for bound in ([], ["train.patience=1"], ["train.time=1h"]):
        assert search(capfd, *space, *bound)[0] == 0
    assert len(list(here.glob("results/copy/search-*"))) == 3


def test_a_task_that_holds_out_nothing_is_judged_by_what_it_measures(here, capfd):
    (here / "text").write_text("the quick brown fox jumps over the lazy dog. " * 9)
    words = ["task=charlm", "task.text=text", "task.crop=11", "task.valid_fraction=0"]
    words += ["cell.units=choice(3,4)", "search.trials=1", "search.metric=null"]
    code, out, _ = search(capfd, *words)
    assert code == 0
    assert any(line.startswith("best: bpc ") for line in out)
    code, _, err = search(capfd, *words, "search.metric=validation_bpc")
    assert code == 2
    assert "search.metric='validation_bpc' is not accepted: expected one of bpc" in err


def test_a_trial_that_is_refused_does_not_end_the_search(here, capfd):
    code, out, err = search(capfd, "cell.units=choice(4,-4)", "search.trials=4")
    assert code == 2
    assert "cell.units=-4 is not accepted" in err
    assert any(line.startswith("best: ") for line in out)


def test_a_choice_that_does_not_exist_is_refused_before_the_first_trial(here, capfd):
    code, out, err = search(capfd, "optim.lr=1e-3,1e-2", "rule=choice(snap1,snap9)")
    assert (code, out, err.count("\n")) == (2, [], 1)
    assert err.startswith("snaprun: rule=snap9 is not accepted: expected one of bptt, ")
    assert "Did you mean snap?" in err
    assert not list(here.iterdir())


def test_a_trial_that_cannot_be_composed_does_not_end_the_search(here, capfd):
    code, out, err = search(capfd, "rule=snap1,bptt", "rule.n=choice(1,2)", "search.trials=6")
    ends = {(params["rule"], end) for _, params, end, *_ in trials(here / "results")}
    assert (code, ends) == (2, {("snap1", "COMPLETE"), ("bptt", "FAIL")})
    first, *_ = err.splitlines()
    assert "rule.n is not a key here" in first
    assert "It belongs to rule=snap and" in first
    assert "Traceback" not in err
    assert any(line.startswith("best: ") for line in out)


def test_a_run_that_a_worker_of_an_earlier_launch_still_writes_is_waited_for(here, capfd):
    words = ["cell.units=choice(3,4)", "search.trials=2"]
    search(capfd, *words, "results=first")
    name = min(file.parent.name for file in here.glob("first/copy/*/summary.json"))
    begun = threading.Event()

    def write() -> None:
        with RunWriter(here / "results/copy" / name, {}):
            begun.set()
            time.sleep(2)

    threading.Thread(target=write, daemon=True).start()
    begun.wait()
    code, _, err = search(capfd, *words)
    assert code == 0
    assert "another process writes this run; the trial waits for it" in err
    assert trials(here / "results") == trials(here / "first")


def test_optuna_that_is_missing_is_named_with_its_extra(here, capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    code, out, err = search(capfd, RATE)
    assert (code, out) == (2, [])
    assert "snaprun search needs the package optuna, which is not installed" in err
    assert "pip install 'snaprun[search]'" in err
    assert err.count("\n") == 1
    assert not list(here.iterdir())


def test_a_damaged_journal_is_refused_in_one_line(here, capfd):
    words = ["cell.units=choice(3,4)", "search.trials=2"]
    assert search(capfd, *words)[0] == 0
    (journal,) = here.glob(f"results/copy/search-*/{JOURNAL}")
    journal.write_bytes(b"nothing of Optuna\n" + journal.read_bytes())
    code, out, err = search(capfd, *words)
    assert (code, out, err.count("\n")) == (2, [], 1)
    assert "Remove its folder to search afresh" in err


def test_a_link_in_the_place_of_the_journal_is_not_followed(here, capfd):
    words = ["cell.units=choice(3,4)", "search.trials=2"]
    assert search(capfd, *words)[0] == 0
    (journal,) = here.glob(f"results/copy/search-*/{JOURNAL}")
    mine = here / "mine"
    journal.rename(mine)
    journal.symlink_to(mine)
    before = mine.read_bytes()
    code, out, _ = search(capfd, *words, "search.trials=3")
    assert (code, out) == (2, [])
    assert mine.read_bytes() == before


def test_mistakes_with_blanks_end_in_one_line(here, capfd):
    for word, said in {
        "cell.units=tag(log, range(1,9,2))": "by 1",
        "optim.lr=tag(log, interval(0,1))": "numbers > 0",
        "optim.lr=tag(ln, interval(1,2))": "no tag but log",
        "optim.lr='interval(1, 2)'": "Put the quotes around",
        "optim.lr=tag(log, choice(1,2))": "an interval or a range",
        "train.tokens=choice(1000, 2000)": "would not make another run",
    }.items():
        code, out, err = search(capfd, word)
        assert (code, out, err.count("\n")) == (2, [], 1)
        assert said in err
    assert not list(here.iterdir())
