"""Checks rules that claim an unbiased gradient, by the mean over many draws and its interval.

Shape suffixes: G groups of draws, P live parameters.
"""

from math import ceil
from statistics import NormalDist

import torch
from torch import Generator, Tensor

from snaprun.checks import at_least
from snaprun.rules import LearningRule
from snaprun.rules.over_steps import gradients
from snaprun.verify import unrolled
from snaprun.verify.check import Check
from snaprun.verify.problem import Problem

GROUPS = 256  # a rule returns sums over lanes, so the spread is measured between groups of draws
FALSE_ALARM = 1e-6  # the chance that an unbiased rule fails a check
ROUNDING = 1e-12  # relative to the largest entry


def checks(rule: LearningRule, problem: Problem, draws: int, seed: int) -> list[Check]:
    """Check the largest |t| over parameters (Bonferroni), and |t| along the exact gradient.

    Every draw is a lane with the same data and with noise of its own. An entry that is the same in
    every draw must be exact. The details of the checks give the power of the test.
    """
    groups = min(GROUPS, at_least("draws", draws, 100))
    repeats = ceil(draws / groups)
    exact_P = unrolled.gradients(problem)[0]
    samples_GP = sample(rule, problem, groups, repeats, seed)
    mean_P, deviation_P = samples_GP.mean(0), samples_GP.std(0) / groups**0.5
    t_P = statistic(mean_P - exact_P, deviation_P, ROUNDING * float(exact_P.abs().max()))
    bound = student_quantile(FALSE_ALARM / len(exact_P) / 2, groups - 1)
    what = f"mean of {groups * repeats} draws, autograd: largest |t|"
    norm = float(exact_P.norm())
    if not norm:  # no unit that spikes was near its threshold
        return [Check(what, float(t_P.max()), bound, "the exact gradient is 0")]
    share_G = samples_GP @ exact_P / norm**2
    share, share_deviation = share_G.mean(), share_G.std() / groups**0.5
    t_share = statistic(share - 1, share_deviation, ROUNDING)

    bound_share = student_quantile(FALSE_ALARM / 2, groups - 1)
    width = bound_share * float(share_deviation)
    weak = "" if width < 1 else ", so wide that a gradient of 0 would pass, too"
    return [
        Check(
            what,
            float(t_P.max()),
            bound,
            f"mean off by {float((mean_P - exact_P).norm()) / norm:.1e} of the exact norm,"
            f" standard error {float(deviation_P.norm()) / norm:.1e}",
        ),
        Check(
            "the same along the exact gradient: |t|",
            float(t_share),
            bound_share,
            f"{float(share):.4f} ± {width:.4f} of it{weak}",
        ),
    ]


def sample(rule: LearningRule, problem: Problem, groups: int, repeats: int, seed: int) -> Tensor:
    """Return `groups` means (G, P), each over `repeats` independent draws of the gradient."""
    problem = problem.repeated(repeats)
    setup = problem.setup(Generator().manual_seed(seed))
    steps = list(problem.records())
    drawn = [gradients(rule, rule.init(setup), steps, problem.steps)[0] for _ in range(groups)]
    return torch.stack(drawn) / repeats


def statistic(difference: Tensor, deviation: Tensor, rounding: float) -> Tensor:
    """Return |difference| in standard errors: 0 within rounding, ∞ for an error without spread."""
    return torch.where(difference.abs() <= rounding, 0.0, difference.abs() / deviation)


def student_quantile(tail: float, freedom: int) -> float:
    """Return the t that Student's distribution with ν = `freedom` exceeds with probability `tail`.

    Uses the expansion of Abramowitz & Stegun 26.7.5 to third order in 1/ν, meant for ν ≥ 100.

    >>> round(student_quantile(0.025, 100), 3)
    1.984
    """
    z = -NormalDist().inv_cdf(tail)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3
