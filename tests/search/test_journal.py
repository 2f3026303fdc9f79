"""The journal of a search survives processes that are killed while they write."""

import json
import multiprocessing
import os
import signal
from contextlib import suppress

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend

from snaprun.checks import UserError
from snaprun.search.journal import JOURNAL, Journal, cut_torn_line, opened


@pytest.fixture
def folder(tmp_path):
    (tmp_path / JOURNAL).touch()
    storage, _ = opened(tmp_path)
    study = optuna.create_study(storage=storage, study_name="one")
    study.add_trial(optuna.trial.create_trial(value=1.0))
    return tmp_path


def trials(folder) -> list:
    return optuna.load_study(study_name="one", storage=opened(folder)[0]).trials


@pytest.mark.parametrize("torn", [b"{", b'{"op_code":4', b"x" * 200_000])
def test_a_line_that_was_cut_short_is_no_harm(torn, folder):
    file = folder / JOURNAL
    whole = file.read_bytes()
    file.write_bytes(whole + torn)
    assert len(trials(folder)) == 1
    study = optuna.load_study(study_name="one", storage=opened(folder)[0])
    study.add_trial(optuna.trial.create_trial(value=2.0))
    assert [trial.value for trial in trials(folder)] == [1.0, 2.0]
    assert file.read_bytes().startswith(whole)
    assert all(json.loads(line) for line in file.read_bytes().splitlines())


def test_optuna_alone_would_lose_the_journal_there(folder):
    """Else our own lock is needless."""
    file = folder / JOURNAL
    file.write_bytes(file.read_bytes() + b'{"op_code":4')
    for _ in range(2):
        JournalFileBackend(str(file)).append_logs([json.loads(file.read_bytes().splitlines()[0])])
    with pytest.raises(UserError, match=r"journal\.jsonl=.*Remove its folder to search afresh"):
        opened(folder)


@pytest.mark.parametrize(("content", "kept"), [(b"", b""), (b"a", b""), (b"a\n", b"a\n")])
def test_what_is_cut(content, kept, tmp_path):
    (tmp_path / "file").write_bytes(content)
    cut_torn_line(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == kept


def hold(file, held) -> None:
    Journal(file)._lock.acquire()
    held.set()
    signal.pause()


def test_a_lock_ends_with_its_process(folder):
    context = multiprocessing.get_context("fork")
    held = context.Event()
    process = context.Process(target=hold, args=(folder / JOURNAL, held))
    process.start()
    held.wait()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert (folder / f".{JOURNAL}.lock").exists()
    study = optuna.load_study(study_name="one", storage=opened(folder)[0])
    study.add_trial(optuna.trial.create_trial(value=2.0))  # would wait 30 s for Optuna's own lock
    assert len(trials(folder)) == 2


def test_entries_of_a_block_come_together_or_not_at_all(folder):
    storage, journal = opened(folder)
    before = (folder / JOURNAL).read_bytes()
    with journal.together():
        storage.set_study_user_attr(0, "one", 1)
        storage.set_study_user_attr(0, "other", 2)
        assert (folder / JOURNAL).read_bytes() == before
    assert (folder / JOURNAL).read_bytes().count(b"\n") == before.count(b"\n") + 2
    with suppress(KeyError), journal.together():
        storage.set_study_user_attr(0, "third", 3)
        raise KeyError
    storage.set_study_user_attr(0, "fourth", 4)
    assert opened(folder)[0].get_study_user_attrs(0) == {"one": 1, "other": 2, "fourth": 4}
