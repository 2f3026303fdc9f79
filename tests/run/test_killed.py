"""Runs of the real command killed with SIGKILL, SIGTERM and SIGINT, launched again, compared."""

import itertools
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from snaprun.cli import _main
from snaprun.engine import native
from snaprun.run import checkpoint
from tests.engine.engines import NEEDS_CORE
from tests.patience import PATIENCE
from tests.run.test_resume import rows, same

TEXT = "the quick brown fox jumps over the lazy dog. " * 200
COPY = ["train", "task=copy", "task.threshold=0.6"]
CHARLM = ["train", "task=charlm", "task.text=text", "task.crop=20"]
ALIGN = ["align", *COPY[1:], "align.rules=[snap1,uoro]", "align.draws=8", "align.points=60"]
PRUNED = ["sparsity=magnitude", "sparsity.begin=0", "sparsity.end=100000", "sparsity.every=3000"]
# Command and tokens, as many as make a run of some seconds, for the kills to fall into.
CASES = {
    "copy snap2": ([*COPY, "rule=snap2"], 180_000),
    "stream uoro": ([*CHARLM, "task.mode=stream", "rule=uoro"], 250_000),
    "charlm bptt": ([*CHARLM, "rule=bptt", "train.update_every=7"], 1_000_000),
    "align rflo": ([*ALIGN, "rule=rflo"], 300_000),
    "pruned snap1": ([*CHARLM, "rule=snap1", *PRUNED], 400_000),
}
SETTINGS = {
    "portable": ("SNAPRUN_ISA=portable", []),
    "best": ("SNAPRUN_ISA=", []),
    "torch": ("SNAPRUN_ISA=", ["engine=torch", "train.log_every=200", "train.eval_every=1400"]),
}
SLOWER = 20  # the torch engine, at least
KILLS = 20  # of every case in every setting: 300
SMALL = ["cell.units=24", "readout.hidden=16", "train.lanes=2", "train.eval_every=7000"]


def start(
    folder: Path, *words: str, every: str = "0.02s", isa: str = "SNAPRUN_ISA="
) -> subprocess.Popen:
    """A run whose checkpoints are so frequent that a kill often falls into the writing of one."""
    folder.mkdir(exist_ok=True)
    (folder / "text").write_text(TEXT)
    command, *others = words
    checkpoints = f"train.checkpoint_every={every}"
    name, _, value = isa.partition("=")
    return subprocess.Popen(
        [sys.executable, "-m", "snaprun", command, *SMALL, *others, checkpoints],
        cwd=folder,
        env={**os.environ, name: value},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> str:
    try:
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 0, err
    return out


def in_this_process(folder: Path, *words: str) -> None:
    """The same run, to its end."""
    folder.mkdir(exist_ok=True)
    command, *others = words
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert _main([command, *SMALL, *others, "train.checkpoint_every=null"]) == 0


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
    assert summaries[0]["segments"] == summaries[1]["segments"]


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("case", CASES)
def test_killed_at_twenty_random_moments(case, setting, tmp_path):
    draw = random.Random(f"{case} {setting}")
    (words, tokens), (isa, more) = CASES[case], SETTINGS[setting]
    if more:
        tokens //= SLOWER
        slower = {
            f"sparsity.{key}": value // SLOWER for key, value in (("end", 100000), ("every", 3000))
        }
        words = [*words, *(f"{k}={v}" for k, v in slower.items() if PRUNED[0] in words)]
    words = [*words, *more, f"train.tokens={tokens}"]
    whole = tmp_path / "whole"
    finish(start(whole, *words, isa=isa))
    kills = 0
    for attempt in itertools.count():
        killed, written, before = tmp_path / f"killed{attempt}", 0, kills
        while kills < KILLS:
            process = start(killed, *words, isa=isa)
            begun(killed, process, written)
            time.sleep(draw.uniform(0, 0.15))
            if process.poll() is not None:
                break
            process.kill()
            process.communicate()
            kills += 1
            files = list(killed.glob("results/*/*/metrics.jsonl"))
            written = files[0].read_bytes().count(b"\n") if files else 0
        out, err = start(killed, *words, isa=isa).communicate(timeout=600)
        assert kills > before, f"the run is too short to be killed: {out}{err}"
        assert "the setting" not in err
        assert_equal(whole, killed)
        if kills == KILLS:
            break
    print(f"{case}, {setting}: {kills} kills in {attempt + 1} runs, no differing bit")


@pytest.mark.slow
@NEEDS_CORE
def test_a_resume_under_another_instruction_set_says_so(tmp_path):
    words, tokens = CASES["copy snap2"]
    words = [*words, f"train.tokens={tokens}"]
    process = start(tmp_path, *words, isa="SNAPRUN_ISA=portable")
    begun(tmp_path, process, 0)
    process.terminate()
    _, err = process.communicate()
    if process.returncode != 143:
        pytest.fail(err)
    best = native._native.isa()
    if best == "portable":
        pytest.skip("this machine has one instruction set")
    told = f"isa={best} (was portable)"
    refused = start(tmp_path, *words, "train.strict=true")
    _, err = refused.communicate()
    assert refused.returncode == 2
    assert told in err
    resumed = start(tmp_path, *words)
    _, err = resumed.communicate()
    assert resumed.returncode == 0
    (line,) = (line for line in err.splitlines() if told in line)
    assert "the setting changes" in line
    segments = json.loads((the_run(tmp_path) / "summary.json").read_text())["segments"]
    assert [segment["isa"] for segment in segments] == ["portable", best]
    out, _ = subprocess.Popen(
        [sys.executable, "-m", "snaprun", "status"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    ).communicate()
    assert "finished*" in out


@pytest.mark.parametrize(
    ("signum", "code"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
)
def test_a_signal_stops_the_run_within_seconds(signum, code, tmp_path):
    words = [*CASES["copy snap2"][0], "train.tokens=90000"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    in_this_process(whole, *words)
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
    in_this_process(stopped, *words)
    assert_equal(whole, stopped)
