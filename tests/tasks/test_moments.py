"""Running mean and variance, against those of exact fractions and of NumPy."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snaprun.tasks.moments import Moments


def in_parts(x: np.ndarray, *sizes: int) -> tuple[np.ndarray, np.ndarray, Moments]:
    past, found = Moments(x.shape[1]), []
    for part in np.split(x, np.cumsum(sizes)):
        if len(part):
            found.append(past.over(part))
    mean, deviation = (np.concatenate(each) for each in zip(*found, strict=True))
    return mean, deviation, past


@given(seed=st.integers(0, 99), sizes=st.lists(st.integers(0, 9), max_size=4))
def test_they_are_those_of_numpy_however_the_rows_are_cut(seed, sizes):
    x = np.random.default_rng(seed).standard_normal((40, 3)) * [1, 1e-5, 1e5] + [0, 7, -3]
    mean, deviation, past = in_parts(x, *sizes)
    for row in range(1, len(x)):
        assert mean[row] == pytest.approx(x[: row + 1].mean(0), rel=1e-9, abs=1e-9)
        assert deviation[row] == pytest.approx(x[: row + 1].std(0), rel=1e-8)
    assert deviation[0].tolist() == [1, 1, 1]
    assert past.count == 40
    assert past.variance_C == pytest.approx(x.var(0), rel=1e-9)


@pytest.mark.parametrize("outlier", [0.0, 1e7])
def test_small_changes_of_large_values_keep_their_digits(outlier):
    """By exact fractions: a sum of squares alone would lose every digit here."""
    x = 1e9 + np.random.default_rng(0).standard_normal((300, 1)) * 1e-3
    x[0] += outlier
    _, deviation, _ = in_parts(x, 7, 100, 100)
    exact = [Fraction(value) for value in x[:, 0].tolist()]
    for rows in (2, 50, 300):
        mean = sum(exact[:rows]) / rows
        variance = sum((value - mean) ** 2 for value in exact[:rows]) / rows
        assert float(deviation[rows - 1, 0]) ** 2 == pytest.approx(float(variance), rel=1e-5)


def test_where_nothing_varies_the_deviation_is_one():
    mean, deviation, past = in_parts(np.full((20, 1), 0.1), 3)
    assert mean.tolist() == [[0.1]] * 20
    assert deviation.tolist() == [[1.0]] * 20
    assert past.variance_C.tolist() == [0.0]


def test_moments_of_another_order_are_near_and_others_are_not():
    x = np.random.default_rng(0).standard_normal((50, 2)) + np.array([0, 1e9])
    *_, a = in_parts(x, 20)
    *_, b = in_parts(x, 3, 7, 9)
    assert a.near(b.mean_C, b.squares_C)
    for key in ("mean_C", "squares_C"):
        for wrong in (np.nan, np.inf, -1.0, vars(b)[key][0] * 1.001):
            saved = {name: vars(b)[name].copy() for name in ("mean_C", "squares_C")}
            saved[key][0] = wrong
            assert not a.near(**saved)
