"""Files are written by the writer or by hand, and compared with what json and yaml say."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import yaml

from snaprun.checks import UserError
from snaprun.store import RunWriter, Summary, find_runs, read_run

CONFIG = {"task": {"name": "copy"}, "optim": {"lr": 1e-5, "clip": None}, "seed": 0}
ROWS = [
    {"tokens": 16, "updates": 1, "seconds": 0.5, "bpc": 1.25, "level": 1},
    {"tokens": 32, "updates": 2, "seconds": 1.0, "bpc": None, "level": 2},
    {"tokens": 32, "updates": 2, "seconds": 1.5, "validation_bpc": 2.5},
]
SUMMARY = Summary(
    "finished", 32, 2, 1.5, {"level": 2, "bpc": None}, {"ms_per_token": 0.1}, {"parameters": 7}
)


def write(folder: Path, summary: Summary | None = SUMMARY) -> Path:
    with RunWriter(folder, CONFIG) as writer:
        writer.begin()
        for row in ROWS:
            writer.row(**row)
        if summary:
            writer.finish(summary)
    return folder


def test_what_is_written_is_read_back(tmp_path):
    run = read_run(write(tmp_path / "copy" / "a"))
    assert run.config == CONFIG
    assert run.summary == SUMMARY
    assert run.status == "finished"
    assert run.metrics["tokens"].tolist() == [16, 32, 32]
    np.testing.assert_array_equal(run.metrics["bpc"], [1.25, np.nan, np.nan])
    np.testing.assert_array_equal(run.metrics["validation_bpc"], [np.nan, np.nan, 2.5])
    assert {name: str(kind) for name, kind in run.metrics.dtypes.items()} == {
        "tokens": "int64",
        "updates": "int64",
        "seconds": "float64",
        "bpc": "float64",
        "level": "float64",
        "validation_bpc": "float64",
    }


def test_the_files_are_plain_yaml_and_json(tmp_path):
    write(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "config.yaml",
        "metrics.jsonl",
        "summary.json",
    ]
    assert list(yaml.safe_load((tmp_path / "config.yaml").read_text())) == list(CONFIG)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == ROWS
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["parameters"] == 7
    assert "extras" not in summary


def test_rows_are_on_disk_before_the_file_is_closed(tmp_path):
    with RunWriter(tmp_path, CONFIG) as writer:
        writer.begin()
        writer.row(**ROWS[0])
        assert json.loads((tmp_path / "metrics.jsonl").read_text()) == ROWS[0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan")])
def test_non_finite_values_are_null_everywhere(tmp_path, value):
    def no_constant(name):
        raise AssertionError(f"{name} is not strict JSON")

    with RunWriter(tmp_path, CONFIG) as writer:
        writer.begin()
        writer.row(tokens=np.int64(16), updates=1, seconds=0.5, bpc=value)
        writer.finish(Summary("diverged", 16, 1, 0.5, {"bpc": value}, {}, {"seen": [value]}))
    for name in ("metrics.jsonl", "summary.json"):
        json.loads((tmp_path / name).read_text(), parse_constant=no_constant)
    run = read_run(tmp_path)
    assert math.isnan(run.metrics["bpc"][0])
    assert run.summary is not None
    assert run.summary.metrics == {"bpc": None}
    assert run.summary.extras == {"seen": [None]}
    assert run.status == "diverged"


def test_a_last_line_torn_at_any_byte_loses_only_itself(tmp_path):
    metrics = write(tmp_path, summary=None) / "metrics.jsonl"
    whole = metrics.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for end in range(last, len(whole)):
        metrics.write_bytes(whole[:end])
        # Only the newline is missing from the longest of them: the row is complete.
        expected = 3 if end == len(whole) - 1 else 2
        assert len(read_run(tmp_path).metrics) == expected, end
    metrics.write_bytes(whole[: last + 9] + b"\n")
    assert len(read_run(tmp_path).metrics) == 2


def test_a_run_without_rows_can_be_read(tmp_path):
    with RunWriter(tmp_path, CONFIG) as writer:
        writer.begin()
    assert list(read_run(tmp_path).metrics.columns) == ["tokens", "updates", "seconds"]


@pytest.mark.parametrize(
    "line",
    [
        b'{"tokens": 16, "upd',
        b"",
        b"\xff\xfe",
        b"[16, 1, 0.5]",
        b'{"tokens": 16, "updates": 1}',
        b'{"tokens": 16.5, "updates": 1, "seconds": 0.5}',
        b'{"tokens": true, "updates": 1, "seconds": 0.5}',
        b'{"tokens": 16, "updates": -1, "seconds": 0.5}',
        b'{"tokens": 16, "updates": 1, "seconds": NaN}',
        b'{"tokens": 8, "updates": 1, "seconds": 0.5}',
    ],
)
def test_a_wrong_line_before_the_last_is_named(tmp_path, line):
    metrics = write(tmp_path) / "metrics.jsonl"
    first, *rest = metrics.read_bytes().splitlines(keepends=True)
    metrics.write_bytes(first + line + b"\n" + b"".join(rest))
    with pytest.raises(UserError, match=r"metrics\.jsonl line 2=") as caught:
        read_run(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_complete_last_line_without_counters_is_no_torn_line(tmp_path):
    metrics = write(tmp_path) / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes() + b'{"bpc": 1.0}\n')
    with pytest.raises(UserError, match=r"line 4=.*tokens=None, not a finite count"):
        read_run(tmp_path)


def test_a_value_that_is_no_number_is_named(tmp_path):
    metrics = write(tmp_path) / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes().replace(b"1.25", b'"low"'))
    with pytest.raises(UserError, match=r"metrics\.jsonl column bpc"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.yaml", "task: [copy"),
        ("config.yaml", "- task"),
        ("config.yaml", "\x00"),
        ("summary.json", '{"status": "fini'),
        ("summary.json", "[]"),
        ("summary.json", json.dumps({**SUMMARY.to_json(), "status": "done"})),
        ("summary.json", json.dumps({**SUMMARY.to_json(), "tokens": -1})),
        ("summary.json", json.dumps({**SUMMARY.to_json(), "cost": {"ms_per_token": "1"}})),
        ("summary.json", json.dumps({**SUMMARY.to_json(), "metrics": None})),
        (
            "summary.json",
            json.dumps({k: v for k, v in SUMMARY.to_json().items() if k != "metrics"}),
        ),
    ],
)
def test_a_corrupt_file_is_named_in_one_line(tmp_path, name, text):
    (write(tmp_path) / name).write_text(text)
    with pytest.raises(UserError, match=rf"{name}(=| is no )") as caught:
        read_run(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_crash_while_the_summary_is_written_leaves_none(tmp_path, monkeypatch, step):
    with RunWriter(tmp_path, CONFIG) as writer:
        writer.begin()
        writer.row(**ROWS[0])

        def crash(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr(os, step, crash)
        with pytest.raises(KeyboardInterrupt):
            writer.finish(SUMMARY)
    assert sorted(p.name for p in tmp_path.glob("[!.]*")) == [
        "config.yaml",
        "metrics.jsonl",
    ]
    run = read_run(tmp_path)
    assert run.status == "incomplete"
    assert run.summary is None
    assert len(run.metrics) == 1


def test_an_exception_leaves_the_run_incomplete_and_its_rows_on_disk(tmp_path):
    def broken():
        with RunWriter(tmp_path, CONFIG) as writer:
            writer.begin()
            writer.row(**ROWS[0])
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        broken()
    assert read_run(tmp_path).status == "incomplete"


def test_a_broken_attempt_is_started_afresh_but_a_done_one_is_kept(tmp_path):
    write(tmp_path, summary=None)
    (tmp_path / "failure.log").touch()
    with RunWriter(tmp_path, CONFIG) as writer:
        assert len(read_run(tmp_path).metrics) == 3  # not touched yet
        writer.begin()
    assert len(read_run(tmp_path).metrics) == 0
    assert not (tmp_path / "failure.log").exists()
    write(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with (
        RunWriter(tmp_path, CONFIG) as writer,
        pytest.raises(UserError, match="restart=true"),
    ):
        writer.begin()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written \(Not a directory"):
        RunWriter(tmp_path / "file" / "run", CONFIG)


def test_runs_are_found_at_any_depth_and_sorted(tmp_path):
    for name in ("b/x", "a/deep/er", "a"):
        write(tmp_path / name)
    (tmp_path / "a" / ".hydra").mkdir()
    (tmp_path / "a" / ".hydra" / "config.yaml").touch()
    assert find_runs(tmp_path) == [tmp_path / name for name in ("a", "a/deep/er", "b/x")]
    assert find_runs(tmp_path / "b" / "x") == [tmp_path / "b" / "x"]


def test_a_source_without_runs_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"source=.*existing folder.*snaprun train"):
        find_runs(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"source=.*with runs in it"):
        find_runs(tmp_path)
