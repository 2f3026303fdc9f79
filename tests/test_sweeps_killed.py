"""Sweeps whose processes and nodes die, on this machine: short ones, and long ones marked slow."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from snaprun.cli import _main
from tests.patience import PATIENCE
from tests.run.test_resume import rows


class Size(NamedTuple):
    """How many runs a sweep has, and of how many tokens."""

    runs: int
    tokens: int

    @property
    def words(self) -> list[str]:
        words = ["train", "-m", "cell.units=16", "readout.hidden=5", "train.lanes=3"]
        words += [f"train.tokens={self.tokens}", "train.checkpoint_every=5000"]
        return [*words, f"seed=range(0,{self.runs})"]


SHORT, LONG = Size(3, 60_000), Size(8, 150_000)
LAUNCHERS = {
    "basic": [],
    "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "ray": ["hydra/launcher=ray", "+hydra.launcher.init.num_cpus=2"],
}


@pytest.fixture(
    scope="module",
    params=[SHORT, pytest.param(LONG, marks=pytest.mark.slow)],
    ids=["short", "long"],
)
def size(request) -> Size:
    return request.param


def start(folder: Path, size: Size, *words: str) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "snaprun", *size.words, *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(sweep: subprocess.Popen, code: int = 0) -> list[str]:
    """The lines of stdout."""
    out, err = sweep.communicate(timeout=PATIENCE)
    assert sweep.returncode == code, (out, err)
    assert "Traceback" not in err
    return out.splitlines()


def runs(folder: Path) -> dict[str, list[dict]]:
    """The metrics of each finished run but for the clock."""
    return {file.parent.name: rows(file.parent) for file in folder.glob("results/*/*/summary.json")}


def launched_again(folder: Path, size: Size, *words: str) -> dict[str, list[dict]]:
    """The runs after the sweep has been launched once more; a short one in this process."""
    if size == LONG:
        finish(start(folder, size, *words))
    else:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            assert _main(size.words) == 0
    return runs(folder)


@pytest.fixture(scope="module")
def whole(size, tmp_path_factory) -> dict[str, list[dict]]:
    """What the sweep gives when nothing happens."""
    found = launched_again(tmp_path_factory.mktemp("whole"), size)
    assert len(found) == size.runs
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


def assert_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=PATIENCE)
    assert alive == []


def test_a_process_that_is_killed_fails_its_job_alone(size, whole, tmp_path):
    sweep = start(tmp_path, size, *LAUNCHERS["joblib"])
    run, pid = half_done(tmp_path, sweep, lambda process: True)
    os.kill(pid, signal.SIGKILL)
    out = finish(sweep, code=1)
    assert out[-1] == f"{size.runs} jobs: {size.runs - 1} done, 0 skipped, 0 diverged, 1 failed"
    assert out[-2].startswith("failed  seed=")
    assert run.name in out[-2]
    assert "SIGKILL" in out[-2]
    assert not (run / "summary.json").exists()
    assert launched_again(tmp_path, size, *LAUNCHERS["joblib"]) == whole


QUICK = [("joblib", signal.SIGTERM), ("ray", signal.SIGINT)]


@pytest.mark.parametrize(
    ("launcher", "signum"),
    [
        pytest.param(*pair, marks=() if pair in QUICK else pytest.mark.slow)
        for pair in product(LAUNCHERS, (signal.SIGINT, signal.SIGTERM))
    ],
)
def test_a_sweep_that_is_stopped_goes_on_when_launched_again(
    launcher, signum, size, whole, tmp_path
):
    sweep = start(tmp_path, size, *LAUNCHERS[launcher])
    half_done(tmp_path, sweep, lambda process: True)
    family = psutil.Process(sweep.pid).children(recursive=True)
    # What the signal to the group does not reach is ended in order: else Ray takes 8 s to see it.
    if launcher == "ray":
        assert len(family) > 4
        assert all(os.getsid(process.pid) != sweep.pid for process in family)
    begun = time.monotonic()
    os.killpg(sweep.pid, signum)  # as the terminal and SLURM do
    out = finish(sweep, code=128 + signum)
    seconds = time.monotonic() - begun
    print(f"{launcher}, {signal.Signals(signum).name}: {seconds:.1f} s; {out[-1]}")
    if size == LONG:
        assert seconds < 5 * max(1, os.getloadavg()[0] / psutil.cpu_count())
    assert 1 <= len([line for line in out if line.startswith("stopped  seed=")]) <= 2
    assert "not started" in out[-1]
    assert_gone(family)
    assert not list(tmp_path.glob("results/*/*/owner.json"))
    assert launched_again(tmp_path, size, *LAUNCHERS[launcher]) == whole


@pytest.mark.parametrize(
    ("launcher", "jobs"),
    [("joblib", ""), ("ray", "ray::_run"), pytest.param("ray", "", marks=pytest.mark.slow)],
)
def test_no_process_outlives_a_sweep_that_is_killed(launcher, jobs, tmp_path):
    """Ray's own agents see only after a minute that they are alone: slow with these."""
    sweep = start(tmp_path, LONG, *LAUNCHERS[launcher])
    half_done(tmp_path, sweep, lambda process: True)
    family = psutil.Process(sweep.pid).children(recursive=True)
    family = [process for process in family if not jobs or jobs in " ".join(process.cmdline())]
    assert family
    sweep.kill()
    sweep.communicate()
    assert_gone(family)


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


@pytest.mark.slow
def test_a_cluster_outlives_a_sweep_and_a_sweep_a_node(size, whole, nodes, tmp_path):
    head, second = nodes.head_node, nodes.worker_nodes.copy().pop()
    lost = raylet(second).pid
    ours = ["hydra/launcher=ray", f"hydra.launcher.address={nodes.address}"]
    sweep = start(tmp_path, size, *ours)
    half_done(tmp_path, sweep, lambda process: True)
    os.killpg(sweep.pid, signal.SIGTERM)
    assert "stopped" in finish(sweep, code=128 + signal.SIGTERM)[-1]
    assert raylet(head).poll() is raylet(second).poll() is None

    sweep = start(tmp_path, size, *ours)
    run, _ = half_done(tmp_path, sweep, lambda process: process.ppid() == lost)
    nodes.remove_node(second, allow_graceful=False)
    assert not (run / "summary.json").exists()
    assert f"{size.runs} jobs: " in (last := finish(sweep)[-1])
    assert "0 failed" in last
    assert runs(tmp_path) == whole
    assert raylet(head).poll() is None
