"""Next-byte prediction, on texts whose bytes tell their own position."""

import os
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snaprun.checks import UserError
from snaprun.tasks import Batch, CharLM
from snaprun.tasks import charlm as module


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def ramp(tmp_path_factory):
    """A function that writes a text of n bytes 0, 1, …, n - 1 (n ≤ 256) and returns its path."""
    folder = tmp_path_factory.mktemp("ramps")

    def write(n: int, first: int = 0) -> str:
        path = folder / f"{n}_{first}"
        path.write_bytes(bytes(range(first, first + n)))
        return str(path)

    return write


def next_is_target(batch: Batch) -> None:
    """On a ramp the target is the input plus one; every step has one."""
    assert torch.equal(batch.targets, batch.inputs + 1)
    assert batch.mask.all()


def test_the_text_is_split_by_position(ramp):
    task = CharLM(ramp(200), crop=3, valid_fraction=0.25)
    assert (task.facts()["train_bytes"], task.facts()["valid_bytes"]) == (150, 50)
    seen = {
        int(i) for b in task.validation(None) for i in (*b.inputs.flatten(), *b.targets.flatten())
    }
    assert min(seen) == 150
    generator = rng()
    drawn = torch.cat([task.batch(64, generator).targets.flatten() for _ in range(40)])
    assert set(drawn.tolist()) == set(range(1, 150))


def test_crops_are_uniform_over_the_training_part_and_begin_anew(ramp):
    task = CharLM(ramp(40), crop=5, valid_fraction=0.25)
    batch = task.batch(5000, rng())
    next_is_target(batch)
    assert torch.equal(batch.inputs, batch.inputs[0] + torch.arange(5).unsqueeze(1))
    starts = Counter(batch.inputs[0].tolist())
    assert set(starts) == set(range(25))  # the last crop's last target is byte 29 of 30
    chi2 = sum((count - 200) ** 2 / 200 for count in starts.values())
    assert chi2 < 51.18  # the 0.1 % point with 24 degrees of freedom
    assert batch.resets[0].all()
    assert not batch.resets[1:].any()


def test_one_crop_fits_exactly(ramp):
    task = CharLM(ramp(8), crop=7, valid_fraction=0.0)
    batch = task.batch(2, rng())
    assert batch.inputs.T.tolist() == [list(range(7))] * 2
    assert batch.targets.T.tolist() == [list(range(1, 8))] * 2


@given(
    n=st.integers(2, 60), lanes=st.integers(1, 7), crop=st.integers(1, 20), rounds=st.integers(1, 9)
)
@settings(max_examples=80, deadline=None)
def test_stream_lanes_go_on_and_come_round(ramp, n, lanes, crop, rounds):
    path = ramp(n)
    task = CharLM(path, mode="stream", crop=min(crop, n - 1), valid_fraction=0.0)
    if n < lanes * (task.crop + 1):
        with pytest.raises(UserError, match=f"at least {lanes * (task.crop + 1)} bytes"):
            task.batch(lanes, rng())
        return
    batches = [task.batch(lanes, rng(i)) for i in range(rounds)]
    inputs, resets = (torch.cat([vars(b)[key] for b in batches]) for key in ("inputs", "resets"))
    for batch in batches:
        next_is_target(batch)
        assert batch.inputs.shape == (task.crop, lanes)
    for lane in range(lanes):  # walk the text by hand
        at, begins = lane * (n // lanes), True
        for step in range(len(inputs)):
            assert int(inputs[step, lane]) == at
            assert bool(resets[step, lane]) == begins
            at, begins = (at + 1, False) if at + 2 < n else (0, True)


def test_a_stream_ignores_the_generator(ramp):
    a, b = (CharLM(ramp(200), mode="stream", crop=9) for _ in range(2))
    assert torch.equal(a.batch(3, rng(1)).inputs, b.batch(3, rng(2)).inputs)


def test_a_stream_keeps_its_number_of_lanes(ramp):
    task = CharLM(ramp(200), mode="stream", crop=9)
    task.batch(3, rng())
    with pytest.raises(UserError, match=r"^train\.lanes=4 is not accepted: expected 3"):
        task.batch(4, rng())


@given(n=st.integers(2, 256), crop=st.integers(1, 30), mode=st.sampled_from(["crops", "stream"]))
@settings(max_examples=120, deadline=None)
def test_validation_predicts_every_byte_once(ramp, n, crop, mode):
    path, crop = ramp(n), min(crop, n - 1)
    task = CharLM(ramp(256), path, mode, crop)
    batches = list(task.validation(None))
    targets = [int(t) for b in batches for t in b.targets.flatten()]
    for batch in batches:
        next_is_target(batch)
        assert len(batch.inputs) <= crop
    left_out = n - 1 - len(targets)
    lanes = batches[0].inputs.shape[1]
    assert 0 <= left_out < (crop if mode == "crops" else lanes)
    assert sorted(targets) == list(range(1, n - left_out))


def test_validation_crops_are_adjacent_and_begin_anew(ramp, monkeypatch):
    monkeypatch.setattr(module, "CROP_LANES", 4)
    batches = list(CharLM(ramp(256), ramp(32, 100), crop=3).validation(None))
    assert [b.inputs.shape for b in batches] == [(3, 4), (3, 4), (3, 2)]
    starts = torch.cat([b.inputs[0] for b in batches])
    assert starts.tolist() == list(range(100, 130, 3))
    for batch in batches:
        assert batch.resets[0].all()
        assert not batch.resets[1:].any()


def test_validation_streams_are_contiguous_and_begin_once(ramp, monkeypatch):
    monkeypatch.setattr(module, "STREAM_LANES", 4)
    batches = list(CharLM(ramp(256), ramp(32, 100), "stream", crop=3).validation(None))
    assert [b.inputs.shape for b in batches] == [(3, 4), (3, 4), (1, 4)]
    lanes = torch.cat([b.inputs for b in batches]).T
    assert lanes.tolist() == [list(range(100 + 7 * lane, 107 + 7 * lane)) for lane in range(4)]
    resets = torch.cat([b.resets for b in batches])
    assert resets[0].all()
    assert not resets[1:].any()


@pytest.mark.parametrize("mode", ["crops", "stream"])
@pytest.mark.parametrize("tokens", [1, 10, 40, 55, 10_000])
def test_validation_keeps_to_the_tokens(ramp, mode, tokens):
    task = CharLM(ramp(256), ramp(200), mode, crop=10)
    targets = sorted(int(t) for b in task.validation(tokens) for t in b.targets.flatten())
    assert targets == list(range(1, len(targets) + 1))
    asked = min(max(tokens, 10), 199)
    assert asked - 10 < len(targets) <= asked


def test_no_fraction_means_no_validation(ramp):
    task = CharLM(ramp(50), crop=5, valid_fraction=0.0)
    assert task.validation(None) is None
    assert (task.facts()["train_bytes"], task.facts()["valid_bytes"]) == (50, 0)


def test_a_validation_text_of_its_own_leaves_the_text_whole(ramp):
    task = CharLM(ramp(50), ramp(20, 100), crop=5, valid_fraction=0.5)
    assert (task.facts()["train_bytes"], task.facts()["valid_bytes"]) == (50, 20)
    assert int(next(task.validation(None)).inputs.min()) == 100


def test_a_corpus_brings_its_own_validation_part(ramp, monkeypatch):
    train, valid = (np.arange(n, dtype=np.uint8) for n in (90, 30))
    corpus = module.load_text(ramp(7))
    monkeypatch.setattr(
        module, "load_text", lambda *_: type(corpus)(train, valid, "0" * 64, "a test")
    )
    task = CharLM("wikitext103", crop=5)
    assert (task.facts()["train_bytes"], task.facts()["valid_bytes"]) == (90, 30)
    task = CharLM("wikitext103", "wikitext103", crop=5)
    assert task.facts()["valid_bytes"] == 30


def test_pydoc_is_the_default_text():
    task = CharLM()
    facts = task.facts()
    train, valid = facts["train_bytes"], facts["valid_bytes"]
    assert train + valid > 100_000
    assert valid == int(0.05 * (train + valid))
    batch = task.batch(3, rng())
    assert batch.inputs.shape == (128, 3)
    words = bytes(batch.inputs[:, 0].tolist()).decode(errors="replace")
    assert " " in words
    assert torch.equal(batch.targets[:-1], batch.inputs[1:])


def test_all_bytes_are_classes(tmp_path):
    path = tmp_path / "noise"
    path.write_bytes(os.urandom(20) + b"\xff\x00")
    task = CharLM(str(path), crop=21, valid_fraction=0.0)
    batch = task.batch(1, rng())
    assert bytes(batch.inputs[:, 0].tolist()) == path.read_bytes()[:-1]
    assert bytes(batch.targets[:, 0].tolist()) == path.read_bytes()[1:]


@pytest.mark.parametrize(
    ("n", "fraction", "part"), [(10, 0.0, "training"), (21, 0.5, "validation")]
)
def test_a_text_too_short_is_refused_with_the_bytes_needed(ramp, n, fraction, part):
    with pytest.raises(UserError) as caught:
        CharLM(ramp(n), crop=10, valid_fraction=fraction)
    line = str(caught.value)
    assert line.startswith(f"task.text={ramp(n)!r} is not accepted")
    assert f"at least 11 bytes for {part} (task.crop + 1). That part has 10:" in line


@pytest.mark.parametrize(("n", "fraction"), [(11, 0.0), (22, 0.5)])
def test_a_text_just_long_enough_is_taken(ramp, n, fraction):
    task = CharLM(ramp(n), crop=10, valid_fraction=fraction)
    assert task.facts()["train_bytes"] == 11
    assert task.batch(3, rng()).inputs[0].tolist() == [0, 0, 0]


def test_a_validation_text_too_short_is_refused_by_its_own_key(ramp):
    with pytest.raises(
        UserError, match=r"^task.valid_text='.*at least 11 bytes.*That part has 10:"
    ):
        CharLM(ramp(50), ramp(10), crop=10)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mode", "crop"),
        ("crop", 0),
        ("valid_fraction", 1.0),
        ("valid_fraction", -0.1),
        ("text", "no/such/file"),
        ("valid_text", "no/such/file"),
    ],
)
def test_a_value_out_of_range_is_refused(key, value):
    with pytest.raises(UserError, match=f"^task.{key}={value!r} is not accepted: expected "):
        CharLM(**{key: value})
