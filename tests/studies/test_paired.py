"""Paired tests against closed forms, and curves that differ in nothing but where batches end."""

import math
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snaprun.metrics import BUILT_IN
from snaprun.store.panel import thinned
from snaprun.store.parse import as_columns
from snaprun.studies.metric import due
from snaprun.studies.paired import compare, holm, sign_flip
from tests.studies.runs import flat, run

LEVEL = BUILT_IN["level"]


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1, 2, 3, 4, 5], 2 / 32),  # all of one sign: the two extremes of 2^5
        ([-1, -2, -3], 2 / 8),
        ([0, 0, 0], 1),
        ([1, -1], 1),
        # Sums ≥ 4 of ±1±2±3: 6 and 4, and both negative.
        ([-1, 2, 3], 4 / 8),
        ([0.1, 0.2, -0.3 - 1e-17], 1),
    ],
)
def test_all_signs_are_counted(differences, p):
    assert sign_flip(np.array(differences)) == p


def test_many_seeds_are_drawn_close_to_the_exact_value():
    # One of 14 equal differences is negative: |sum| ≥ 12 where at most one sign is odd.
    differences = np.array([-1.0] + [1.0] * 13)
    exact = 2 * (1 + 14) / 2**14
    assert sign_flip(differences) == pytest.approx(exact, rel=0.25)
    assert math.isnan(sign_flip(np.array([])))


def test_arms_are_compared_on_the_seeds_that_both_have():
    arms = {
        "a": {seed: flat(value) for seed, value in enumerate((5, 7, 9, 20))},
        "b": {seed: flat(value) for seed, value in enumerate((4, 5, 9))},
    }
    row = compare(arms, LEVEL).iloc[0]
    assert (row["arm"], row["other"], row["equal"], row["seeds"]) == ("a", "b", "tokens", 3)
    assert (row["difference"], row["low"], row["high"], row["band"]) == (1, 0, 2, "range")
    assert row["p"] == 4 / 8  # of ±1±2±0 half are ≥ 3 or ≤ -3
    assert row["p_least"] == 2 / 8


def test_at_equal_updates_the_run_with_more_is_cut():
    many = run(*((t, 10 * t, t / 10) for t in range(10, 110, 10)))  # 1000 updates, level 10
    few = run(*((t, t, t / 20) for t in range(10, 110, 10)))  # 100 updates, level 5
    frame = compare({"a": {0: many}, "b": {0: few}}, LEVEL).set_index("equal")
    assert frame.loc["tokens", "difference"] == 10 - 5
    assert frame.loc["tokens/10", "difference"] == 1 - 0.5
    assert frame.loc["updates", "difference"] == 1 - 5


def test_a_diverged_run_is_the_worst_of_its_pair():
    arms = {"a": {0: flat(3)}, "b": {0: flat(30, "diverged")}}
    assert compare(arms, LEVEL)["difference"].tolist() == [3, 3, 3]


def test_where_a_run_diverged_the_other_is_not_cut():
    broken = run((10, 10, 1), (20, 20, 1), status="diverged")
    whole = run(*((t, t, t / 10) for t in range(10, 110, 10)))
    frame = compare({"a": {0: whole}, "b": {0: broken}}, LEVEL)
    assert frame["difference"].tolist() == [10, 1, 10]
    assert compare({"a": {0: broken}, "b": {0: broken}}, LEVEL)["difference"].tolist() == [0, 0, 0]


EVERY = 5000
CONFIGS = [{}, {"train": {"log_every": EVERY, "tokens": 100_000}}]


@pytest.mark.parametrize("config", CONFIGS)
def test_rows_of_the_same_windows_are_compared_wherever_batches_end(config):
    """An example in which the one run lost its last row, and the tests told +1.0, p 0.03."""
    level = (1, 2, 7, 8, 9)
    exact = run(
        *((t, t, x) for t, x in zip((5000, 10000, 90000, 95000, 100000), level, strict=True))
    )
    late = run(
        *((t, t, x) for t, x in zip((5016, 10032, 90048, 95040, 100320), level, strict=True))
    )
    arms = {"a": dict.fromkeys(range(6), exact), "b": dict.fromkeys(range(6), late)}
    arms = {
        arm: {seed: replace(one, config=config) for seed, one in runs.items()}
        for arm, runs in arms.items()
    }
    assert compare(arms, LEVEL)["difference"].tolist() == [0, 0, 0]
    assert compare(arms, LEVEL)["p"].tolist() == [1, 1, 1]


@given(
    count=st.integers(1, 400),
    seed=st.integers(0, 2**32 - 1),
    lanes=st.integers(1, 16),
    config=st.booleans(),
    thin=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_equal_curves_do_not_differ_under_any_jitter_of_batch_ends(
    count, seed, lanes, config, thin
):
    rng = np.random.default_rng(seed)  # Hypothesis takes long to draw hundreds of numbers
    reached = np.cumsum(rng.integers(0, 4, count))
    # Anywhere in their window, and often at its edges.
    jitters = np.clip(rng.integers(-EVERY // 4, EVERY * 5 // 4, (2, count)), 0, EVERY - 1)
    made = {"train": {"log_every": EVERY, "tokens": EVERY * count}} if config else {}
    arms = {}
    for arm, jitter in zip("ab", jitters.tolist(), strict=True):
        tokens = [EVERY * (n + 1) + jitter[n] for n in range(count)]
        one = run(*((t, t // lanes, float(x)) for t, x in zip(tokens, reached, strict=True)))
        one = replace(one, config=made)
        if thin:
            one = replace(one, columns=as_columns(thinned(one.metrics, [LEVEL], due(one))))
        arms[arm] = {0: one}
    found = compare(arms, LEVEL).set_index("equal")["difference"]
    assert found["tokens"] == found["tokens/10"] == 0


@given(growth=st.lists(st.integers(0, 1), min_size=20, max_size=60), lanes=st.integers(1, 16))
def test_equal_curves_of_the_copy_task_do_not_differ(growth, lanes):
    """Batches of lanes × (2 L + 1) tokens, the one arm's sequences longer by one."""
    arms = {}
    tokens = 2000 * len(growth)
    for arm, more in (("a", 0), ("b", 1)):
        at, rows, due = 0, [], 2000
        while at < tokens:
            level = 1 + sum(growth[: at // 2000])
            at += lanes * (2 * (level + more) + 1)
            if at >= due:
                rows.append((at, at // lanes, float(1 + sum(growth[: due // 2000]))))
                due = (at // 2000 + 1) * 2000
        config = {"train": {"log_every": 2000, "tokens": tokens}}
        arms[arm] = {0: replace(run(*rows), config=config)}
    assert compare(arms, LEVEL)["difference"].tolist() == [0, 0, 0]


def test_what_is_compared_beside_the_metric_stands_below_it():
    one, two = flat(7), flat(4)
    for made, mastered in ((one, 3), (two, 1)):
        made.columns["mastered"] = np.full(len(made.columns["tokens"]), float(mastered))
    frame = compare({"a": {0: one}, "b": {0: two}}, LEVEL).set_index(["metric", "equal"])
    assert frame["difference"].to_dict() == {
        **{("level", equal): 3 for equal in ("tokens", "tokens/10", "updates")},
        **{("mastered", equal): 2 for equal in ("tokens", "tokens/10", "updates")},
    }


@pytest.mark.parametrize(
    ("p", "adjusted"),
    [
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.5, 0.6], [1, 1]),
        ([0.02, math.nan, 0.01], [0.02, math.nan, 0.02]),
        ([0.03, 0.03, 0.03], [0.09, 0.09, 0.09]),
        ([], []),
    ],
)
def test_holm_by_hand(p, adjusted):
    for order in permutations(range(len(p))):
        got = holm(np.array([p[i] for i in order], float))
        np.testing.assert_allclose(got, [adjusted[i] for i in order], rtol=1e-15)


@given(
    p=st.lists(st.floats(0, 1), min_size=1, max_size=12),
    level=st.floats(0.001, 0.999),
)
def test_holm_rejects_step_by_step(p, level):
    """The definition: in ascending order, until one is above level / (number left)."""
    rejected = set()
    for done, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        if p[i] * (len(p) - done) > level:
            break
        rejected.add(p[i])
    adjusted = holm(np.array(p))
    assert {x for x, y in zip(p, adjusted, strict=True) if y <= level} == rejected


@pytest.fixture
def three():
    """Three arms of six seeds, of which the second and the third are equal."""
    values = {"a": 1, "b": 2, "c": 2}
    return {name: {s: flat(x + s / 7) for s in range(6)} for name, x in values.items()}


def test_each_metric_and_kind_of_equality_is_adjusted_for_itself(three):
    frame = compare(three, LEVEL)
    for _, rows in frame.groupby("equal"):
        np.testing.assert_allclose(rows["p_holm"], holm(rows["p"].to_numpy()))
    tokens = frame[frame["equal"] == "tokens"]
    assert tokens["p"].tolist() == [2 / 64, 2 / 64, 1]
    assert tokens["p_holm"].tolist() == [6 / 64, 6 / 64, 1]


def test_p_is_adjusted_for_the_planned_pairs_alone(three):
    frame = compare(three, LEVEL, planned=[("c", "a"), ("b", "c")]).set_index(["arm", "other"])
    tokens = frame[frame["equal"] == "tokens"]["p_holm"]
    assert tokens["a", "c"] == 4 / 64
    assert tokens["b", "c"] == 1
    assert math.isnan(tokens["a", "b"])
