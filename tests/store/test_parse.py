"""What is parsed fast equals what is parsed piece by piece, for texts of runs and damaged ones."""

import json

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from snaprun.checks import UserError
from snaprun.store import RunWriter, parse, read_run, reader
from tests.figures.runs import config, levels, write

ROWS = [
    {"tokens": 16, "updates": 1, "seconds": 0.25, "bpc": 1 / 3, "level": 1},
    {"tokens": 32, "updates": 2, "seconds": 1, "bpc": None, "level": 10**17 + 1},
    {"tokens": 32, "updates": 2, "seconds": 1.5, "mastered": 3},
]
TEXT = "".join(f"{json.dumps(row)}\n" for row in ROWS).encode()
CONFIG = yaml.safe_dump(config() | {"list": [1, {"a": None}], "text": "ü: 'x'\ny"}).encode()
ODD = [b"\n", b"}", b"{", b"}\n{", b'{"a": 1}', b"[", b"]", b'"', b",", b"null", b"true", b"NaN"]
ODD += [b"1e999", b"-1", b"9" * 30, b"1.5", b'"tokens"', b" ", b"\t", b"\r", b"\xff", b": 7"]
YAML = [b"\n", b"\na: ", b"seed: 1\n", b"---\n", b"...\n", b"<<: {a: 1}\n", b"&x ", b"*x"]
YAML += [
    b"!!str ",
    b"'",
    b'"',
    b"{",
    b"}",
    b"[",
    b"- 1\n",
    b"? ",
    b"|\n",
    b">+\n\n",
    b"# ",
    b"  ",
    b"\xff",
]


@st.composite
def edited(draw, text, pieces):
    """`text` with some pieces put in or in the place of others."""
    for _ in range(draw(st.integers(1, 4))):
        at, length = draw(st.integers(0, len(text))), draw(st.sampled_from((0, 0, 1, 2, 9, 60)))
        text = text[:at] + draw(st.sampled_from([b"", *pieces])) + text[at + length :]
    return text


def by_line(content, path):
    try:
        return reader._by_line(content, path)
    except UserError as error:
        return str(error)


def equal(fast, slow) -> bool:
    return list(fast) == list(slow) and all(
        fast[name].dtype == slow[name].dtype and np.array_equal(fast[name], slow[name], True)
        for name in fast
    )


def test_rows_of_a_run_need_no_second_look(tmp_path):
    assert equal(parse.columns(TEXT), by_line(TEXT, tmp_path))
    assert parse.columns(TEXT.removesuffix(b"\n")) is not None
    assert parse.columns(TEXT[:-2]) is parse.columns(b"") is None


@given(content=edited(TEXT, ODD))
@settings(max_examples=300, deadline=None)
def test_rows_taken_together_are_those_taken_one_by_one(content):
    if (fast := parse.columns(content)) is not None:
        slow = by_line(content, "metrics.jsonl")
        assert not isinstance(slow, str)
        assert equal(fast, slow)


@pytest.mark.parametrize(
    "content",
    [
        b'{"tokens": 1,\n"updates": 1, "seconds": 1}\n',  # an object over two lines
        b'{"tokens": 1, "updates": 1, "seconds": 1} {"tokens": 1,\n"updates": 1, "seconds": 1}',
        TEXT.replace(b"\n", b"\n\n", 1),
        b"\n" + TEXT,
        TEXT + b"\n",
        TEXT.replace(b"32", b"8"),
        TEXT.replace(b'"updates": 1', b'"updates": 1.0'),
        TEXT.replace(b"0.25", b"-0.25"),
        TEXT.replace(b"0.25", b"null"),
        TEXT.replace(b"0.25", b"true"),
        TEXT.replace(b'"tokens": 16', b'"tokens": %d' % 2**64),
        TEXT.replace(b'"seconds"', b'"second"'),
    ],
)
def test_odd_rows_are_left_to_the_strict_reader(content):
    assert parse.columns(content) is None


@given(content=edited(CONFIG, YAML))
@settings(max_examples=300, deadline=None)
def test_a_configuration_taken_in_parts_is_the_whole(content):
    def outcome(load):
        try:
            return load(content)
        except Exception as error:
            return str(error)

    assert outcome(lambda text: parse.mapping(text, reader._load)) == outcome(reader._load)


def test_entries_that_many_configurations_share_are_loaded_once(tmp_path, monkeypatch):
    loaded = []
    load = reader._load
    monkeypatch.setattr(reader, "_load", lambda text: loaded.append(text) or load(text))
    for seed in range(20):
        write(tmp_path / str(seed), config(seed=seed), levels((10, 1), (20, 2)))
    runs = [read_run(tmp_path / str(seed)) for seed in range(20)]
    assert [run.config for run in runs] == [config(seed=seed) for seed in range(20)]
    assert len(loaded) == len(config()) + 19
    assert runs[0].config["cell"] is runs[1].config["cell"]


def test_a_whole_run_is_never_read_by_line(tmp_path, monkeypatch):
    with RunWriter(tmp_path, config()) as writer:
        writer.begin()
        for row in ROWS:
            writer.row(**row)
    monkeypatch.delattr(reader, "_by_line")
    assert equal(read_run(tmp_path).columns, parse.columns(TEXT))
