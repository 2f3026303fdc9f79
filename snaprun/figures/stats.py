"""Curves over seeds: step functions, a light smoothing, the median and its band.

Shapes: N rows of a run or pairs of order statistics, G points of the common grid, S seeds, I ranks
of them.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BOOTSTRAP_SEEDS = 5  # fewer say too little about a 95 % interval: their range is shown
_AT_ONCE = 32  # points, so that what is sorted for them stays small
_ROUNDING = 1e-12  # of a probability


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
    """The 2.5 and 97.5 % quantiles (G,) of the median of S seeds drawn with replacement, exact."""
    lower_N, upper_N, chance_N = _middles(len(values_SG))
    edges = []
    for at in range(0, values_SG.shape[1], _AT_ONCE):
        sorted_SG = np.sort(values_SG[:, at : at + _AT_ONCE], axis=0)
        median_NG = (sorted_SG[lower_N] + sorted_SG[upper_N]) / 2
        order_NG = np.argsort(median_NG, axis=0)
        below_NG = np.cumsum(chance_N[order_NG], axis=0)
        for quantile in (0.025, 0.975):
            first_G = (below_NG < quantile - _ROUNDING).sum(axis=0).clip(max=len(chance_N) - 1)
            index_G = np.take_along_axis(order_NG, first_G[None], axis=0)
            edges.append(np.take_along_axis(median_NG, index_G, axis=0)[0])
    return np.concatenate(edges[::2]), np.concatenate(edges[1::2])


@functools.lru_cache(maxsize=64)
def _middles(seeds: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Array]:
    """Which two order statistics are the middle of a resample, and how likely each pair is (N,).

    Of an odd number of seeds both are the same one, the m-th of m + m − 1: with i seeds out of S
    at most as large, it is among them where m or more of S draws are. Of 2m seeds exactly m draws
    fall on the i smallest and one at least on the i-th, and likewise from above.
    """
    m = (seeds + 1) // 2
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, seeds + 1)))])
    share_I = np.arange(1, seeds) / seeds
    drawn_D = np.arange(m, seeds + 1)
    log_choose_D = log_factorial[seeds] - log_factorial[drawn_D] - log_factorial[seeds - drawn_D]
    terms_ID = log_choose_D + drawn_D * np.log(share_I[:, None])
    terms_ID += (seeds - drawn_D) * np.log1p(-share_I[:, None])
    among_I = np.concatenate([[0.0], np.exp(terms_ID).sum(axis=1), [1.0]])
    chance_II = np.diag(np.diff(among_I))
    if seeds % 2 == 0:
        rank_I = np.arange(1, seeds + 1)
        # log((i/S)^m − ((i − 1)/S)^m), and from above the same of S − i + 1.
        log_last_I = m * np.log(rank_I / seeds) + np.log1p(-(((rank_I - 1) / rank_I) ** m))
        log_apart_II = log_choose_D[0] + log_last_I[:, None] + log_last_I[::-1]
        log_apart_II[np.tril_indices(seeds)] = -np.inf
        apart_II = np.exp(log_apart_II)
        chance_II += apart_II - np.diag(apart_II.sum(axis=1))
    lower_N, upper_N = np.nonzero(chance_II > _ROUNDING)
    return lower_N, upper_N, chance_II[lower_N, upper_N]
