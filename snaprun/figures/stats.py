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
    """Return the last value at or before each point of the grid (G,); NaN before the first.

    >>> import numpy as np
    >>> from snaprun.figures.stats import carried
    >>> carried(np.array([10, 20]), np.array([1.0, 2.0]), np.array([5, 10, 25])).tolist()
    [nan, 1.0, 2.0]
    """
    index_G = np.searchsorted(tokens_N, grid_G, side="right") - 1
    return np.where(index_G >= 0, values_N[np.maximum(index_G, 0)], np.nan)


def smoothed(tokens_N: Array, values_N: Array, width: float) -> Array:
    """Return for each row (N,) the mean of the rows of the last `width` tokens, including it.

    >>> import numpy as np
    >>> from snaprun.figures.stats import smoothed
    >>> smoothed(np.array([10, 20, 30]), np.array([3.0, 5.0, 10.0]), width=20).tolist()
    [3.0, 4.0, 7.5]
    """
    first_N = np.searchsorted(tokens_N, tokens_N - width, side="right")
    first_N = np.minimum(first_N, np.arange(len(tokens_N)))
    sum_N = np.concatenate([[0.0], np.cumsum(values_N)])
    last_N = np.arange(1, len(tokens_N) + 1)
    return (sum_N[last_N] - sum_N[first_N]) / (last_N - first_N)


def band_name(seeds: int) -> str:
    """Return in words what the band over that many seeds is, or "" if there is none.

    >>> from snaprun.figures.stats import band_name
    >>> [band_name(seeds) for seeds in (1, 4, 5)]
    ['', 'range', 'bootstrap 95 %']
    """
    if seeds >= BOOTSTRAP_SEEDS:
        return "bootstrap 95 %"
    return "range" if seeds > 1 else ""


def median_band(values_SG: Array) -> tuple[Array, Array, Array]:
    """Return the median and the edges of its band, each (G,), over the seeds with a value there.

    The band is a bootstrap 95 % interval of the median from 5 seeds on, the range for 2 to 4;
    its edges are NaN for one seed, and all three are NaN for none.

    >>> import numpy as np
    >>> from snaprun.figures.stats import median_band
    >>> values = np.array([[1.0, 5.0], [2.0, np.nan], [4.0, np.nan]])  # 3 seeds, 2 points
    >>> [edge.tolist() for edge in median_band(values)]
    [[2.0, 5.0], [1.0, nan], [4.0, nan]]
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
    """Return the median and the band of one number for each seed.

    >>> from snaprun.figures.stats import over_seeds
    >>> over_seeds([1.0, 2.0, 4.0])
    Spread(median=2.0, low=1.0, high=4.0, seeds=3)
    """
    (median,), (low,), (high,) = median_band(np.array(values, dtype=float).reshape(-1, 1))
    return Spread(float(median), float(low), float(high), len(values))


def _bootstrap(values_SG: Array) -> tuple[Array, Array]:
    """Return the exact 2.5 and 97.5 % quantiles (G,) of the median of S draws with replacement."""
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
    """Return the pairs of order statistics that can be the middle of a resample, and their chances.

    All three arrays are (N,). With S = 2m − 1 seeds, both of a pair are the m-th smallest draw,
    which is one of the i smallest seeds if m or more of the S draws are. With S = 2m seeds, the
    lower one is the i-th smallest seed and the upper one is larger if exactly m draws fall on the i
    smallest seeds and at least one of these draws on the i-th; likewise for the upper one from
    above.
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
