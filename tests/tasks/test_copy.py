"""The copy task, each lane decoded back."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snaprun.checks import UserError
from snaprun.tasks import Batch, Copy

ZERO, ONE, DELIMITER, BLANK = range(4)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def at_level(level: int, **arguments) -> Copy:
    task = Copy(**arguments)
    for _ in range(level - 1):
        task.observe(0.0)
    return task


def decode(batch: Batch, scope: str) -> list[list[int]]:
    """The bits of every lane, after each symbol, target and mask was compared with the rules."""
    sequences = []
    for lane in range(batch.inputs.shape[1]):
        inputs, targets = batch.inputs[:, lane].tolist(), batch.targets[:, lane].tolist()
        length = inputs.index(DELIMITER)
        bits = inputs[:length]
        assert length >= 1
        assert set(bits) <= {ZERO, ONE}
        padding = len(inputs) - (2 * length + 1)
        assert inputs == [*bits, DELIMITER] + [BLANK] * (length + padding)
        before = [BLANK if scope == "all" else 0] * (length + 1)
        assert targets == before + bits + [0] * padding
        asked = [scope == "all"] * (length + 1) + [True] * length + [False] * padding
        assert batch.mask[:, lane].tolist() == asked
        assert batch.resets[:, lane].tolist() == [True] + [False] * (len(inputs) - 1)
        sequences.append(bits)
    assert len(batch.inputs) == 2 * max(map(len, sequences)) + 1
    return sequences


@given(
    level=st.integers(1, 23),
    lanes=st.integers(1, 9),
    scope=st.sampled_from(["recall", "all"]),
    seed=st.integers(0, 999),
)
@settings(max_examples=60, deadline=None)
def test_every_lane_decodes(level, lanes, scope, seed):
    batch = at_level(level, bpc_scope=scope).batch(lanes, rng(seed))
    lengths = [len(bits) for bits in decode(batch, scope)]
    assert len(lengths) == lanes
    assert all(max(level - 5, 1) <= length <= level for length in lengths)


@pytest.mark.parametrize("level", [4, 12])
def test_lengths_are_uniform_and_independent_per_lane(level):
    low = max(level - 5, 1)
    lengths = [len(b) for b in decode(at_level(level).batch(6000, rng(3)), "recall")]
    cells = level - low + 1
    expected = len(lengths) / cells
    chi2 = sum((lengths.count(n) - expected) ** 2 / expected for n in range(low, level + 1))
    assert chi2 < {4: 16.27, 6: 20.52}[cells]  # the 0.1 % points with 3 and 5 degrees of freedom
    pairs = torch.tensor(lengths, dtype=torch.float64).reshape(-1, 2).T
    assert abs(torch.corrcoef(pairs)[0, 1]) < 3.3 / math.sqrt(len(lengths) / 2)


def test_bits_are_fair_and_independent_over_time_and_lanes():
    bits = torch.tensor(decode(Copy(fixed_length=40).batch(200, rng(1)), "recall")).double() - 0.5
    bound = 3.3 * 0.5 / math.sqrt(bits.numel())
    assert abs(bits.mean()) < bound
    assert abs((bits[:, 1:] * bits[:, :-1]).mean()) < bound / 2 * 1.05
    assert abs((bits[1:] * bits[:-1]).mean()) < bound / 2 * 1.05


def test_a_new_batch_is_drawn_each_time():
    task, generator = Copy(fixed_length=40), rng()
    assert not torch.equal(task.batch(4, generator).inputs, task.batch(4, generator).inputs)


def test_the_level_rises_exactly_when_bpc_is_under_the_threshold():
    task = Copy()
    levels = []
    for bpc in (0.2, 0.15, 0.1499, math.nan, 0.0, 2.0, math.inf, 0.1):
        task.observe(bpc)
        levels.append(task.metrics()["level"])
    assert levels == [1, 1, 2, 2, 3, 3, 3, 4]


def test_the_threshold_is_a_key():
    task = Copy(threshold=0.5)
    task.observe(0.5)
    assert task.metrics() == {"level": 1}
    task.observe(0.49)
    assert task.metrics() == {"level": 2}


@pytest.mark.parametrize(("spread", "lengths"), [(0, {9}), (2, {7, 8, 9}), (99, set(range(1, 10)))])
def test_the_spread_is_a_key(spread, lengths):
    batch = at_level(9, spread=spread).batch(400, rng())
    assert {len(bits) for bits in decode(batch, "recall")} == lengths


def test_a_fixed_length_switches_the_curriculum_off():
    task = Copy(fixed_length=6)
    task.observe(0.0)
    assert task.metrics() == {"level": 6}
    assert {len(bits) for bits in decode(task.batch(50, rng()), "recall")} == {6}


def held_out(task: Copy, table: dict[int, list[float]]) -> tuple[float, list[int]]:
    """What is mastered where `table` holds the bpc of each length's minibatches, and the lengths
    asked for, in order."""
    asked = []

    def bpc(batches):
        (batch,) = batches
        sequences = decode(batch, task.bpc_scope)
        (length,) = {len(bits) for bits in sequences}
        assert len(sequences) == 64
        asked.append(length)
        return table.get(length, [1.0] * 4)[asked.count(length) - 1]

    return task.held_out(bpc, None)["mastered"], asked


@pytest.mark.parametrize(
    ("good", "mastered"),
    [((), 0), ((1, 2, 3), 3), ((1, 5), 5), ((6, 7, 9), 7), (range(1, 99), 11), (range(1, 6), 5)],
)
@pytest.mark.parametrize("scope", ["recall", "all"])
def test_mastered_is_the_largest_length_under_the_threshold(good, mastered, scope):
    task = at_level(5, bpc_scope=scope)
    # Their mean is just under, and above, the threshold.
    found, asked = held_out(task, {key: [0.0, 0.5, 0.0, 0.0999] for key in good})
    assert found == mastered
    assert all(asked.count(length) == (4 if length in good else 1) for length in asked)
    assert task.metrics() == {"level": 5}
    assert held_out(task, {key: [0.0, 0.5, 0.0, 0.1001] for key in good})[0] == 0


@pytest.mark.parametrize("bpc", [0.6, math.nan, math.inf])
def test_a_bpc_not_under_the_threshold_masters_nothing(bpc):
    table = {key: [bpc, 0, 0, 0] for key in range(9)}
    assert held_out(at_level(3), table) == (0, [4, 3, 2, 1])


def test_held_out_sequences_are_the_same_at_every_call_and_not_those_of_training():
    seen = []
    for _ in range(2):
        at_level(9, spread=0).held_out(lambda batches: seen.append(next(batches)) or 0.14, None)
    first, again = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    assert all(map(torch.equal, [b.inputs for b in first], [b.inputs for b in again]))
    bits = torch.cat([batch.inputs[:10] for batch in first[:4]], 1)  # of length 10: few are equal
    assert len(set(map(tuple, bits.T.tolist()))) > 200
    trained_on = at_level(10, spread=0).batch(64, rng()).inputs
    assert not any(torch.equal(batch.inputs, trained_on) for batch in first[:4])


def test_a_fixed_length_is_mastered_or_not():
    assert held_out(Copy(fixed_length=6), {6: [0.1] * 4}) == (6, [6] * 4)
    assert held_out(Copy(fixed_length=6), {5: [0.1] * 4}) == (0, [6])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bpc_scope", "recal"),
        ("fixed_length", 0),
        ("fixed_length", -3),
        ("threshold", 0.0),
        ("threshold", -1.0),
        ("threshold", math.nan),
        ("threshold", math.inf),
        ("spread", -1),
    ],
)
def test_a_value_out_of_range_is_refused(key, value):
    with pytest.raises(UserError, match=f"^task.{key}={value!r} is not accepted: expected "):
        Copy(**{key: value})
