"""Files torn, emptied, cut, overwritten at random: what is read is right or refused in one line."""

import dataclasses
import json
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snaprun.checks import UserError
from snaprun.store import (
    Mark,
    RunWriter,
    Summary,
    find_runs,
    read_config,
    read_intact,
    read_run,
    read_summary,
    state,
)
from snaprun.store.seal import sealed

CONFIG = {"task": {"name": "copy"}, "optim": {"lr": 1e-5, "clip": None}, "seed": 0}
SUMMARY = Summary("finished", 80, 5, 1.25, {"bpc": 0.2}, {"ms_per_token": 0.1}, {"parameters": 7})
FILES = ("config.yaml", "metrics.jsonl", "summary.json", "owner.json")


def rows(writer: RunWriter, first: int, last: int) -> None:
    for n in range(first, last):
        writer.row(tokens=16 * n, updates=n, seconds=n / 4, bpc=1 / n, level=n)


def made(folder: Path, done: bool) -> Mark:
    with RunWriter(folder, CONFIG) as writer:
        writer.begin()
        rows(writer, 1, 4)
        mark = writer.mark()
        rows(writer, 4, 6)
        owner = (folder / "owner.json").read_bytes()
        if done:
            writer.finish(SUMMARY)
    (folder / "owner.json").write_bytes(owner)
    return mark


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A finished run and one that was killed, each with the mark behind its third row."""
    root = tmp_path_factory.mktemp("original")
    return {done: (root / str(done), made(root / str(done), done)) for done in (True, False)}


@st.composite
def damages(draw, name=None):
    """The name of a file and a function from its bytes to damaged ones."""
    kind = draw(st.sampled_from(("cut", "slice", "random", "append", "repeat", "json")))
    noise = draw(st.binary(max_size=40))
    start, length = draw(st.floats(0, 1)), draw(st.integers(0, 20))
    value = draw(st.sampled_from((b"null", b"[]", b"{}", b"-1", b"1e999", b"[" * 3000, b"...\n")))

    def damage(content: bytes) -> bytes:
        at = int(start * len(content))
        return {
            "cut": content[:at],
            "slice": content[:at] + noise + content[at + len(noise) :],
            "random": noise,
            "append": content + noise,
            "repeat": content[:at] + content[at : at + length] + content[at:],
            "json": value,
        }[kind]

    return name or draw(st.sampled_from(FILES)), damage


def told(summary: Summary | None) -> tuple[Summary, int]:
    """What a summary says; the name of the checksums, for which none vouches, is no part of it."""
    assert summary
    return dataclasses.replace(summary, extras={}), summary.extras["parameters"]


def one_line(error: UserError, folder: Path) -> None:
    assert "\n" not in str(error)
    assert len(str(error)) < 400
    assert str(folder) in str(error)


class Copy:
    """A run of its own to damage; hypothesis calls a test many times within one tmp_path."""

    def __init__(self, original: Path) -> None:
        self._temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self._temporary.name) / "run"
        shutil.copytree(original, self.folder)

    def __enter__(self) -> Path:
        return self.folder

    def __exit__(self, *exception: object) -> None:
        self._temporary.cleanup()


@settings(max_examples=200, deadline=None)
@given(damage=damages())
def test_a_finished_run_is_read_as_it_was_or_refused(original, damage):
    name, change = damage
    whole = read_run(original[True][0])
    with Copy(original[True][0]) as folder:
        (folder / name).write_bytes(change((folder / name).read_bytes()))
        assert find_runs(folder) == [folder]
        try:
            run = read_run(folder)
        except UserError as error:
            assert name != "owner.json"
            one_line(error, folder)
        else:
            assert (run.config, told(run.summary)) == (CONFIG, told(SUMMARY))
            assert run.metrics.equals(whole.metrics)
        try:
            assert (read_config(folder), state(folder)) == (CONFIG, "finished")
            assert told(read_summary(folder)) == told(SUMMARY)
        except UserError as error:
            one_line(error, folder)


@settings(max_examples=200, deadline=None)
@given(damage=damages())
def test_a_broken_run_is_read_or_refused_and_goes_on_right_or_not_at_all(original, damage):
    name, change = damage
    with Copy(original[False][0]) as folder:
        content = (folder / name).read_bytes() if (folder / name).exists() else b""
        (folder / name).write_bytes(change(content))
        for read in (read_run, read_config, read_summary):
            try:
                read(folder)
            except UserError as error:
                one_line(error, folder)
        if name != "summary.json":
            assert state(folder) in ("running", "stopped")
        try:
            with RunWriter(folder, CONFIG) as writer:
                writer.resume(original[False][1])
                rows(writer, 4, 6)
                writer.finish(SUMMARY)
        except UserError as error:
            assert name == "metrics.jsonl"
            one_line(error, folder)
        else:
            run = read_run(folder)
            assert (run.config, run.summary) == (CONFIG, SUMMARY)
            whole = (original[True][0] / "metrics.jsonl").read_bytes()
            assert (folder / "metrics.jsonl").read_bytes() == whole


def test_rows_cut_at_any_byte_are_the_first_ones_of_the_whole(original):
    whole = read_run(original[False][0]).metrics
    with Copy(original[False][0]) as folder:
        content = (folder / "metrics.jsonl").read_bytes()
        for end in range(len(content)):
            (folder / "metrics.jsonl").write_bytes(content[:end])
            metrics = read_run(folder).metrics
            assert metrics.equals(whole[list(metrics.columns)][: len(metrics)])
            # A row without its newline is whole, and there.
            assert len(metrics) == content[: end + 1].count(b"\n")


@pytest.mark.parametrize("name", ["config.yaml", "metrics.jsonl", "summary.json"])
def test_every_flipped_bit_of_a_finished_run_shows(original, name):
    whole = read_run(original[True][0])
    with Copy(original[True][0]) as folder:
        content = (folder / name).read_bytes()
        for at in range(len(content)):
            flipped = bytes([content[at] ^ 1 << at % 8])
            (folder / name).write_bytes(content[:at] + flipped + content[at + 1 :])
            try:
                run = read_run(folder)
            except UserError as error:
                one_line(error, folder)
            else:  # white space, or the name of the checksums
                assert name == "summary.json"
                assert (run.config, told(run.summary)) == (CONFIG, told(SUMMARY))
                assert run.metrics.equals(whole.metrics)


@pytest.mark.parametrize("names", [(), ("summary.json",), ("config.yaml", "summary.json")])
def test_a_summary_that_lacks_sums_is_damaged(original, names):
    with Copy(original[True][0]) as folder:
        data = json.loads((folder / "summary.json").read_text())
        sums = data.pop("crc32")
        if names:
            others = {name: sums[name] for name in names if name != "summary.json"}
            data = sealed(data, others)
        (folder / "summary.json").write_text(json.dumps(data))
        for read in (read_run, read_summary, read_intact):
            with pytest.raises(UserError, match="crc32") as caught:
                read(folder)
            one_line(caught.value, folder)


def test_sums_of_files_that_are_not_the_runs_are_refused(original):
    with Copy(original[True][0]) as folder:
        data = json.loads((folder / "summary.json").read_text())
        sums = data.pop("crc32")
        del sums["summary.json"]
        text = json.dumps(sealed(data, {**sums, "../victim": 0}))
        (folder / "summary.json").write_text(text)
        with pytest.raises(UserError, match="crc32"):
            read_intact(folder)


# Nine lists, each of nine times the one before: 9^9 words once it is walked; a merge copies.
LAUGHS = "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else 'lol'] * 9)}]\n" for n in range(10)
)
MERGES = "a0: &a0 {k: v}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 10)
)


@pytest.mark.parametrize("text", [LAUGHS, MERGES, "a: &x 1\n"])
def test_aliases_are_refused_before_they_cost_memory(original, text):
    with Copy(original[False][0]) as folder:
        (folder / "config.yaml").write_text(text)
        with pytest.raises(UserError, match="aliases") as caught:
            read_config(folder)
        one_line(caught.value, folder)


def test_an_ampersand_in_a_value_is_no_alias(original):
    with Copy(original[False][0]) as folder:
        (folder / "config.yaml").write_text("a: 'this & that *all*'\n")
        assert read_config(folder) == {"a": "this & that *all*"}


@pytest.mark.parametrize("name", ["config.yaml", "summary.json"])
def test_a_file_larger_than_any_of_ours_is_not_read(original, name):
    with Copy(original[True][0]) as folder:
        with (folder / name).open("r+b") as file:
            file.truncate(2**40)  # of holes
        with pytest.raises(UserError, match="more than") as caught:
            read_run(folder)
        one_line(caught.value, folder)


YAML_TRAPS = ["!!bool maybe", "!!timestamp x", "!!int ''", "? {a: b}\n: c", "{" * 3000, "a: *b"]


@pytest.mark.parametrize("text", [*YAML_TRAPS, "!!python/object/apply:os.system [exit]"])
def test_no_yaml_ends_in_a_trace_or_runs_anything(original, text):
    with Copy(original[False][0]) as folder:
        (folder / "config.yaml").write_text(text)
        with pytest.raises(UserError) as caught:
            read_config(folder)
        one_line(caught.value, folder)
