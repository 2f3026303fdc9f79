"""How far gradients are from the exact gradient: cosine, norm ratio, bias² and variance.

Shape suffixes: N draws of a rule's noise, P parameters.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from snaprun.verify.unbiased import student_quantile

TAIL = 0.025  # the probability on either side of an interval
LEAST_DRAWS = 8  # with fewer the interval means little


class Estimate(NamedTuple):
    """A value and its 95 % interval; the ends are NaN for a deterministic rule."""

    value: float
    low: float = math.nan
    high: float = math.nan


def compare(drawn_NP: Tensor, exact_P: Tensor) -> dict[str, Estimate]:
    """Compare draws of the gradient g of one rule with the exact gradient g*, in four quantities.

        cosine      g·g* / ‖g‖‖g*‖            mean over draws, in [-1, 1]
        norm_ratio  ‖g‖ / ‖g*‖                mean over draws
        bias2       ‖E g - g*‖² / ‖g*‖²       unbiased: the mean of (g_i - g*)·(g_j - g*), i ≠ j
        variance    E ‖g - E g‖² / ‖g*‖²      of one draw

    N = 1 stands for a deterministic rule. With more draws the intervals are those of the jackknife
    with Student's quantile (Efron & Stein 1981); for bias2 the interval is somewhat too wide if
    the bias is zero. A quantity is NaN if g or g* is zero.

    >>> found = compare(torch.tensor([[0.0, 2.0]]), torch.tensor([0.0, 1.0]))
    >>> {name: estimate.value for name, estimate in found.items()}
    {'cosine': 1.0, 'norm_ratio': 2.0, 'bias2': 1.0, 'variance': 0.0}
    """
    drawn_NP, exact_P = drawn_NP.double(), exact_P.double()
    norm = exact_P.norm()
    norm_N = drawn_NP.norm(dim=1)
    # Rounding may take the cosine a few ulp past ±1.
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
    """Compute bias2 and variance from Σ_ij d_i·d_j and Σ_i d_i·d_i over the errors d of draws."""
    return (total - trace) / (draws * (draws - 1)), (trace - total / draws) / (draws - 1)


def _jackknife(value: Tensor, without_N: Tensor) -> Estimate:
    """Compute the interval of a statistic from its values with one draw left out."""
    draws = len(without_N)
    error = ((draws - 1) / draws * (without_N - without_N.mean()).square().sum()).sqrt()
    half = student_quantile(TAIL, draws - 1) * error
    return Estimate(float(value), float(value - half), float(value + half))
