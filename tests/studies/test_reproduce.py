"""`snaprun reproduce` from the outside, with an experiment of seconds from a folder of its own."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from snaprun.cli import _main
from snaprun.studies.dry import Left
from tests.inline import Inline
from tests.patience import PATIENCE

EXPERIMENT = """# @package _global_
hydra:
  mode: MULTIRUN           # of no effect in a panel
cell:
  units: 6
readout:
  hidden: 5
train:
  tokens: 2000
  lanes: 3
  log_every: 60
"""
PANEL = """
name: tiny
about: what a network of six units learns in a second.
claims: [C1]
experiment: tiny
metric: level
arms:
  snap1: [rule=snap1]
  wild: [optim=sgd]
  broken: [cell.units=0]
rates: {snap1: [1e-2, 1e-3], wild: [1e30], others: [1e-3]}
selection: {seeds: [100], overrides: [train.tokens=900]}
seeds: {snap1: 2, others: 1}
budgets:
  small: {}
  one: {arms: {only: [cell.units=5]}, rates: [1e-2], seeds: 1}
  same: {arms: {longer: [train.tokens=3000]}}
  endless: {rates: [1e-3], overrides: [train.tokens=1000000000]}
"""

ARMS = ("snap1", "wild", "broken")


@pytest.fixture(scope="module")
def conf(tmp_path_factory):
    folder = tmp_path_factory.mktemp("a folder, with 'odd' letters") / "conf"
    for group, text in (("experiment", EXPERIMENT), ("panel", PANEL)):
        (folder / group).mkdir(parents=True)
        (folder / group / "tiny.yaml").write_text(text)
    return folder


def reproduce(conf, *words):
    results = str(conf.parent / "results").replace("'", "\\'")
    return ["reproduce", "--config-dir", str(conf), "panel=tiny", f"results='{results}'", *words]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def done(conf):
    """The exit code and the panel's folder after the first launch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("snaprun.studies.pool.Popen", Inline)
        return _main(reproduce(conf)), conf.parent / "results" / "tiny"


def test_a_panel_leaves_its_tables_and_figures(done, conf):
    code, folder = done
    assert code == 1  # the broken arm
    summary = pd.read_csv(folder / "summary.csv", dtype={"config": str})
    assert summary[["arm", "phase", "seed", "status"]].values.tolist() == [
        ["snap1", "selection", 100, "finished"],
        ["snap1", "selection", 100, "finished"],
        ["snap1", "final", 0, "finished"],
        ["snap1", "final", 1, "finished"],
        ["wild", "final", 0, "diverged"],
        ["broken", "final", 0, "failed"],
    ]
    finished = summary[summary["status"] == "finished"]
    for row in finished.itertuples():
        place = folder if row.phase == "final" else conf.parent / "results" / "tiny_rates"
        (run,) = place.glob(f"*-seed{row.seed}-{row.config}")
        config = yaml.safe_load((run / "config.yaml").read_text())
        assert config["optim"]["lr"] == row.lr
        assert row.tokens >= config["train"]["tokens"] == (2000 if row.phase == "final" else 900)
    assert (finished["peak_bytes"] > 5e7).all()
    assert (finished["final"] >= finished["mean"]).all()  # a level never falls
    versions = ("snaprun", "torch", "python")
    for column in ("updates", "seconds", "engine", "isa", *versions, "ms_per_token"):
        assert finished[column].notna().all(), column
    chosen = finished[finished["phase"] == "final"]["lr"].unique()
    selection = finished[finished["phase"] == "selection"]
    ranked = selection.sort_values(["final", "mean", "lr"], ascending=[False, False, True])
    assert chosen.tolist() == [ranked["lr"].iloc[0]]

    curves = pd.read_csv(folder / "curves.csv")
    assert set(zip(curves["arm"], curves["seed"], strict=True)) == {
        *(("snap1", 0), ("snap1", 1), ("wild", 0))
    }
    columns = ["metric", "arm", "other", "equal"]
    assert pd.read_csv(folder / "tests.csv")[columns].values.tolist() == [
        [metric, "snap1", "wild", equal]
        for metric in ("level", "mastered")
        for equal in ("tokens", "tokens/10", "updates")
    ]
    readme = (folder / "README.md").read_text()
    for words in (
        "(C1)",
        "panel=tiny budget=small",
        "seeds of their own: 100; of equals",
        "wild seed 0",
        "broken, lr=",
    ):
        assert words in readme
    assert readme.count("\n\n") == 5
    for kind in ("png", "pdf", "csv"):
        assert (folder / "figures" / f"learning-copy.{kind}").stat().st_size > 100


def test_launched_again_only_what_failed_runs(done, conf, capfd):
    _, folder = done
    before = contents(folder)
    (run, *_) = folder.glob("*/metrics.jsonl")
    left = Path(f"{run.parent}.log")
    left.touch()  # as where this process was killed before it saw the run end
    started = (folder / "summary.csv").stat().st_mtime_ns
    assert _main(reproduce(conf)) == 1
    out, err = capfd.readouterr()
    assert err.count("failed: ") == 1
    assert "failed: broken, lr=0.001, seed=0: cell.units=0 is not accepted" in err
    assert "diverged: wild, lr=1e+30, seed=0" in err
    assert str(folder / "README.md") in out
    assert not left.exists()
    after = contents(folder)
    assert (folder / "summary.csv").stat().st_mtime_ns > started
    assert after == before


def test_all_else_is_derived_from_the_tables_of_the_runs(done, conf, tmp_path):
    _, folder = done
    shutil.copytree(folder.parent, tmp_path / "results")
    copy = tmp_path / "results" / "tiny"
    kept = ("panel.yaml", "summary.csv", "curves.csv")
    for path in list(copy.iterdir()):
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in kept:
            path.unlink()
    words = [word for word in reproduce(conf, "derive=true") if not word.startswith("results")]
    assert _main([*words, f"results={tmp_path / 'results'}"]) == 0
    for path in copy.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (folder / path.relative_to(copy)).read_bytes(), path
    assert len(list((copy / "figures").iterdir())) == 9


@pytest.mark.usefixtures("only_tables")
def test_rates_are_taken_from_the_tables_instead_of_being_chosen(done, conf, tmp_path, capfd):
    _, folder = done
    results = tmp_path / "results"
    (results / "tiny").mkdir(parents=True)
    for name in ("panel.yaml", "summary.csv"):
        shutil.copy(folder / name, results / "tiny")
    words = [word for word in reproduce(conf, "choose=false") if not word.startswith("results")]
    words += [f"results={results}", "panel.arms.wild=null", "panel.arms.broken=null"]
    words += ["panel.seeds.snap1=1"]
    assert _main(words) == 0
    assert not (results / "tiny_rates").exists()
    before, after = (
        pd.read_csv(place / "summary.csv", dtype={"config": str})
        for place in (folder, results / "tiny")
    )
    same = ["arm", "phase", "config", "seed", "lr", "status", "tokens", "final", "final_mastered"]
    before = before.loc[(before["arm"] == "snap1") & (before["seed"] != 1), same]
    pd.testing.assert_frame_equal(before, after[same], check_dtype=False)
    # What has no rate there, and a folder without tables.
    assert _main([*words, "+panel.arms.more=['cell.units=5']", "panel.seeds.others=1"]) == 2
    assert (
        "choose=False is not accepted: expected a learning rate of more" in capfd.readouterr().err
    )
    for key in ("choose=false", "derive=true"):
        assert _main([*reproduce(conf, key), f"results={tmp_path / 'none'}"]) == 2
        assert "expected a folder with the tables of tiny" in capfd.readouterr().err


@pytest.mark.parametrize("panels", [1, 2])
def test_the_figures_are_drawn_from_the_committed_files_alone(panels, done, tmp_path):
    """From a folder of panels by a process of its own, which needs no torch."""
    _, folder = done
    for number in range(panels):
        (tmp_path / str(number)).mkdir()
        for name in ("panel.yaml", "summary.csv", "curves.csv"):
            shutil.copy(folder / name, tmp_path / str(number))
    if panels == 1:
        assert _main(["plot", f"source={tmp_path / '0'}"]) == 0
    else:
        code = (
            "import sys, snaprun.cli as cli; code = cli._main(sys.argv[1:]);"
            "sys.exit(code or 'torch' in sys.modules)"
        )
        command = [sys.executable, "-c", code, "plot", f"source={tmp_path}"]
        subprocess.run(command, check=True)
    for number in range(panels):
        assert contents(tmp_path / str(number) / "figures") == contents(folder / "figures")


def test_a_kind_of_which_a_panel_has_nothing_is_refused(done, capfd):
    _, folder = done
    source = "'" + str(folder).replace("'", "\\'") + "'"
    assert _main(["plot", f"source={source}", "kind=alignment"]) == 2
    assert capfd.readouterr().err.startswith("snaprun: kind='alignment' is not accepted")


@pytest.mark.usefixtures("only_tables")
def test_another_budget_has_a_folder_of_its_own(done, conf, monkeypatch):
    _, folder = done
    monkeypatch.setattr("snaprun.studies.pool.Popen", Inline)
    before = contents(folder)
    assert _main(reproduce(conf, "budget=one", "~panel.arms.broken", "~panel.arms.wild")) == 0
    other = conf.parent / "results" / "tiny_one"
    assert set(pd.read_csv(other / "summary.csv")["arm"]) == {"snap1", "only"}
    assert contents(folder) == before


def test_a_dry_run_lists_commands_and_hours_and_starts_nothing(done, conf, capfd):
    _, folder = done
    before = contents(folder.parent)
    # The rates are chosen; of four seeds two are to go on, and two to start.
    words = ("budget=small", "panel.seeds.snap1=4", "panel.experiment=tiny", "dry=true")
    more = ("+panel.overrides=['train.tokens=6000']", "~panel.arms.broken", "~panel.arms.wild")
    assert _main(reproduce(conf, *words, *more, "~panel.rates.wild")) == 0
    out, err = capfd.readouterr()
    lines = [shlex.split(line) for line in out.splitlines()]
    assert [line[:2] for line in lines] == [["snaprun", "train"]] * 4
    assert [line[-2] for line in lines] == [f"seed={seed}" for seed in range(4)]
    chosen = [
        json.loads(path.read_text()) for path in folder.parent.glob("tiny_rates/*/summary.json")
    ]
    speed = np.median([run["seconds"] / run["tokens"] for run in chosen])
    assert f"tiny: 4 runs are left, about {4 * 6000 * speed / 3600:.3g} hours" in err
    assert contents(folder.parent) == before
    # The printed commands are those that a panel would run.
    assert _main([word.replace("=6000", "=60") for word in lines[-1][1:]]) == 0
    assert str(folder) in capfd.readouterr().out


def test_arms_that_are_one_run_are_refused(conf, capfd):
    assert _main(reproduce(conf, "budget=same")) == 2
    err = capfd.readouterr().err
    assert "snap1 and longer" in err
    assert err.count("\n") == 1


def test_a_mistake_in_the_first_run_is_told_once_and_stops_all(conf, capfd):
    assert (
        _main(reproduce(conf, "budget=endless", "+panel.overrides=['train.lanes=0']", "jobs=1"))
        == 2
    )
    err = capfd.readouterr().err
    assert err.startswith("snaprun: train.lanes=0 is not accepted")
    assert err.count("\n") == 1


def test_a_signal_stops_the_runs_and_starts_no_other(conf):
    words = reproduce(conf, "budget=endless", "jobs=1")
    started = subprocess.Popen([sys.executable, "-m", "snaprun", *words], start_new_session=True)
    runs = conf.parent / "results" / "tiny_endless"
    deadline = time.monotonic() + PATIENCE
    while not any(map(metrics, runs.glob("*/"))) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(started.pid, signal.SIGTERM)
    assert started.wait(timeout=PATIENCE) == 128 + signal.SIGTERM
    (run,) = runs.glob("[!.]*/")
    assert (run / "checkpoint.pt").exists()
    before = metrics(run)
    time.sleep(1)
    assert metrics(run) == before  # its process is gone


def metrics(run):
    file = run / "metrics.jsonl"
    return file.read_bytes() if file.exists() else b""


@pytest.mark.parametrize("checked", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_without_a_panel_it_is_all_of_them(checked, conf, capfd, monkeypatch):
    """Where each is checked, too: its arms compose, and differ."""

    def left(planner, results):
        if checked:
            planner.check()
        return Left([], [], 0.0, [])

    monkeypatch.setattr("snaprun.studies.left", left)
    words = [word for word in reproduce(conf, "dry=true") if word != "panel=tiny"]
    assert _main(words) == 0
    err = capfd.readouterr().err
    here = Path(__file__).parents[2] / "conf" / "panel"
    panels = sorted({"tiny", *(path.stem for path in here.glob("*.yaml"))})
    assert [line.partition(":")[0] for line in err.splitlines()] == panels


def test_an_arm_without_overrides_is_left_out(conf, capfd):
    assert _main(reproduce(conf, "dry=true", "panel.arms.wild=null", "panel.arms.broken=null")) == 0
    assert "optim=sgd" not in capfd.readouterr().out
    assert _main(reproduce(conf, *(f"panel.arms.{arm}=null" for arm in ARMS))) == 2
    assert "at least one" in capfd.readouterr().err
