"""Runs of the real command killed with SIGKILL, SIGTERM and SIGINT, launched again, compared."""

import json
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from snaprun.train import checkpoint
from tests.patience import PATIENCE
from tests.train.test_resume import rows, same

TEXT = "the quick brown fox jumps over the lazy dog. " * 200
TASKS = {
    "copy": ["task=copy", "task.threshold=2.5"],
    "charlm": ["task=charlm", "task.text=text", "task.crop=20"],
}
# As many tokens as make a run of some seconds, for the kills to fall into.
RULES = {
    "snap2": ["rule=snap2", "train.tokens=180000"],
    "uoro": ["rule=uoro", "train.tokens=250000"],
    "bptt": ["rule=bptt", "train.update_every=7", "train.tokens=1000000"],
}
SMALL = ["cell.units=24", "readout.hidden=16", "train.lanes=2", "train.eval_every=7000"]


def start(folder: Path, *words: str, every: str = "0.02s") -> subprocess.Popen:
    """A run whose checkpoints are so frequent that a kill often falls into the writing of one."""
    (folder / "text").write_text(TEXT)
    command = [sys.executable, "-m", "snaprun", "train", *SMALL, *words]
    return subprocess.Popen(
        [*command, f"train.checkpoint_every={every}"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> str:
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return out


def the_run(folder: Path) -> Path:
    (config,) = folder.glob("results/*/*/config.yaml")
    return config.parent


def begun(folder: Path, process: subprocess.Popen, rows_before: int) -> None:
    """Wait until the process has written a row more than were there."""
    while process.poll() is None:
        files = list(folder.glob("results/*/*/metrics.jsonl"))
        if files and files[0].read_bytes().count(b"\n") != rows_before:
            return
        time.sleep(0.002)


def cpu_seconds(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


def assert_equal(one: Path, two: Path) -> None:
    one, two = the_run(one), the_run(two)
    assert rows(one) == rows(two)
    saved = [checkpoint.load(folder) for folder in (one, two)]
    for part in ("engine", "task", "data"):
        same(saved[0][part], saved[1][part])
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (one, two)]
    assert summaries[0]["metrics"] == summaries[1]["metrics"]


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("task", TASKS)
def test_killed_at_twenty_random_moments(task, rule, tmp_path):
    draw = random.Random(f"{task} {rule}")
    words = [*TASKS[task], *RULES[rule]]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    finish(start(whole, *words))
    kills, written = 0, 0
    while kills < 20:
        process = start(killed, *words)
        begun(killed, process, written)
        time.sleep(draw.uniform(0, 0.15))
        ended = process.poll() is not None
        process.kill()
        process.communicate()
        if ended:
            break
        kills += 1
        files = list(killed.glob("results/*/*/metrics.jsonl"))
        written = files[0].read_bytes().count(b"\n") if files else 0
    finish(start(killed, *words))
    print(f"{task} {rule}: {kills} kills")
    assert kills >= 15, "the run is too short for so many kills"
    assert_equal(whole, killed)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_the_run_within_seconds(signum, code, tmp_path):
    words = [*TASKS["copy"], *RULES["snap2"]]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    whole.mkdir()
    stopped.mkdir()
    finish(start(whole, *words))
    before = cpu_seconds(resource.getrusage(resource.RUSAGE_CHILDREN))
    process = start(stopped, *words, every="null")
    begun(stopped, process, 0)
    used = sum(psutil.Process(process.pid).cpu_times()[:2])
    process.send_signal(signum)
    _, err = process.communicate(timeout=PATIENCE)
    # Of its own processor time: it may have to share the machine.
    assert cpu_seconds(resource.getrusage(resource.RUSAGE_CHILDREN)) - before - used < 5
    assert process.returncode == code
    assert "Traceback" not in err
    assert (the_run(stopped) / "checkpoint.pt").exists()
    assert not (the_run(stopped) / "summary.json").exists()
    finish(start(stopped, *words))
    assert_equal(whole, stopped)
