"""Where a system has no descriptors of folders, as Windows, runs are written and read by path."""

import os

import pytest

from snaprun import files
from snaprun.checks import UserError
from snaprun.store import RunWriter, read_run, set_aside
from tests.store.test_resume import (
    test_a_run_that_goes_on_is_byte_for_byte_one_that_was_never_interrupted as resumes,
)
from tests.store.test_store import CONFIG, ROWS, SUMMARY, write
from tests.store.test_store import (
    test_a_broken_attempt_is_started_afresh_but_a_done_one_is_kept as starts_afresh,
)


@pytest.fixture(autouse=True)
def _no_descriptors(monkeypatch):
    """Take from `os` what Windows lacks."""

    def by_path(function):
        def call(*arguments, **named):
            if any(named.get(name) is not None for name in ("dir_fd", "src_dir_fd", "dst_dir_fd")):
                raise NotImplementedError("dir_fd unavailable on this platform")
            return function(*arguments, **named)

        return call

    monkeypatch.setattr(files, "HELD", False)
    for name in ("open", "stat", "mkdir", "unlink", "replace"):
        monkeypatch.setattr(os, name, by_path(getattr(os, name)))
    monkeypatch.delattr(os, "O_DIRECTORY")  # the other flags are also used by the lock's package


def test_what_is_written_is_read_back(tmp_path):
    run = read_run(write(tmp_path / "copy" / "a"))
    assert (run.config, run.summary, len(run.metrics)) == (CONFIG, SUMMARY, len(ROWS))


def test_a_run_is_resumed_and_started_afresh(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    resumes(tmp_path / "a")
    starts_afresh(tmp_path / "b")


def test_a_run_is_set_aside(tmp_path):
    moved = set_aside(write(tmp_path / "copy" / "a"))
    assert moved is not None
    assert read_run(moved).summary == SUMMARY
    assert not (tmp_path / "copy" / "a").exists()


def test_a_folder_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "copy").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="it is a link, and links are not followed here"):
        RunWriter(tmp_path / "copy" / "a", CONFIG)
    assert not any((tmp_path / "elsewhere").iterdir())


def test_a_folder_that_was_replaced_is_noticed(tmp_path):
    with RunWriter(tmp_path / "copy" / "a", CONFIG) as writer:
        writer.begin()
        (tmp_path / "copy" / "a").rename(tmp_path / "copy" / "b")
        (tmp_path / "copy" / "a").mkdir()
        with pytest.raises(UserError, match="was removed or replaced while the run was written"):
            writer.row(**ROWS[0])
    assert not any((tmp_path / "copy" / "a").iterdir())
