"""Closed-form slopes against autograd, and the patterns that cells declare."""

import pytest
import torch

from snaprun.cells import Vanilla
from snaprun.cells.lif import LIF
from snaprun.checks import UserError
from tests.cases import CELLS, LeakyReLU, close, rng

ALL = {**CELLS, "new": LeakyReLU()}


@pytest.fixture(params=ALL)
def cell(request):
    return ALL[request.param]


def point(cell, dtype=torch.float64, scale=1.0):
    generator = rng(1)
    pre_BMK = scale * torch.randn(5, len(cell.slots), 7, generator=generator, dtype=dtype)
    state_BCK = torch.randn(5, cell.components, 7, generator=generator, dtype=dtype)
    if isinstance(cell, LIF):  # a unit that may spike, as some may not
        state_BCK[:, cell.parts.index("r"), ::2].abs_().neg_()
    return pre_BMK, state_BCK


def test_slopes_equal_autograd(cell):
    pre_BMK, state_BCK = (x.requires_grad_() for x in point(cell))
    next_BCK = cell.transition(pre_BMK, state_BCK)
    assert next_BCK.shape == state_BCK.shape
    dsda_BCMK, dsds_BCCK = cell.slopes(pre_BMK.detach(), state_BCK.detach())
    for component in range(cell.components):
        # Units are independent, so the gradient of the sum holds every unit's own slope.
        total = next_BCK[:, component].sum()
        by_pre, by_state = torch.autograd.grad(
            total, (pre_BMK, state_BCK), retain_graph=True, materialize_grads=True
        )
        close(dsda_BCMK[:, component], by_pre, 1e-14)
        close(dsds_BCCK[:, component], by_state, 1e-14)


def test_units_are_independent(cell, graded):
    pre_BMK, state_BCK = point(cell)
    next_BCK = cell.transition(pre_BMK, state_BCK)
    pre_BMK[:, :, 4] += 1
    state_BCK[:, :, 4] -= 1
    changed = cell.transition(pre_BMK, state_BCK) != next_BCK
    reached = list(map(any, cell.trace_pattern))
    assert changed[:, reached, 4].all()
    assert changed.sum() == changed[:, :, 4].sum()


def test_slopes_vanish_outside_the_pattern_and_only_there(cell, graded):
    pre_BMK, state_BCK = (x[..., ::2] for x in point(cell))
    dsda_BCMK, dsds_BCCK = cell.slopes(pre_BMK, state_BCK)
    if isinstance(cell, LeakyReLU):  # declares nothing, which is allowed: its h' forgets h
        assert not dsds_BCCK.any()
        dsds_BCCK = torch.ones_like(dsds_BCCK)
    for slopes, pattern in ((dsda_BCMK, cell.slope_pattern), (dsds_BCCK, cell.state_pattern)):
        pattern = torch.tensor(pattern)
        assert pattern.shape == slopes.shape[1:3]
        assert (slopes != 0).all(0).all(-1).equal(pattern)
        assert (slopes != 0).any(0).any(-1).equal(pattern)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_saturated_slopes_are_finite_and_keep_the_dtype(cell, dtype):
    for slopes in cell.slopes(*point(cell, dtype, scale=1e4)):
        assert slopes.dtype == dtype
        assert slopes.isfinite().all()


@pytest.mark.parametrize("alpha", [0.0, -0.5, 1.5, float("nan")])
def test_refuses_a_leak_outside_0_1(alpha):
    with pytest.raises(UserError, match=r"cell\.alpha"):
        Vanilla(alpha)
