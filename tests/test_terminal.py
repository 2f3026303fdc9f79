"""Names with escape sequences and control characters never reach a terminal as they are."""

import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snaprun import application
from snaprun.cli import _main
from snaprun.outcome import Outcome, Status
from snaprun.run.progress import Progress
from snaprun.store import RunWriter, Summary
from snaprun.terminal import VisibleFormatter, complain, note, say, visible

EVIL = "a\x1b[2J\x1b]0;title\x07b\r\x9b31m\u202e\u2028c"


def shown(text: str) -> None:
    assert all(line.isprintable() for line in text.split("\n"))
    assert "\\x1b[2J" in text


@given(st.text(), st.sampled_from(["", "\n", "\n\t"]))
def test_every_character_can_be_seen(text, keep):
    said = visible(text, keep)
    assert all(c.isprintable() or c in keep for c in said)
    said.encode()  # half of a surrogate pair could not be
    if text.isprintable():
        assert said == text


def test_what_is_said(capsys):
    say(EVIL)
    note(EVIL)
    complain(EVIL)
    out, err = capsys.readouterr()
    shown(out)
    shown(err)
    assert (out.count("\n"), err.count("\n")) == (1, 2)


def test_a_log_line(caplog):
    record = logging.LogRecord("x", logging.INFO, __file__, 1, "left out: %s", (EVIL,), None)
    shown(VisibleFormatter("%(message)s").format(record))


def test_the_configured_log_is_one(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.root, "handlers", [])
    assert _main(["status", "source=nowhere"]) == 2
    (handler,) = logging.root.handlers
    assert isinstance(handler.formatter, VisibleFormatter)
    capfd.readouterr()


def test_the_label_and_the_metrics_of_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Progress(EVIL, 10) as progress:
        progress.update(5, {EVIL: 1.0})
    err = capsys.readouterr().err
    assert "\\x1b[2J" in err
    for sign in ("\x1b[2J", "\x07", "\x9b", "\u202e"):
        assert sign not in err


@pytest.fixture
def evil_run(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results" / EVIL / EVIL
    with RunWriter(folder, {"seed": 0, EVIL: EVIL}) as writer:
        writer.begin()
        writer.row(tokens=16, updates=1, seconds=0.5, **{EVIL: 0.5})
        writer.finish(Summary("finished", 16, 1, 0.5, {EVIL: 0.5}, {}))
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["fsck"],
        ["plot"],
        ["plot", "kind=learning"],
        ["sample", "run=X"],
        ["evaluate", "run=X"],
        ["export", "run=X"],
    ],
)
@pytest.mark.parametrize("damage", ["", "metrics.jsonl", "config.yaml", "summary.json"])
def test_a_strangers_run_in_every_command(evil_run, words, damage, capfd):
    if damage:
        (evil_run / damage).write_text(EVIL)
    # A path with brackets is quoted for Hydra.
    named = [f"run='{evil_run}'" if word == "run=X" else word for word in words]
    code = _main(named)
    assert code in (0, 1, 2)
    out, err = capfd.readouterr()
    for line in (out + err).split("\n"):
        assert line.isprintable()


def test_jobs_of_a_sweep(capsys):
    from snaprun.jobs import Command, Session

    session = Session(Command("train", False))
    session.sweep = True
    session.record(0, EVIL, Outcome(Status.FAILED, EVIL, EVIL, Path(EVIL), EVIL))
    session.close()
    for text in capsys.readouterr():
        shown(text)


def test_the_scratch_folder_is_new_and_ours_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(application, "_scratch", application._scratch.__wrapped__)
    folders = [Path(application._scratch()) for _ in range(2)]
    assert len(set(folders)) == 2
    for folder in folders:
        assert folder.parent == tmp_path
        assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("words", [["train", "--help"], ["train", "--cfg", "job"], ["cost"]])
def test_a_reader_who_has_gone_is_no_mistake(tmp_path, words):
    """As after `snaprun train --help | head -1`."""
    command = [sys.executable, "-u", "-c", "from snaprun.cli import main; main()", *words]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        command, stdout=writing, stderr=subprocess.PIPE, text=True, cwd=tmp_path, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
