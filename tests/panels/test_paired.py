"""Paired tests against closed forms."""

import math

import numpy as np
import pytest

from snaprun.panels.metric import METRICS
from snaprun.panels.paired import sign_flip, table
from tests.panels.runs import flat, run

LEVEL = METRICS["level"]


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
    row = table(arms, LEVEL).iloc[0]
    assert (row["arm"], row["other"], row["equal"], row["seeds"]) == ("a", "b", "tokens", 3)
    assert (row["difference"], row["low"], row["high"], row["band"]) == (1, 0, 2, "range")
    assert row["p"] == 4 / 8  # of ±1±2±0 half are ≥ 3 or ≤ -3
    assert row["p_least"] == 2 / 8


def test_at_equal_updates_the_run_with_more_is_cut():
    many = run(*((t, 10 * t, t / 10) for t in range(10, 110, 10)))  # 1000 updates, level 10
    few = run(*((t, t, t / 20) for t in range(10, 110, 10)))  # 100 updates, level 5
    frame = table({"a": {0: many}, "b": {0: few}}, LEVEL).set_index("equal")
    assert frame.loc["tokens", "difference"] == 10 - 5
    assert frame.loc["tokens/10", "difference"] == 1 - 0.5
    assert frame.loc["updates", "difference"] == 1 - 5


def test_a_diverged_run_is_the_worst_of_its_pair():
    arms = {"a": {0: flat(3)}, "b": {0: flat(30, "diverged")}}
    assert table(arms, LEVEL)["difference"].tolist() == [3, 3, 3]


def test_where_a_run_diverged_the_other_is_not_cut():
    broken = run((10, 10, 1), (20, 20, 1), status="diverged")
    whole = run(*((t, t, t / 10) for t in range(10, 110, 10)))
    frame = table({"a": {0: whole}, "b": {0: broken}}, LEVEL)
    assert frame["difference"].tolist() == [10, 1, 10]
    assert table({"a": {0: broken}, "b": {0: broken}}, LEVEL)["difference"].tolist() == [0, 0, 0]
