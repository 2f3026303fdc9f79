"""Runs are trained, damaged by hand and verified."""

import subprocess
import sys
from pathlib import Path

import pytest

from snaprun import fsck
from snaprun.checks import UserError
from snaprun.cli import _main
from snaprun.store import METRICS
from tests.run.test_resume import launch, stopped
from tests.test_cli import SMALL

FILES = ("config.yaml", "metrics.jsonl", "summary.json", "checkpoint.pt")


@pytest.fixture
def runs(tmp_path, monkeypatch) -> Path:
    """A finished run and one that was stopped, in folders of any name."""
    monkeypatch.setattr("snaprun.config.require_named", anything)
    launch(tmp_path / "results" / "copy" / "done", tokens=60)
    stopped(tmp_path / "results" / "copy" / "stopped", monkeypatch)
    return tmp_path / "results"


def anything(folder: Path, plain: object) -> None:
    """Accept the configuration."""


def lines(source: Path) -> list[str]:
    said: list[str] = []
    fsck.fsck(source, anything, said.append)
    return said


def test_whole_runs(runs):
    assert lines(runs) == [
        "ok          copy/done",
        "unfinished  copy/stopped: 1 row, a whole checkpoint",
        "2 runs: 1 ok, 1 unfinished",
    ]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("run", ["done", "stopped"])
def test_every_damage_is_found_and_named(runs, run, name, monkeypatch, capfd):
    path = runs / "copy" / run / name
    if not path.exists():
        assert (run, name) == ("stopped", "summary.json")
        return
    if (run, name) == ("stopped", "config.yaml"):
        path.write_bytes(b"a: [")  # nothing else vouches for it
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    monkeypatch.chdir(runs.parent)
    assert _main(["fsck"]) == 1
    out, err = capfd.readouterr()
    (line,) = [line for line in out.splitlines() if line.startswith("damaged ")]
    assert line.count(f"copy/{run}") == 1
    assert name in line
    assert "1 damaged" in out.splitlines()[-1]
    assert err == "snaprun: 1 of 2 runs are damaged.\n"


def test_a_damaged_or_foreign_best_checkpoint_is_found(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        launch(folder)
    assert fsck.verify(one, anything) == ("ok", "")
    content = bytearray((one / "best.pt").read_bytes())
    (one / "best.pt").write_bytes((two / "best.pt").read_bytes())
    assert "best.pt: it is that of another run" in fsck.verify(one, anything)[1]
    content[len(content) // 2] ^= 1
    (one / "best.pt").write_bytes(content)
    verdict, why = fsck.verify(one, anything)
    assert (verdict, "best.pt" in why) == ("damaged", True)


@pytest.mark.parametrize("name", [*FILES, "best.pt", "failure.log", "owner.json"])
def test_a_link_is_found(runs, name, tmp_path):
    path = runs / "copy" / "done" / name
    if path.exists():
        path.rename(tmp_path / name)
    else:
        (tmp_path / name).touch()
    path.symlink_to(tmp_path / name)
    (line,) = [line for line in lines(runs) if line.startswith("damaged ")]
    assert name in line


def test_metrics_that_lack_rows_of_the_checkpoint(tmp_path):
    launch(tmp_path / "run")
    folder = tmp_path / "run"
    (folder / "summary.json").unlink()
    rows = (folder / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    assert fsck.verify(folder, anything)[0] == "unfinished"
    (folder / "metrics.jsonl").write_bytes(b"".join(rows[:2]))
    verdict, why = fsck.verify(folder, anything)
    assert verdict == "damaged"
    assert "that the checkpoint goes with" in why


def test_a_finished_run_may_have_no_checkpoint(runs):
    (runs / "copy" / "done" / "checkpoint.pt").unlink()
    assert lines(runs)[0] == "ok          copy/done"


def test_whole_runs_exit_0_and_no_runs_2(runs, monkeypatch, capfd):
    monkeypatch.chdir(runs.parent)
    assert _main(["fsck", "source=results/copy"]) == 0
    assert _main(["fsck", "source=results/copy/done"]) == 0
    capfd.readouterr()
    assert _main(["fsck", "source=nowhere"]) == 2
    assert capfd.readouterr().err.count("\n") == 1
    with pytest.raises(UserError, match="with runs in it"):
        fsck.fsck(runs.parent / "results" / "copy" / ".locks", anything, print)


def test_torch_is_not_imported(runs):
    code = "import sys; from pathlib import Path; from snaprun.fsck import fsck;"
    code += f"fsck(Path({str(runs)!r}), lambda *_: None, print); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("2 runs: 1 ok, 1 unfinished\n")


def test_runs_that_have_changed_places_are_found(here, capfd):
    for seed in (0, 1):
        assert _main(["train", *SMALL, f"seed={seed}"]) == 0
    one, two = sorted((here / "results" / "copy").glob("[!.]*"))
    one.rename(here / "aside")
    two.rename(one)
    (here / "aside").rename(two)
    capfd.readouterr()
    assert _main(["fsck"]) == 1
    out, _ = capfd.readouterr()
    assert out.count("damaged ") == 2
    assert f"that of this run, not of {two.name}" in out
    assert _main(["train", *SMALL, "seed=0"]) == 2
    assert f"that of this run, not of {two.name}" in capfd.readouterr().err


@pytest.mark.parametrize("swapped", [False, True])
def test_a_checkpoint_of_another_run_is_found(swapped, runs):
    done, left = (runs / "copy" / name / "checkpoint.pt" for name in ("done", "stopped"))
    if swapped:
        left.write_bytes(done.read_bytes())
    assert (lines(runs)[1][:7] == "damaged") == swapped


@pytest.mark.parametrize(
    ("run", "name"), [("done", "config.yaml"), ("stopped", "config.yaml"), ("stopped", METRICS)]
)
def test_what_is_left_of_a_run_is_damaged(run, name, runs):
    (runs / "copy" / run / name).unlink()
    said = lines(runs)
    assert said[-1].startswith("2 runs: ")
    (line,) = [line for line in said if line.startswith("damaged ")]
    assert name in line


def test_metrics_without_an_end_are_not_read(runs):
    with (runs / "copy" / "done" / METRICS).open("ab") as file:
        file.truncate(2**40)
    (line,) = [line for line in lines(runs) if line.startswith("damaged ")]
    assert "more than" in line
