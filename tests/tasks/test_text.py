"""Texts from the standard library and from files, and every way that a path can be wrong."""

import hashlib
import os
import platform
import time
from pathlib import Path
from typing import ClassVar

import pytest

from snaprun.checks import UserError
from snaprun.tasks import TASKS, CharLM, local
from snaprun.tasks.text import WIKITEXT103, load_text
from snaprun.tasks.unchanged import require_same


def refusal(name: str, what: str = "task.text") -> str:
    with pytest.raises(UserError) as caught:
        load_text(name, what)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(
        f"{what}={name!r} is not accepted: expected pydoc, wikitext103 or the path"
    )
    return line


def test_pydoc_is_the_topics_in_the_order_of_their_names():
    from pydoc_data.topics import topics

    corpus = load_text("pydoc")
    text = corpus.train.tobytes()
    assert corpus.valid is None
    assert len(text) == sum(len(t.encode()) for t in topics.values()) + len(topics) - 1
    places = [text.index(topics[key].encode()) for key in ("assert", "if", "lambda", "yield")]
    assert places == sorted(places)
    assert corpus.sha256 == hashlib.sha256(text).hexdigest()
    assert platform.python_version() in corpus.source


def test_a_path_gives_the_bytes_of_the_file(tmp_path):
    content = b"na\xc3\xafve\r\n\x00\xff"
    path = tmp_path / "a text"
    path.write_bytes(content)
    corpus = load_text(str(path))
    assert corpus.train.tobytes() == content
    assert corpus.train.dtype == "uint8"
    assert corpus.valid is None
    assert corpus.sha256 == hashlib.sha256(content).hexdigest()
    assert corpus.source == str(path)


def test_a_path_may_be_relative_or_start_at_home(tmp_path, monkeypatch):
    (tmp_path / "t.txt").write_bytes(b"words")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_text("t.txt").train.tobytes() == b"words"
    assert load_text("~/t.txt").train.tobytes() == b"words"


def test_a_link_is_followed(tmp_path):
    (tmp_path / "t.txt").write_bytes(b"words")
    (tmp_path / "link").symlink_to("t.txt")
    assert load_text(str(tmp_path / "link")).train.tobytes() == b"words"


def test_a_missing_file_is_named_in_full(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert f"{str(tmp_path / 'none.txt')!r} cannot be read (No such file" in refusal("none.txt")


def test_the_key_that_was_typed_is_named():
    refusal("no/such/file", "task.valid_text")


def test_a_folder_is_its_files_in_the_order_of_their_paths(tmp_path, caplog):
    outside = tmp_path / "outside"
    outside.write_bytes(b"not ours")
    folder = tmp_path / "texts"
    for name in ("b/2.txt", "b/10.txt", "a.txt", "b.txt", ".hidden", ".git/c.txt", "b/.d.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode() + b"\n")
    (folder / "link").symlink_to(outside)
    (folder / "a.link").symlink_to(folder / "a.txt")
    (folder / "folder").symlink_to(folder / "b")
    (folder / "void").touch()
    corpus, joined = load_text(str(folder)), b"a.txt\nb.txt\nb/10.txt\nb/2.txt\n"
    assert corpus.train.tobytes() == joined
    assert corpus.sha256 == hashlib.sha256(joined).hexdigest()
    assert changed(str(folder), corpus.sha256) == ""
    assert not caplog.records
    (folder / "b" / "c.bin").write_bytes(b"\0\1")
    assert "task.text=" in changed(str(folder), corpus.sha256)
    assert load_text(str(folder)).train.tobytes() == joined + b"\0\1"
    (record,) = caplog.records
    assert record.getMessage().endswith(f"are learned too: {folder / 'b' / 'c.bin'}")


def test_a_folder_without_text_is_refused(tmp_path):
    (tmp_path / ".hidden").write_bytes(b"words")
    assert f"'{tmp_path}' has no file in or under it" in refusal(str(tmp_path))
    (tmp_path / "void").touch()
    assert f"'{tmp_path}' is empty" in refusal(str(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    assert f"'{tmp_path / 'pipe'}' is not a regular file" in refusal(str(tmp_path))


def test_no_name_is_refused():
    refusal("")


def test_an_empty_file_is_refused(tmp_path):
    path = tmp_path / "empty"
    path.touch()
    assert f"'{path}' is empty" in refusal(str(path))


def test_a_folder_of_too_many_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "MOST_FILES", 2)
    for name in "abc":
        (tmp_path / name).write_text(name)
    assert "it has more than 2 files" in refusal(str(tmp_path))


def test_a_file_in_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "t").write_bytes(b"words")
    assert "(Not a directory)" in refusal(str(tmp_path / "t" / "u"))


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "is not a regular file" in refusal(str(tmp_path / "pipe"))


def test_a_ring_of_links_is_refused(tmp_path):
    (tmp_path / "a").symlink_to("a")
    assert "cannot be read (Too many levels" in refusal(str(tmp_path / "a"))


def test_an_impossible_path_is_refused():
    assert "cannot be read (embedded null" in refusal("a\0b")


def test_an_unreadable_file_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "locked"
    path.write_bytes(b"words")
    path.chmod(0)
    if os.access(path, os.R_OK):  # root may read everything

        def read_bytes(self: Path) -> bytes:
            raise PermissionError(13, "Permission denied", str(self))

        monkeypatch.setattr(Path, "read_bytes", read_bytes)
    for name in (path, tmp_path):
        assert f"'{path}' cannot be read (Permission denied)" in refusal(str(name))


def same(folder: Path, facts: dict) -> list[str]:
    """What `require_same` returns for the run that recorded these facts."""
    kind = TASKS["series" if "series" in facts else "charlm"]
    arguments = {"data": facts["series"]} if "series" in facts else facts
    return require_same(kind, arguments, folder, facts)


def changed(name: str, sha256: str, what: str = "text") -> str:
    """The line that refuses a run which was trained on a text of that sum, "" where none does."""
    try:
        facts = {what: name, f"{what}_sha256": sha256, "parameters": 3}
        same(Path("results/a/run"), facts)
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("what", ["text", "valid_text", "series"])
def test_a_text_that_was_changed_is_told_with_both_sums(what, tmp_path):
    path = tmp_path / "t"
    path.write_bytes(b"words")
    before, after = (hashlib.sha256(text).hexdigest() for text in (b"words", b"swords"))
    assert changed(str(path), before, what) == ""
    path.write_bytes(b"swords")
    line = changed(str(path), before, what)
    assert "\n" not in line
    key = {"series": "data"}.get(what, what)
    assert line.startswith(f"task.{key}='{path}' is not accepted")
    for part in (f"{before[:12]}…", f"{after[:12]}…", "results/a/run", "restart=true", "name="):
        assert part in line
    assert changed(str(path), after, what) == ""


def test_a_change_that_keeps_the_size_and_the_time_is_seen(tmp_path):
    path = tmp_path / "t"
    path.write_bytes(b"words")
    before = path.stat()
    recorded = hashlib.sha256(b"words").hexdigest()
    assert changed(str(path), recorded) == ""
    time.sleep(0.02)  # a file system counts time in steps, of some milliseconds
    with path.open("r+b") as file:
        file.write(b"W")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert "sha256" in changed(str(path), recorded)


def test_texts_that_are_no_files_are_compared_too(monkeypatch):
    assert changed("pydoc", load_text("pydoc").sha256) == ""
    assert "task.text='pydoc'" in changed("pydoc", "0" * 64)
    monkeypatch.setattr("snaprun.tasks.text.texts", None)  # nothing is fetched
    assert changed("wikitext103", WIKITEXT103.sha256) == ""
    assert "task.text='wikitext103'" in changed("wikitext103", "0" * 64)


def test_a_task_of_ones_own_says_which_of_its_arguments_name_files(tmp_path):
    class Own(CharLM):
        files: ClassVar = {"weather": "sky_sha256"}

    path = tmp_path / "t"
    path.write_bytes(b"rain")
    facts = {"sky_sha256": hashlib.sha256(b"rain").hexdigest(), "text_sha256": "0" * 64}
    arguments = {"weather": str(path), "text": "pydoc"}
    assert require_same(Own, arguments, tmp_path, facts) == []
    path.write_bytes(b"sun")
    with pytest.raises(UserError, match=r"^task\.weather="):
        require_same(Own, arguments, tmp_path, facts)
    assert require_same(Own, {"weather": None}, tmp_path, facts) == []  # it names no file


def test_what_cannot_be_read_is_not_compared_but_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("none", "pipe", "."):
        facts = {"valid_text": str(tmp_path / name), "valid_text_sha256": "0" * 64}
        assert same(tmp_path, facts) == [f"task.valid_text={tmp_path / name}"]
    assert same(tmp_path, {"lr": 0.1}) == []
    assert same(tmp_path, {"text": "pydoc", "text_sha256": load_text("pydoc").sha256}) == []
