"""Curves over seeds: step functions, a light smoothing, the median and its band.

Shapes: N rows of a run or resamples, G points of the common grid, S seeds.
"""

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BOOTSTRAP_SEEDS = 5  # fewer say too little about a 95 % interval: their range is shown
_RESAMPLES = 1000
_AT_ONCE = 32  # points, so that what is counted for them stays in the cache


def carried(tokens_N: Array, values_N: Array, grid_G: Array) -> Array:
    """The last value at or before each point of the grid (G,); NaN before the first."""
    index_G = np.searchsorted(tokens_N, grid_G, side="right") - 1
    return np.where(index_G >= 0, values_N[np.maximum(index_G, 0)], np.nan)


def smoothed(tokens_N: Array, values_N: Array, width: float) -> Array:
    """The mean of the rows of the last `width` tokens, this row included (N,)."""
    first_N = np.searchsorted(tokens_N, tokens_N - width, side="right")
    first_N = np.minimum(first_N, np.arange(len(tokens_N)))
    sum_N = np.concatenate([[0.0], np.cumsum(values_N)])
    last_N = np.arange(1, len(tokens_N) + 1)
    return (sum_N[last_N] - sum_N[first_N]) / (last_N - first_N)


def band_name(seeds: int) -> str:
    """What the band over that many seeds is, in words; empty where there is none."""
    if seeds >= BOOTSTRAP_SEEDS:
        return "bootstrap 95 %"
    return "range" if seeds > 1 else ""


def median_band(values_SG: Array) -> tuple[Array, Array, Array]:
    """Median, lower and upper edge of the band (G,) over the seeds that have a value there.

    The band is a bootstrap 95 % interval of the median from 5 seeds on, the range for 2 to 4;
    its edges are NaN for one seed, and all three are NaN for none.
    """
    median_G, low_G, high_G = np.full((3, values_SG.shape[1]), np.nan)
    present_SG = np.isfinite(values_SG)
    if present_SG.all():
        patterns, which_G = present_SG[:, :1], np.zeros(values_SG.shape[1], int)
    else:
        patterns, which_G = np.unique(present_SG, axis=1, return_inverse=True)
    for number, seeds_S in enumerate(patterns.T):
        at_G = which_G.reshape(-1) == number
        values = values_SG[seeds_S][:, at_G]
        if len(values):
            median_G[at_G] = np.median(values, axis=0)
        if len(values) >= BOOTSTRAP_SEEDS:
            low_G[at_G], high_G[at_G] = _bootstrap(values)
        elif len(values) > 1:
            low_G[at_G], high_G[at_G] = values.min(axis=0), values.max(axis=0)
    return median_G, low_G, high_G


@dataclass(frozen=True)
class Spread:
    """Median and band of one number over seeds; NaN where there is none."""

    median: float
    low: float
    high: float
    seeds: int

    @property
    def bars(self) -> list[list[float]] | None:
        """The lengths of the error bars below and above the median; None without a band."""
        if math.isnan(self.low):
            return None
        return [[self.median - self.low], [self.high - self.median]]


def over_seeds(values: list[float]) -> Spread:
    """The median and band of one number a seed."""
    (median,), (low,), (high,) = median_band(np.array(values, dtype=float).reshape(-1, 1))
    return Spread(float(median), float(low), float(high), len(values))


def _bootstrap(values_SG: Array) -> tuple[Array, Array]:
    """The 2.5 and 97.5 % quantiles of the median of S seeds drawn with replacement."""
    parts = [
        np.quantile(_medians(values_SG[:, at : at + _AT_ONCE]), (0.025, 0.975), axis=1)
        for at in range(0, values_SG.shape[1], _AT_ONCE)
    ]
    low_G, high_G = np.concatenate(parts, axis=1)
    return low_G, high_G


def _medians(values_SG: Array) -> Array:
    """The median of each resample (G, N), found by counting instead of sorting each of them.

    A resample holds the seed of rank k (k = 0 for the smallest value) so many times; its element
    m in ascending order is the first seed up to whose rank it holds more than m.
    """
    times_SN = _times(len(values_SG))
    seeds = len(times_SN)
    rank_SG = np.argsort(values_SG, axis=0)
    sorted_GS = np.take_along_axis(values_SG, rank_SG, axis=0).T
    middle = sorted({(seeds - 1) // 2, seeds // 2})  # one element, or the two around the middle
    # Six standard deviations below the middle, where hardly any resample has come so far.
    start = max(0, int(seeds / 2 - 3 * math.sqrt(seeds)))
    held_GN = _held(times_SN, rank_SG[:start])
    if held_GN.max() > middle[0]:
        start, held_GN = 0, np.zeros_like(held_GN)
    first = [np.full(held_GN.shape, start, times_SN.dtype) for _ in middle]
    for k in range(start, seeds):
        held_GN += times_SN[rank_SG[k]]
        for m, first_GN in zip(middle, first, strict=True):
            first_GN += held_GN <= m
        if k >= seeds // 2 and held_GN.min() > middle[-1]:
            break
    found = [np.take_along_axis(sorted_GS, first_GN.astype(np.intp), axis=1) for first_GN in first]
    return found[0] if len(found) == 1 else (found[0] + found[1]) / 2


def _held(times_SN: NDArray[Any], seeds_KG: NDArray[np.intp]) -> NDArray[Any]:
    """How many elements of each resample are of these seeds (G, N)."""
    chosen_SG = np.zeros((len(times_SN), seeds_KG.shape[1]), np.float32)
    np.put_along_axis(chosen_SG, seeds_KG, 1, axis=0)
    return (chosen_SG.T @ times_SN.astype(np.float32)).astype(times_SN.dtype)


@functools.lru_cache(maxsize=8)
def _times(seeds: int) -> NDArray[Any]:
    """How many times each of 1000 resamples holds each seed (S, N)."""
    # The same draws at every point, and at every call: a figure drawn twice is the same figure.
    draws_NS = np.random.default_rng(0).integers(seeds, size=(_RESAMPLES, seeds))
    times_SN = np.zeros((seeds, _RESAMPLES), np.min_scalar_type(seeds))
    for n, draw_S in enumerate(draws_NS):
        times_SN[:, n] = np.bincount(draw_S, minlength=seeds)
    return times_SN
