"""Going on behind a mark: what stays, what is dropped, what is refused."""

import json

import pytest
import yaml

from snaprun.checks import UserError
from snaprun.store import Mark, RunWriter, Summary, read_run, read_summary

CONFIG = {"seed": 0, "train": {"tokens": 64}}
SUMMARY = Summary("finished", 64, 4, 1.0, {"bpc": 0.5}, {"ms_per_token": 0.1})


def rows(writer, first, last):
    for n in range(first, last):
        writer.row(tokens=16 * n, updates=n, seconds=n / 4, bpc=1 / n)


def attempt(folder, marked=3, ended=5, summary=None, **options):
    """A run with rows 1 … `ended`-1 and a mark behind row `marked`-1."""
    with RunWriter(folder, CONFIG, **options) as writer:
        writer.begin()
        rows(writer, 1, marked)
        mark = writer.mark()
        rows(writer, marked, ended)
        if summary:
            writer.finish(summary)
    return mark


def resumed(folder, mark, first=3, last=6, config=CONFIG, **options):
    with RunWriter(folder, config, **options) as writer:
        writer.resume(mark)
        rows(writer, first, last)
        return writer.mark()


def test_a_run_that_goes_on_is_byte_for_byte_one_that_was_never_interrupted(tmp_path):
    whole = attempt(tmp_path / "whole", marked=6, ended=6)
    mark = attempt(tmp_path / "broken")
    assert mark.size < (tmp_path / "broken/metrics.jsonl").stat().st_size
    assert resumed(tmp_path / "broken", mark) == whole
    assert (tmp_path / "broken/metrics.jsonl").read_bytes() == (
        tmp_path / "whole/metrics.jsonl"
    ).read_bytes()


def test_a_mark_is_two_plain_integers_and_goes_through_json(tmp_path):
    mark = attempt(tmp_path)
    size, crc32 = json.loads(json.dumps([mark.size, mark.crc32]))
    assert Mark(size, crc32) == mark


@pytest.mark.parametrize("tail", [b"", b'{"tokens": 48, "upd', b"\0" * 99, b"\n\n"])
def test_whatever_lies_behind_the_mark_is_dropped(tmp_path, tail):
    mark = attempt(tmp_path, ended=3)
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes() + tail)
    resumed(tmp_path, mark)
    assert read_run(tmp_path).metrics["tokens"].tolist() == [16, 32, 48, 64, 80]


def test_a_run_may_go_on_from_before_its_first_row(tmp_path):
    mark = attempt(tmp_path, marked=1)
    resumed(tmp_path, mark, first=1)
    assert read_run(tmp_path).metrics["tokens"].tolist() == [16, 32, 48, 64, 80]


def test_a_finished_run_goes_on_when_its_tokens_are_raised(tmp_path):
    mark = attempt(tmp_path, marked=5, summary=SUMMARY)
    raised = {**CONFIG, "train": {"tokens": 80}}
    with RunWriter(tmp_path, raised) as writer:
        assert read_summary(tmp_path) == SUMMARY  # still there to choose by
        writer.resume(mark)
        assert read_summary(tmp_path) is None
        rows(writer, 5, 6)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == raised
    assert read_run(tmp_path).metrics["tokens"].tolist() == [16, 32, 48, 64, 80]


@pytest.mark.parametrize("damage", ["short", "bit", "empty", "gone"])
def test_rows_that_are_not_those_that_were_marked_are_refused_and_nothing_changes(tmp_path, damage):
    mark = attempt(tmp_path, summary=SUMMARY)
    metrics = tmp_path / "metrics.jsonl"
    content = metrics.read_bytes()
    if damage == "gone":
        metrics.unlink()
    else:
        flipped = content[:9] + bytes([content[9] ^ 1]) + content[10:]
        wrong = {"short": content[: mark.size - 1], "bit": flipped, "empty": b""}
        metrics.write_bytes(wrong[damage])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with (
        RunWriter(tmp_path, {"changed": 1}) as writer,
        pytest.raises(UserError, match=r"metrics=.*restart=true") as caught,
    ):
        writer.resume(mark)
    assert "\n" not in str(caught.value)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert after == before


def test_the_trace_of_a_failure_stays_until_the_next_attempt(tmp_path):
    with RunWriter(tmp_path, CONFIG) as writer:
        writer.begin()
        mark = writer.mark()
        writer.fail("Traceback …\nRuntimeError: boom\n")
    assert (tmp_path / "failure.log").read_text() == "Traceback …\nRuntimeError: boom\n"
    resumed(tmp_path, mark, first=1)
    assert not (tmp_path / "failure.log").exists()
