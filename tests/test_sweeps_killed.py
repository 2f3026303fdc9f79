"""Sweeps whose processes and nodes die, on this machine; slow."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.train.test_resume import rows

pytestmark = pytest.mark.slow

SEEDS = range(8)
SWEEP = ["train", "-m", "cell.units=16", "readout.hidden=5", "train.lanes=3"]
SWEEP += ["train.tokens=150000", "train.checkpoint_every=0.2s", "seed=range(0,8)"]
JOBLIB = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
RAY = ["hydra/launcher=ray", "+hydra.launcher.init.num_cpus=2"]


def start(folder: Path, *words: str) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "snaprun", *SWEEP, *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(sweep: subprocess.Popen, code: int = 0) -> tuple[list[str], str]:
    """The lines of stdout, and stderr."""
    out, err = sweep.communicate(timeout=600)
    assert sweep.returncode == code, (out, err)
    assert "Traceback" not in err
    return out.splitlines(), err


def runs(folder: Path) -> dict[str, list[dict]]:
    """The metrics of each run but for the clock."""
    return {file.parent.name: rows(file.parent) for file in folder.glob("results/*/*/summary.json")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, list[dict]]:
    """What the sweep gives when nothing happens."""
    folder = tmp_path_factory.mktemp("whole")
    finish(start(folder))
    found = runs(folder)
    assert len(found) == len(SEEDS)
    return found


def half_done(
    folder: Path, sweep: subprocess.Popen, among: Callable[[psutil.Process], bool]
) -> tuple[Path, int]:
    """A run that has saved a checkpoint, and its process, which is one of `among`."""
    while sweep.poll() is None:
        for owner in folder.glob("results/*/*/owner.json"):
            try:
                pid = json.loads(owner.read_text())["pid"]
                if (owner.parent / "checkpoint.pt").exists() and among(psutil.Process(pid)):
                    return owner.parent, pid
            except (OSError, ValueError, psutil.NoSuchProcess):
                continue  # it has just ended
        time.sleep(0.01)
    raise AssertionError(sweep.communicate())


def test_a_process_that_is_killed_fails_its_job_alone(whole, tmp_path):
    sweep = start(tmp_path, *JOBLIB)
    run, pid = half_done(tmp_path, sweep, lambda process: True)
    os.kill(pid, signal.SIGKILL)
    out, _ = finish(sweep, code=1)
    assert out[-1] == "8 jobs: 7 done, 0 skipped, 0 diverged, 1 failed"
    assert out[-2].startswith("failed  seed=")
    assert run.name in out[-2]
    assert "SIGKILL" in out[-2]
    assert not (run / "summary.json").exists()
    out, _ = finish(start(tmp_path, *JOBLIB))
    assert out[-1] == "8 jobs: 1 done, 7 skipped, 0 diverged, 0 failed"
    assert runs(tmp_path) == whole


@pytest.mark.parametrize("launcher", [[], JOBLIB, RAY], ids=["basic", "joblib", "ray"])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_sweep_that_is_stopped_goes_on_when_launched_again(launcher, signum, whole, tmp_path):
    sweep = start(tmp_path, *launcher)
    half_done(tmp_path, sweep, lambda process: True)
    family = psutil.Process(sweep.pid).children(recursive=True)
    begun = time.monotonic()
    os.killpg(sweep.pid, signum)  # as the terminal and SLURM do
    out, _ = finish(sweep, code=128 + signum)
    seconds = time.monotonic() - begun
    print(f"{signal.Signals(signum).name}: {seconds:.1f} s; {out[-1]}")
    assert seconds < 5 * max(1, os.getloadavg()[0] / psutil.cpu_count())
    assert 1 <= len([line for line in out if line.startswith("stopped  seed=")]) <= 2
    assert "not started" in out[-1]
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    assert not list(tmp_path.glob("results/*/*/owner.json"))
    finish(start(tmp_path, *launcher))
    assert runs(tmp_path) == whole


@pytest.fixture
def nodes(monkeypatch) -> Iterator:
    """A Ray cluster of two nodes with a core each."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # nothing but this machine can reach it
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


def raylet(node) -> subprocess.Popen:
    """The process of a node that starts those of the jobs."""
    return node.all_processes["raylet"][0].process


def test_a_node_that_dies_costs_time_and_nothing_else(whole, nodes, tmp_path):
    head, second = nodes.head_node, nodes.worker_nodes.copy().pop()
    lost = raylet(second).pid
    address = f"hydra.launcher.address={nodes.address}"
    sweep = start(tmp_path, "hydra/launcher=ray", address)
    run, _ = half_done(tmp_path, sweep, lambda process: process.ppid() == lost)
    before = (run / "metrics.jsonl").read_text().count("\n")
    nodes.remove_node(second, allow_graceful=False)
    assert not (run / "summary.json").exists()
    out, _ = finish(sweep)
    print(f"{run.name} lost its node after {before} rows; {out[-1]}")
    assert out[-1] == "8 jobs: 8 done, 0 skipped, 0 diverged, 0 failed"
    assert runs(tmp_path) == whole
    assert raylet(head).poll() is None  # a cluster that was there is left alone
