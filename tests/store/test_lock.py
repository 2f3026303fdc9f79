"""Who may write a run: one live process; a dead one's lock is taken over."""

import json
import multiprocessing
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from snaprun.checks import UserError
from snaprun.files import write_atomically
from snaprun.store import RunWriter, Summary, find_runs, set_aside, state
from tests.patience import PATIENCE

SPAWN = multiprocessing.get_context("spawn")
SUMMARY = Summary("diverged", 16, 1, 0.5, {}, {})


def contend(folder: Path, rounds: int, barrier, results) -> None:
    for n in range(rounds):
        barrier.wait()
        try:
            with RunWriter(folder / str(n), {"pid": os.getpid()}) as writer:
                writer.begin()
                writer.row(tokens=os.getpid(), updates=1, seconds=0.0)
                results.put((n, "trained", os.getpid()))
                barrier.wait()  # until the other has tried
        except UserError as error:
            results.put((n, str(error), os.getpid()))
            barrier.wait()


def hold(folder: Path, ready) -> None:
    with RunWriter(folder, {}) as writer:
        writer.begin()
        (folder / ".checkpoint.pt.tmp").touch()
        ready.set()
        time.sleep(PATIENCE)


@pytest.fixture
def holder(tmp_path):
    """A process that holds the run in tmp_path/run."""
    ready = SPAWN.Event()
    process = SPAWN.Process(target=hold, args=(tmp_path / "run", ready))
    process.start()
    assert ready.wait(PATIENCE)
    yield process
    process.kill()
    process.join()


def test_of_two_processes_at_once_exactly_one_trains_twenty_times(tmp_path):
    barrier, results, rounds = SPAWN.Barrier(2), SPAWN.Queue(), 20
    arguments = (tmp_path, rounds, barrier, results)
    processes = [SPAWN.Process(target=contend, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    found = sorted(results.get(timeout=PATIENCE) for _ in range(2 * rounds))
    for process in processes:
        process.join()
    for n in range(rounds):
        said = {what: pid for number, what, pid in found if number == n}
        winner = said.pop("trained")
        ((line, _loser),) = said.items()
        assert f"as process {winner} on {socket.gethostname()} since 20" in line
        assert "\n" not in line
        (row,) = (tmp_path / str(n) / "metrics.jsonl").read_text().splitlines()
        assert json.loads(row)["tokens"] == winner


def test_the_lock_of_a_killed_process_is_taken_over_and_its_litter_removed(tmp_path, holder):
    folder = tmp_path / "run"
    assert state(folder) == "running"
    with pytest.raises(UserError, match=f"process {holder.pid} on "):
        RunWriter(folder, {})
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    assert state(folder) == "stopped"
    with RunWriter(folder, {}) as writer:
        assert sorted(path.name for path in folder.glob(".*")) == []
        writer.begin()
        assert state(folder) == "running"
    assert state(folder) == "stopped"


def test_a_killed_process_that_nobody_has_waited_for_is_dead(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
    assert state(tmp_path / "run") == "stopped"


def test_the_owner_is_gone_after_an_orderly_end(tmp_path):
    with RunWriter(tmp_path, {}):
        assert json.loads((tmp_path / "owner.json").read_text())["pid"] == os.getpid()
    assert not (tmp_path / "owner.json").exists()


def owned(folder: Path, **changes) -> None:
    with RunWriter(folder, {}) as writer:
        writer.begin()
        owner = json.loads((folder / "owner.json").read_text())
    write_atomically(folder / "owner.json", json.dumps({**owner, **changes}))


@pytest.mark.parametrize(
    "changes",
    [{"born": 1.0}, {"pid": 2**22 + 1}, {"pid": -1}, {"pid": 2**70}, {"pid": "1"}, {"host": 1}],
)
def test_another_process_with_the_number_of_a_dead_one_is_not_taken_for_it(tmp_path, changes):
    owned(tmp_path)
    assert state(tmp_path) == "running"
    owned(tmp_path, **changes)
    assert state(tmp_path) == "stopped"


def test_a_run_of_another_host_runs_while_it_writes(tmp_path, monkeypatch):
    owned(tmp_path, host="far-away", pid=1)
    assert state(tmp_path) == "running"
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    for path in tmp_path.iterdir():
        os.utime(path, (now - 301,) * 2)
    assert state(tmp_path) == "stopped"
    os.utime(tmp_path / "metrics.jsonl", (now - 299,) * 2)
    assert state(tmp_path) == "running"


def test_every_other_state(tmp_path):
    with RunWriter(tmp_path, {}) as writer:
        writer.begin()
        writer.fail("trace")
        assert state(tmp_path) == "running"
    assert state(tmp_path) == "failed"
    with RunWriter(tmp_path, {}) as writer:
        writer.begin()
        writer.finish(SUMMARY)
    assert state(tmp_path) == "diverged"
    assert state(tmp_path / "nowhere") == "stopped"


def test_a_run_is_set_aside_where_no_figure_finds_it(tmp_path):
    folder = tmp_path / "results" / "run"
    assert set_aside(folder) is None
    for n in (1, 2):
        with RunWriter(folder, {"n": n}) as writer:
            writer.begin()
            writer.finish(SUMMARY)
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        moved = set_aside(folder)
        assert moved == tmp_path / "results" / ".replaced" / f"run-{n}"
        assert {path.name: path.read_bytes() for path in moved.iterdir()} == before
        assert not folder.exists()
    with pytest.raises(UserError, match="with runs in it"):
        find_runs(tmp_path)
    assert find_runs(moved) == [moved]


def test_a_run_that_is_being_written_is_not_set_aside(tmp_path, holder):
    with pytest.raises(UserError, match=f"process {holder.pid} on "):
        set_aside(tmp_path / "run")
    assert (tmp_path / "run" / "metrics.jsonl").exists()
