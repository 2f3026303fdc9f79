"""Every write, sync and rename of a run fails once in every way; then the run is launched again."""

import json
import os
import shutil
import zlib
from itertools import product
from pathlib import Path

import pytest

from snaprun.checks import UserError
from snaprun.files import atomic
from snaprun.store import (
    CHECKPOINT,
    Mark,
    RunWriter,
    Summary,
    read_run,
    read_summary,
    set_aside,
    state,
)
from snaprun.store.schema import LOCKS, METRICS
from snaprun.trackers import TRACKERS, Trackers
from tests.cases import in_pairs
from tests.store.faults import KINDS, Faults, Killed

LAST = 6  # rows in all
EVERY = 2  # rows between checkpoints


def saved(row: int, mark: Mark) -> bytes:
    """A checkpoint: what it stands for, and 50 kB of parameters with their checksum."""
    body = bytes(range(256)) * 200
    head = {"row": row, "mark": [mark.size, mark.crc32], "crc32": zlib.crc32(body)}
    return json.dumps(head).encode() + b"\n" + body


def loaded(folder: Path) -> tuple[int, Mark]:
    if not (folder / CHECKPOINT).exists():
        return 0, Mark(0, 0)
    head, _, body = (folder / CHECKPOINT).read_bytes().partition(b"\n")
    data = json.loads(head)
    assert zlib.crc32(body) == data["crc32"], "half a checkpoint"
    return data["row"], Mark(*data["mark"])


def session(folder: Path, last: int, tensorboard: bool = False, broken: int = 0) -> None:
    """What `snaprun train` does with the store, for `last` rows in all or till it is `broken`."""
    trackers = Trackers({"tensorboard": TRACKERS["tensorboard"]()} if tensorboard else {})
    with RunWriter(folder, {"rows": last}, trackers) as writer:
        if (done := read_summary(folder)) and done.tokens >= last:
            return
        first, mark = loaded(folder)
        if first:
            writer.resume(mark)
        else:
            writer.begin()
        for row in range(first + 1, last + 1):
            writer.row(tokens=row, updates=row, seconds=0.25 * row, bpc=1 / row)
            if row == broken:
                return
            if row % EVERY == 0:
                with atomic(folder / CHECKPOINT) as file:
                    file.write(saved(row, writer.mark()))
        writer.finish(Summary("finished", last, last, 1.0, {"bpc": 1 / last}, {}))


def contents(folder: Path) -> dict[str, bytes]:
    """All that a run is, by name; the event file, named after the time, apart."""
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if "tfevents" not in path.name
    }


def prepared(folder: Path, stage: str, tensorboard: bool) -> None:
    """Bring `folder` to where the launch under test finds it."""
    folder.mkdir()
    if stage == "raised":
        session(folder, LAST - 2, tensorboard)
    if stage == "resumed":
        session(folder, LAST, tensorboard, broken=3)


def launch(folder: Path, tensorboard: bool, faults: Faults) -> None:
    """One launch under `faults`: it ends well, or in one line, or killed."""
    with pytest.MonkeyPatch.context() as patch:
        faults.install(patch)
        try:
            session(folder, LAST, tensorboard)
        except Killed:
            assert faults.kind == "killed"
        except UserError as error:
            refused = error
        else:
            return
    if faults.kind != "killed":
        assert_one_line(refused, folder)


def assert_one_line(error: UserError, folder: Path) -> None:
    """It names what cannot be written: the run, its experiment's folder or the locks in that."""
    assert "\n" not in str(error)
    assert "cannot be written (" in str(error)
    above = (folder.parent, folder.parent / LOCKS)
    assert str(error).startswith((f"{folder}", *(f"{place} cannot" for place in above)))


@pytest.mark.parametrize(
    ("kind", "stage", "tensorboard"),
    in_pairs(product(KINDS, ["fresh", "resumed", "raised"], [False, True])),
)
def test_whatever_fails_is_one_line_and_the_next_launch_ends_as_if_nothing_had(
    tmp_path, stage, kind, tensorboard
):
    if tensorboard:
        pytest.importorskip("tensorboard")
    start, folder = tmp_path / "start", tmp_path / "run"
    prepared(start, stage, tensorboard)
    shutil.copytree(start, folder)
    counted = Faults()
    launch(folder, tensorboard, counted)
    assert read_run(folder).metrics["tokens"].tolist() == list(range(1, LAST + 1))
    assert counted.calls > 30
    whole = contents(folder)

    for at in range(counted.calls):
        shutil.rmtree(folder)
        shutil.copytree(start, folder)
        launch(folder, tensorboard, Faults(kind, at))
        assert loaded(folder)[0] >= loaded(start)[0]  # and both are whole
        assert (state(folder) in ("finished", "stopped")) or kind == "killed"
        session(folder, LAST, tensorboard)
        assert contents(folder) == whole, f"{kind} at call {at}"
        # A run whose event file failed has ended all the same, without the file.
        assert len(list(folder.glob("*tfevents*"))) <= tensorboard


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_that_fails_leaves_the_one_before(tmp_path, kind):
    path = tmp_path / CHECKPOINT
    old, new = saved(1, Mark(1, 1)), saved(2, Mark(2, 2))
    # Opening, one write, sync, rename; after the rename the new one is there.
    for at in range(4):
        path.write_bytes(old)
        with pytest.MonkeyPatch.context() as patch:
            Faults(kind, at).install(patch)
            try:
                with atomic(path) as file:
                    file.write(new)
            except (UserError, Killed):
                assert path.read_bytes() == old
            else:
                assert kind == "short" or (kind == "short and full" and at != 1)
                assert path.read_bytes() == new
        assert kind == "killed" or os.listdir(tmp_path) == [CHECKPOINT]


def test_what_torch_says_about_a_full_disk_is_the_same_line(tmp_path):
    torch = pytest.importorskip("torch")

    def save():
        with atomic(tmp_path / CHECKPOINT) as file:
            torch.save({"J": torch.zeros(100_000), "θ": torch.zeros(7)}, file)

    for at in range(1, 5):
        with pytest.MonkeyPatch.context() as patch:
            Faults("full", at).install(patch)
            with pytest.raises(UserError) as caught:
                save()
        assert "No space left on device" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("earlier", [FileNotFoundError, LookupError])
def test_an_error_of_the_one_who_writes_is_not_taken_for_the_disks(tmp_path, earlier):
    def absent():
        try:
            (tmp_path / "nowhere").read_bytes()
        except FileNotFoundError as error:
            raise earlier("an error that another OSError led to") from error

    def broken():
        try:
            absent()
        except earlier:
            with atomic(tmp_path / CHECKPOINT) as file:
                file.write("no bytes")

    with pytest.raises(TypeError, match="bytes-like"):
        broken()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["ENOSPC", "EIO", "full", "killed"])
def test_a_run_that_cannot_be_set_aside_stays_as_it_is(tmp_path, kind):
    folder = tmp_path / "run"
    session(folder, 4)
    before = contents(folder)
    refused = None
    for at in range(10):
        faults = Faults(kind, at)
        with pytest.MonkeyPatch.context() as patch:
            faults.install(patch)
            try:
                set_aside(folder)
            except UserError as error:
                refused = error
            except Killed:
                assert kind == "killed"
        moved = tmp_path / ".replaced" / "run-1"
        if moved.exists():
            assert not folder.exists()
            moved.rename(folder)
        assert contents(folder) == before
        if not faults.hit:
            break
    else:
        raise AssertionError("never without a fault")
    assert kind == "killed" or "cannot be written (" in str(refused)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "killed"])
def test_no_half_of_a_row_stays(tmp_path, monkeypatch, kind):
    faults = Faults(kind)
    faults.install(monkeypatch)
    with RunWriter(tmp_path, {}) as writer:
        writer.begin()
        writer.row(tokens=1, updates=1, seconds=0.5)
        first = (tmp_path / METRICS).read_bytes()
        faults.at = faults.calls
        if kind == "short":  # the rest follows
            writer.row(tokens=2, updates=2, seconds=0.5)
            second = first.replace(b"1", b"2")
        else:
            with pytest.raises(UserError):
                writer.row(tokens=2, updates=2, seconds=0.5)
            second = b""
        faults.kind = ""
        assert (tmp_path / METRICS).read_bytes() == first + second


def test_a_trace_that_cannot_be_written_does_not_hide_the_failure(tmp_path, caplog):
    with RunWriter(tmp_path, {}) as writer:
        writer.begin()
        with pytest.MonkeyPatch.context() as patch:
            Faults("full", 0).install(patch)
            writer.fail("trace")
    assert "No space left on device" in caplog.text
    assert state(tmp_path) == "stopped"
