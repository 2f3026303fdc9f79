"""Against loops, order statistics and the closed form of the bootstrap of a median."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest

from snaprun.figures.stats import band_name, carried, median_band, over_seeds, smoothed


def test_the_last_value_is_carried():
    tokens, values = np.array([10.0, 20, 20, 40]), np.array([1.0, 2, 3, 4])
    grid = np.array([5.0, 10, 19, 20, 39, 100])
    expected = []
    for point in grid:
        before = [v for t, v in zip(tokens, values, strict=True) if t <= point]
        expected.append(before[-1] if before else math.nan)
    np.testing.assert_array_equal(carried(tokens, values, grid), expected)


def test_smoothing_is_the_mean_of_the_rows_in_the_window():
    rng = np.random.default_rng(1)
    tokens, values = np.cumsum(rng.integers(0, 9, 50)).astype(float), rng.normal(size=50)
    expected = [
        np.mean([values[j] for j in range(i + 1) if j == i or tokens[j] > tokens[i] - 20])
        for i in range(50)
    ]
    np.testing.assert_allclose(smoothed(tokens, values, 20.0), expected, atol=1e-12)


def test_median_and_range_of_up_to_four_seeds():
    values = np.array([[1.0, 5, np.nan, np.nan], [2, 9, 3, np.nan], [6, 7, np.nan, np.nan]])
    median, low, high = median_band(values)
    np.testing.assert_array_equal(median, [2, 7, 3, np.nan])
    np.testing.assert_array_equal(low, [1, 5, np.nan, np.nan])
    np.testing.assert_array_equal(high, [6, 9, np.nan, np.nan])


def test_the_band_of_five_seeds_is_the_bootstrap_interval():
    # P(median of 5 draws ≤ the k-th of 5) = P(Binomial(5, k/5) ≥ 3).
    below = [
        sum(math.comb(5, i) * (k / 5) ** i * (1 - k / 5) ** (5 - i) for i in (3, 4, 5))
        for k in range(1, 6)
    ]
    assert below[0] > 0.025  # so the lower edge is the least value, and the upper the greatest
    rng = np.random.default_rng(2)
    values = rng.normal(size=(5, 7))
    median, low, high = median_band(values)
    np.testing.assert_array_equal(median, np.sort(values, axis=0)[2])
    np.testing.assert_array_equal(low, values.min(axis=0))
    np.testing.assert_array_equal(high, values.max(axis=0))


@pytest.mark.parametrize("n", [41, 301])
def test_the_band_of_many_seeds_is_the_bootstrap_interval(n):
    values = np.arange(n, dtype=float).reshape(-1, 1)
    below = [
        sum(math.comb(n, i) * k**i * (n - k) ** (n - i) for i in range((n + 1) // 2, n + 1)) / n**n
        for k in range(1, n + 1)
    ]
    exact = [np.argmax(np.array(below) >= q) for q in (0.025, 0.975)]
    _, low, high = median_band(values)
    assert [low[0], high[0]] == exact
    assert 0 < low[0] < n // 2 < high[0] < n - 1


def test_bands_are_named_and_a_single_seed_has_none():
    assert [band_name(n) for n in (1, 2, 4, 5)] == ["", "range", "range", "bootstrap 95 %"]
    assert over_seeds([3.0]).bars is None
    assert over_seeds([1.0, 2.0, 6.0]).bars == [[1.0], [4.0]]
    assert math.isnan(over_seeds([]).median)


@pytest.mark.parametrize("seeds", [5, 6, 7])
@pytest.mark.parametrize("ties", [False, True])
def test_the_band_is_the_interval_of_the_medians_of_all_resamples(seeds, ties):
    values = np.random.default_rng(seeds).normal(size=(seeds, 5))
    if ties:
        values = np.round(values * 2) / 2
    draws = np.array(list(itertools.product(range(seeds), repeat=seeds)))
    medians = np.median(values[draws], axis=1)
    expected = np.quantile(medians, (0.025, 0.975), axis=0, method="inverted_cdf")
    np.testing.assert_array_equal(median_band(values)[1:], expected)


@pytest.mark.parametrize("seeds", [10, 12, 64, 100])
def test_the_band_of_an_even_number_of_seeds_is_near_that_of_drawn_resamples(seeds):
    rng = np.random.default_rng(seeds)
    values = rng.normal(size=(seeds, 3))
    medians = np.median(values[rng.integers(seeds, size=(40_000, seeds))], axis=1)
    _, low, high = median_band(values)
    # A frequency of 40,000 draws is within 0.005 of its probability but for one time in 10^9.
    assert ((medians < low).mean(axis=0) <= 0.03).all()
    assert ((medians <= low).mean(axis=0) >= 0.02).all()
    assert ((medians < high).mean(axis=0) <= 0.98).all()
    assert ((medians <= high).mean(axis=0) >= 0.97).all()


def test_the_band_over_a_thousand_seeds_takes_little_memory():
    values = np.random.default_rng(0).normal(size=(1000, 100))
    tracemalloc.start()
    median_band(values)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 2**20  # all resamples at once would be 800 MB
