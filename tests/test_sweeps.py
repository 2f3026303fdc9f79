"""Sweeps from the outside: the table at the end, exit codes, signals, launchers."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from snaprun.cli import _main
from snaprun.outcome import Outcome, Score, Status, as_lines, best

SMALL = ["cell.units=6", "readout.hidden=5", "train.tokens=400", "train.lanes=3"]


def sweep(capfd, *words: str) -> tuple[int, list[str], str]:
    """Exit code, lines on stdout, text on stderr."""
    code = _main(["train", "-m", *SMALL, *words])
    out, err = capfd.readouterr()
    return code, out.splitlines(), err


def metrics(root: Path) -> dict[str, list[dict]]:
    """The rows of each run under `root`, without the clock."""
    found = {}
    for file in root.rglob("metrics.jsonl"):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        found[file.parent.name] = [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
    return found


def test_the_table_counts_every_end_and_names_the_bad_ones():
    folder = Path("results/copy/x")
    ends = {
        "seed=0": Outcome(report="fine"),
        "seed=1": Outcome(Status.SKIPPED),
        "seed=2": Outcome(Status.DIVERGED, problem="at token 3", folder=folder),
        "seed=3": Outcome(Status.FAILED, problem="ValueError: no"),
        "seed=4": Outcome(Status.REFUSED, problem="seed=4 is not accepted"),
        "seed=10": Outcome(Status.STOPPED, problem="stopped by SIGTERM", signum=15),
        "seed=11": Outcome(Status.NOT_STARTED),
    }
    assert as_lines(list(ends.items())).splitlines() == [
        "diverged  seed=2   results/copy/x: at token 3",
        "failed    seed=3   ValueError: no",
        "refused   seed=4   seed=4 is not accepted",
        "stopped   seed=10  stopped by SIGTERM",
        "7 jobs: 1 done, 1 skipped, 1 diverged, 1 failed, 1 refused, 1 stopped, 1 not started",
    ]
    assert [end.code for end in ends.values()] == [0, 0, 1, 1, 2, 143, 0]


def test_each_end_says_where_the_sweep_stands(here, capfd):
    code, out, _ = sweep(capfd, "rule=frozen,snap1", "seed=0,1")
    assert code == 0
    stands = [line.split("  ") for line in out if line.startswith("job ")]
    assert [line[0] for line in stands] == [f"job {n}/4" for n in (1, 2, 3, 4)]
    jobs = [f"rule={rule} seed={seed}" for rule in ("frozen", "snap1") for seed in (0, 1)]
    assert [line[1] for line in stands] == jobs
    assert [len(line) == 4 for line in stands[1:3]] == [True, True]
    assert all(line[2].endswith(" s left") for line in stands[:3])
    values = {}
    for file in (here / "results").rglob("summary.json"):
        summary = json.loads(file.read_text())
        values[file.parent.name] = summary["metrics"]["mastered"]
    shown = out[-2].split()
    assert shown[:2] == ["best:", "mastered"]
    assert float(shown[2].rstrip(",")) == max(values.values())


def test_the_best_is_told_where_jobs_can_be_compared():
    ends = {"a": ("bpc", 2.0, -1), "b": ("bpc", 1.0, -1), "c": None}
    outcomes = [(job, Outcome(score=score and Score(*score))) for job, score in ends.items()]
    assert best(outcomes) == "best: bpc 1, b"
    assert best(outcomes[:1]) == ""
    other = ("d", Outcome(score=Score("level", 3.0, 1)))
    assert best([*outcomes, other]) == ""
    assert best([other, ("e", Outcome(score=Score("level", 5.0, 1)))]) == "best: level 5, e"


def test_a_sweep_that_went_well_and_once_more(here, capfd):
    code, out, err = sweep(capfd, "seed=0,1")
    assert (code, err) == (0, "")
    assert out[-1] == "2 jobs: 2 done, 0 skipped, 0 diverged, 0 failed"
    assert sum(line.startswith("finished: ") for line in out) == 2
    code, out, err = sweep(capfd, "seed=0,1,2")
    assert (code, err) == (0, "")
    assert out[-1] == "3 jobs: 1 done, 2 skipped, 0 diverged, 0 failed"


def test_a_diverged_job_is_named_with_its_folder_each_time(here, capfd):
    words = ["optim=sgd", "optim.lr=1e-3,1e30", "train.tokens=4000"]
    for counts in ("1 done, 0 skipped", "0 done, 1 skipped"):
        code, out, err = sweep(capfd, *words)
        assert code == 1
        line, totals = out[-2:]
        assert line.startswith("diverged  optim.lr=1e+30  results/copy/copy-")
        assert "non-finite at token" in line
        assert Path(line.split()[2].rstrip(":")).is_dir()
        assert totals == f"2 jobs: {counts}, 1 diverged, 0 failed"
        assert err.startswith("snaprun: job optim.lr=1e+30: the loss")


def test_a_bug_in_one_job_does_not_stop_the_others(here, capfd, monkeypatch):
    from snaprun.tasks import Copy

    def broken(self, lanes, generator):
        raise RuntimeError("out\nof order")

    right = Copy.batch
    monkeypatch.setattr(
        Copy, "batch", lambda self, lanes, g: (broken if lanes == 2 else right)(self, lanes, g)
    )
    code, out, err = sweep(capfd, "train.lanes=1,2,3")
    assert code == 1
    assert out[-2].startswith("failed  train.lanes=2  ")
    assert out[-2].endswith("RuntimeError: out of order (the trace is in failure.log)")
    assert out[-1] == "3 jobs: 2 done, 0 skipped, 0 diverged, 1 failed"
    assert "Traceback" not in err
    (log,) = here.rglob("failure.log")
    assert "Traceback" in log.read_text()


def test_a_bug_before_there_is_a_folder_shows_its_trace(here, capfd, monkeypatch):
    from snaprun import config

    monkeypatch.setattr(config, "parts", lambda plain: 1 / 0)
    code, out, err = sweep(capfd, "seed=0,1")
    assert code == 1
    assert out[-2] == "failed  seed=1  ZeroDivisionError: division by zero"
    assert err.count("Traceback") == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("hydra/launcher=joblib hydra.launcher.n_jobs=0", "hydra.launcher.n_jobs=0"),
        ("hydra/launcher=joblib hydra.launcher.n_jobs=many", "hydra.launcher.n_jobs='many'"),
        ("hydra/launcher=joblib hydra.launcher.jobs=2", "hydra.launcher.jobs"),
        ("hydra/launcher=jobslib", "Did you mean joblib?"),
        ("hydra/launcher=ray hydra.launcher.init=3", "hydra.launcher.init=3"),
        ("hydra/launcher=submitit_slurm", "hydra.launcher.cluster=slurm"),
    ],
)
def test_a_mistake_about_the_launcher_ends_in_one_line(words, said, here, capfd):
    code, out, err = sweep(capfd, "seed=0,1", *words.split())
    assert (code, out) == (2, [])
    assert err.startswith("snaprun: ")
    assert err.count("\n") == 1
    assert said in err
    assert not list(here.iterdir())


def test_a_launcher_that_is_not_ours_is_refused(here, capfd):
    other = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
    code, _, err = sweep(capfd, "seed=0,1", f"hydra.launcher._target_={other}")
    assert code == 2
    assert "expected one of snaprun's own" in err.splitlines()[-1]
    assert not list(here.iterdir())


@pytest.mark.parametrize("launcher", ["joblib", "ray", "submitit_slurm"])
def test_a_package_that_is_missing_is_named(launcher, here, capfd, monkeypatch):
    package = {"submitit_slurm": "submitit"}.get(launcher, launcher)
    monkeypatch.setitem(sys.modules, package, None)
    code, out, err = sweep(capfd, "seed=0,1", f"hydra/launcher={launcher}")
    assert (code, out) == (2, [])
    assert f"needs the package {package}, which is not installed: pip install 'snaprun[" in err
    assert err.count("\n") == 1
    assert not list(here.iterdir())


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_sweep(signum, here, capfd):
    def send() -> None:
        while not list(here.rglob("metrics.jsonl")):
            time.sleep(0.01)
        os.kill(os.getpid(), signum)

    threading.Thread(target=send, daemon=True).start()
    code, out, _ = sweep(capfd, "seed=0,1,2", "train.tokens=1e8", "train.log_every=10")
    assert code == 128 + signum
    assert out[-2].startswith("stopped  seed=0  results/copy/")
    assert out[-1] == "3 jobs: 0 done, 0 skipped, 0 diverged, 0 failed, 1 stopped, 2 not started"
    assert len(list(here.glob("results/copy/*/config.yaml"))) == 1


def test_processes_side_by_side_give_the_same_metrics(here, capfd):
    words = ["cell.units=0,6", "seed=0,1"]
    code, out, err = sweep(capfd, *words, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert code == 2
    assert out[-1] == "4 jobs: 2 done, 0 skipped, 0 diverged, 0 failed, 2 refused"
    assert err.count("cell.units=0 is not accepted") == 2
    sweep(capfd, *words, "results=one")
    assert metrics(here / "results") == metrics(here / "one")
    assert len(metrics(here / "one")) == 2


def test_other_commands_sweep_too(here, capfd):
    words = ["cell.units=3", "steps=4", "rule=rtrl", "seed=0,1"]
    assert _main(["verify", "-m", *words]) == 0
    out = capfd.readouterr().out
    assert out.splitlines()[-1] == "2 jobs: 2 done, 0 skipped, 0 diverged, 0 failed"
