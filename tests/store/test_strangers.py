"""Links, FIFOs and folders of others where snaprun writes: refused, nothing of theirs changes."""

import os
import shutil
import socket
import zlib
from pathlib import Path

import pytest

from snaprun.checks import UserError
from snaprun.files import atomic
from snaprun.status import status
from snaprun.store import (
    BEST,
    CHECKPOINT,
    Mark,
    RunWriter,
    Summary,
    find_runs,
    read_config,
    read_intact,
    read_run,
    read_summary,
    require_own,
    set_aside,
    state,
)

SUMMARY = Summary("finished", 32, 2, 1.0, {"bpc": 0.5}, {})
READ = ("config.yaml", "metrics.jsonl", "summary.json")
WRITTEN = (
    *READ,
    CHECKPOINT,
    BEST,
    "owner.json",
    "failure.log",
    ".metrics.jsonl.tmp",
    ".summary.json.tmp",
)


def session(folder: Path, mark: Mark | None = None) -> Mark:
    """A run of two rows, or the second of them."""
    with RunWriter(folder, {"seed": 0}) as writer:
        writer.begin() if mark is None else writer.resume(mark)
        if mark is None:
            writer.row(tokens=16, updates=1, seconds=0.5, bpc=1.0)
            mark = writer.mark()
            for name in (CHECKPOINT, BEST):
                with writer.checkpoint(name) as file:
                    file.write(b"checkpoint")
            writer.fail("trace")
        writer.row(tokens=32, updates=2, seconds=1.0, bpc=0.5)
        writer.finish(SUMMARY)
    return mark


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def one_line(error: pytest.ExceptionInfo[UserError], *words: str) -> None:
    assert str(error.value).isprintable()
    for word in words:
        assert word in str(error.value)


@pytest.fixture
def victim(tmp_path) -> Path:
    """A folder of someone else's with a file in it."""
    folder = tmp_path / "victim"
    folder.mkdir()
    (folder / "file").write_text("mine")
    return folder


@pytest.mark.parametrize("hard", [False, True], ids=["link", "hard link"])
@pytest.mark.parametrize("name", WRITTEN)
def test_a_file_that_is_a_link_never_leads_to_the_one_behind_it(tmp_path, victim, name, hard):
    folder = tmp_path / "experiment" / "run"
    folder.mkdir(parents=True)
    if hard:
        os.link(victim / "file", folder / name)
    else:
        (folder / name).symlink_to(victim / "file")
    if name == "summary.json":
        with pytest.raises(UserError, match="restart=true"):
            session(folder)
    else:
        session(folder)
        assert not (folder / name).is_symlink()
        assert read_run(folder).summary == SUMMARY
    assert contents(victim) == {"file": b"mine"}


@pytest.mark.parametrize("name", READ)
def test_a_link_is_not_read_either(tmp_path, name):
    folder = tmp_path / "run"
    mark = session(folder)
    (folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(tmp_path / name)
    with pytest.raises(UserError) as refused:
        read_intact(folder)
    one_line(refused, name, "link")
    if name == "metrics.jsonl":
        with pytest.raises(UserError) as refused:
            session(folder, mark)
        one_line(refused, name, "link")


def fifo(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)


@pytest.mark.parametrize("make", [fifo, device, listening, Path.mkdir])
@pytest.mark.parametrize("name", [*READ, "owner.json"])
def test_what_is_no_file_is_refused_at_once(tmp_path, monkeypatch, name, make):
    folder = tmp_path / "run"
    mark = session(folder)
    (folder / name).unlink(missing_ok=True)
    monkeypatch.chdir(folder)  # the name of a socket must be short
    make(folder / name)
    monkeypatch.chdir(tmp_path)
    if name == "owner.json":
        assert state(folder) == "finished"
        assert "finished" in status(tmp_path)
        return
    for read in (read_intact, read_run):
        with pytest.raises(UserError) as refused:
            read(folder)
        one_line(refused, name, "it is a")
    if (name, make) != ("config.yaml", Path.mkdir):  # then it is the folder of no run
        assert "1 run" in status(tmp_path)
    if name == "metrics.jsonl":
        with pytest.raises(UserError) as refused:
            session(folder, mark)
        one_line(refused, name, "it is a")


@pytest.mark.parametrize("place", ["experiment", "experiment/run", "experiment/.locks"])
@pytest.mark.parametrize("dangling", [False, True])
def test_a_folder_that_is_a_link_is_not_entered(tmp_path, victim, place, dangling):
    link = tmp_path / place
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(tmp_path / "nowhere" if dangling else victim)
    folder = tmp_path / "experiment" / "run"
    with pytest.raises(UserError) as refused:
        RunWriter(folder, {})
    one_line(refused, f"{link} ", "link")
    assert contents(victim) == {"file": b"mine"}
    assert not (tmp_path / "nowhere").exists()
    if place != "experiment/.locks":
        with pytest.raises(UserError) as refused:
            require_own(folder)
        one_line(refused, "link", "results=")


@pytest.mark.parametrize(
    "make", [fifo, Path.mkdir, lambda path: path.symlink_to("../../victim/file")]
)
def test_a_lock_that_is_no_file_is_refused(tmp_path, victim, make):
    (tmp_path / "experiment" / ".locks").mkdir(parents=True)
    make(tmp_path / "experiment" / ".locks" / "run.lock")
    with pytest.raises(UserError) as refused:
        RunWriter(tmp_path / "experiment" / "run", {})
    one_line(refused, "run")
    assert contents(victim) == {"file": b"mine"}
    assert not (tmp_path / "experiment" / "run").exists()


def test_runs_are_not_set_aside_through_a_link(tmp_path, victim):
    folder = tmp_path / "experiment" / "run"
    session(folder)
    (tmp_path / "experiment" / ".replaced").symlink_to(victim)
    with pytest.raises(UserError) as refused:
        set_aside(folder)
    one_line(refused, ".replaced", "link")
    assert read_summary(folder) == SUMMARY
    assert contents(victim) == {"file": b"mine"}


def test_a_link_in_the_place_of_a_run_is_set_aside_as_a_link(tmp_path, victim):
    folder = tmp_path / "experiment" / "run"
    folder.parent.mkdir()
    folder.symlink_to(victim)
    moved = set_aside(folder)
    assert moved is not None
    assert moved.readlink() == victim
    assert not os.path.lexists(folder)
    assert contents(victim) == {"file": b"mine"}


def test_the_root_of_the_results_may_be_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "results").symlink_to(tmp_path / "disk")
    folder = tmp_path / "results" / "experiment" / "run"
    mark = session(folder)
    session(folder, mark)
    require_own(folder)
    assert read_run(tmp_path / "disk" / "experiment" / "run").summary == SUMMARY
    assert find_runs(tmp_path / "results") == [tmp_path / "disk" / "experiment" / "run"]
    assert "experiment/run  finished" in status(tmp_path / "results")
    (tmp_path / "one").symlink_to(folder)
    (found,) = find_runs(tmp_path / "one")
    assert read_config(found) == {"seed": 0}


def test_another_name_of_the_metrics_keeps_what_it_had(tmp_path):
    mark = session(tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "copy", copy_function=os.link)
    before = contents(tmp_path / "copy")
    session(tmp_path / "run", mark)
    assert contents(tmp_path / "copy") == before
    assert zlib.crc32(before["metrics.jsonl"][: mark.size]) == mark.crc32


@pytest.mark.parametrize("removed", ["experiment", "experiment/run", "experiment/.locks"])
def test_after_a_removal_and_a_second_launch_the_first_writes_nothing_more(tmp_path, removed):
    folder = tmp_path / "experiment" / "run"
    first = RunWriter(folder, {"who": "first"})
    first.begin()
    first.row(tokens=16, updates=1, seconds=0.5)
    shutil.rmtree(tmp_path / removed)
    try:
        second = RunWriter(folder, {"who": "second"})
    except UserError:
        assert removed == "experiment/run"  # its lock is still there
        second = None
    if second:
        second.begin()
        second.row(tokens=32, updates=2, seconds=0.5)
    before = contents(folder) if folder.exists() else {}

    def checkpoint():
        with first.checkpoint() as file:
            file.write(b"of the first")

    for write in (
        lambda: first.row(tokens=32, updates=2, seconds=1.0),
        checkpoint,
        lambda: first.finish(SUMMARY),
    ):
        with pytest.raises(UserError) as refused:
            write()
        one_line(refused, str(folder), "removed or replaced")
    first.close()
    assert (contents(folder) if folder.exists() else {}) == before
    if second:
        assert state(folder) == "running"
        second.finish(SUMMARY)
        second.close()
        assert read_run(folder).config == {"who": "second"}


def test_every_folder_that_was_made_is_brought_to_the_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    folder = tmp_path / "results" / "deep" / "experiment" / "run"
    RunWriter(folder, {}).close()
    assert set(map(str, [tmp_path, *folder.parents[:3], folder])) <= set(synced)
    synced.clear()
    set_aside(folder)
    experiment = str(folder.parent)
    assert synced[-2:] == [f"{experiment}/.replaced", experiment]


def test_a_folder_that_a_user_names_may_lie_behind_a_link(tmp_path, victim):
    (tmp_path / "link").symlink_to(victim)
    with atomic(tmp_path / "link" / "new") as file:
        file.write(b"x")
    (victim / "old").symlink_to("file")
    with atomic(tmp_path / "link" / "old") as file:
        file.write(b"y")
    assert contents(victim) == {"file": b"mine", "new": b"x", "old": b"y"}
