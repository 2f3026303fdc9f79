"""How far gradients lie from the exact one: cosine, norm ratio, bias² and variance.

Shape suffixes: N draws of a rule's noise, P parameters.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from snaprun.verify.unbiased import student_quantile

TAIL = 0.025  # on either side of the intervals
LEAST_DRAWS = 8  # fewer give no interval to speak of


class Estimate(NamedTuple):
    """A value and its 95 % interval, whose ends are NaN where nothing was drawn."""

    value: float
    low: float = math.nan
    high: float = math.nan


def compare(drawn_NP: Tensor, exact_P: Tensor) -> dict[str, Estimate]:
    """Gradients g of one rule beside the exact one, g*: the four quantities by name.

        cosine      g·g* / ‖g‖‖g*‖            mean over draws, in [-1, 1]
        norm_ratio  ‖g‖ / ‖g*‖                mean over draws
        bias2       ‖E g - g*‖² / ‖g*‖²       unbiased: the mean of (g_i - g*)·(g_j - g*), i ≠ j
        variance    E ‖g - E g‖² / ‖g*‖²      of one draw

    One draw (N = 1) is taken for a deterministic rule. From several, intervals are the jackknife's
    with Student's quantile (Efron & Stein 1981); where the bias is zero that of bias2 is on the
    wide side. NaN where g or g* is zero.
    """
    drawn_NP, exact_P = drawn_NP.double(), exact_P.double()
    norm = exact_P.norm()
    norm_N = drawn_NP.norm(dim=1)
    # Rounding may take it a few ulp past ±1.
    cosine_N = (drawn_NP @ exact_P / (norm_N * norm)).clamp(-1, 1)
    ratio_N = norm_N / norm
    error_NP = (drawn_NP - exact_P) / norm
    products_NN = error_NP @ error_NP.T
    draws = len(drawn_NP)
    if draws == 1:
        values = (cosine_N, ratio_N, products_NN, torch.zeros(1))
        found = [Estimate(float(value)) for value in values]
    else:
        own_N, row_N = products_NN.diagonal(), products_NN.sum(1)
        total, trace = row_N.sum(), own_N.sum()
        whole = _moments(total, trace, draws)
        # Without draw i: the sums lose its row, its column and its own square.
        parts = _moments(total - 2 * row_N + own_N, trace - own_N, draws - 1)
        means = [(x_N.mean(), (x_N.sum() - x_N) / (draws - 1)) for x_N in (cosine_N, ratio_N)]
        pairs = [*means, *zip(whole, parts, strict=True)]
        found = [_jackknife(value, without_N) for value, without_N in pairs]
    return dict(zip(("cosine", "norm_ratio", "bias2", "variance"), found, strict=True))


def _moments(total: Tensor, trace: Tensor, draws: int) -> tuple[Tensor, Tensor]:
    """bias2 and variance from Σ_ij d_i·d_j and Σ_i d_i·d_i over the errors d of the draws."""
    return (total - trace) / (draws * (draws - 1)), (trace - total / draws) / (draws - 1)


def _jackknife(value: Tensor, without_N: Tensor) -> Estimate:
    """The interval of a statistic from its values with one draw left out."""
    draws = len(without_N)
    error = ((draws - 1) / draws * (without_N - without_N.mean()).square().sum()).sqrt()
    half = student_quantile(TAIL, draws - 1) * error
    return Estimate(float(value), float(value - half), float(value + half))
