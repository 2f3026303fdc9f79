"""Bias, variance and intervals against draws whose moments are known."""

import math

import pytest
import torch

from snaprun.align.estimate import compare
from tests.cases import rng

P, N = 7, 12
EXACT = torch.linspace(-1, 2, P, dtype=torch.float64)


def drawn(shift, spread, times, seed=0):
    """`times` sets of N draws around EXACT + shift with covariance spread² 1."""
    noise = torch.randn(times, N, P, generator=rng(seed), dtype=torch.float64)
    return EXACT + shift + spread * noise


def test_one_gradient_by_hand():
    g = torch.tensor([[3.0, 4.0]])
    found = compare(g, torch.tensor([2.0, 0.0]))
    values = {name: estimate.value for name, estimate in found.items()}
    assert values == {"cosine": 0.6, "norm_ratio": 2.5, "bias2": (1 + 16) / 4, "variance": 0}
    assert all(math.isnan(x) for estimate in found.values() for x in (estimate.low, estimate.high))


def test_the_same_gradient():
    found = compare(EXACT[None], EXACT)
    assert found["cosine"].value == pytest.approx(1, abs=1e-14)
    assert found["bias2"].value == 0


def test_no_rounding_takes_a_cosine_past_one():
    """Of 400 gradients along the exact one many would be an ulp above, of 400 against it below."""
    exact_P = torch.randn(401, generator=rng(1), dtype=torch.float64)
    scales = torch.rand(400, 1, generator=rng(2), dtype=torch.float64) + 0.5
    for sign in (1, -1):
        found = [compare(sign * scale * exact_P[None], exact_P)["cosine"].value for scale in scales]
        assert max(map(abs, found)) <= 1
        assert min(map(abs, found)) > 1 - 1e-14


@pytest.mark.parametrize("one_is_zero", [0, 1])
def test_a_direction_of_nothing_is_not_a_number(one_is_zero):
    g, exact_P = [EXACT, 0 * EXACT][:: 1 - 2 * one_is_zero]
    assert math.isnan(compare(g[None], exact_P)["cosine"].value)


def test_intervals_are_the_jackknife_left_one_out_by_hand():
    draws_NP = drawn(0.3, 0.5, 1)[0]

    def by_definition(draws_NP):
        norm = EXACT.norm()
        mean_P = draws_NP.mean(0)
        variance = (draws_NP - mean_P).square().sum() / (len(draws_NP) - 1)
        bias2 = (mean_P - EXACT).square().sum() - variance / len(draws_NP)
        cosine = torch.stack([torch.dot(g, EXACT) / g.norm() / norm for g in draws_NP]).mean()
        ratio = torch.stack([g.norm() / norm for g in draws_NP]).mean()
        return torch.stack((cosine, ratio, bias2 / norm**2, variance / norm**2))

    value = by_definition(draws_NP)
    without = torch.stack(
        [by_definition(torch.cat((draws_NP[:i], draws_NP[i + 1 :]))) for i in range(N)]
    )
    error = ((N - 1) * (without - without.mean(0)).square().mean(0)).sqrt()
    half = 2.200985 * error  # Student's t of 11 degrees of freedom, 97.5 %
    for i, name in enumerate(("cosine", "norm_ratio", "bias2", "variance")):
        found = compare(draws_NP, EXACT)[name]
        assert found.value == pytest.approx(float(value[i]), rel=1e-12)
        assert found.high - found.value == pytest.approx(float(half[i]), rel=1e-3)
        assert found.value - found.low == pytest.approx(float(half[i]), rel=1e-3)


@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_unbiased_and_covered(shift):
    times = 600
    norm2 = float(EXACT.square().sum())
    truth = {"bias2": P * shift**2 / norm2, "variance": P * 0.5**2 / norm2}
    found = [compare(draws_NP, EXACT) for draws_NP in drawn(shift, 0.5, times)]
    for name, true in truth.items():
        values = torch.tensor([one[name].value for one in found])
        assert abs(float(values.mean()) - true) < 5 * float(values.std()) / times**0.5
        covered = sum(one[name].low <= true <= one[name].high for one in found) / times
        # The jackknife is conservative for bias2 at zero.
        assert 0.91 < covered <= (1 if shift == 0 and name == "bias2" else 0.98)
