"""What holds for every loss of the registry, in float64 against autograd."""

import pytest
import torch

from snaprun.losses import LOSSES
from tests.cases import close, rng


@pytest.fixture(params=LOSSES)
def drawn(request):
    """A loss, and outputs, targets and a mask of nine lanes; some have no target."""
    loss = LOSSES[request.param]()
    outputs_BO = torch.randn(9, 5, generator=rng(), dtype=torch.float64, requires_grad=True)
    mask_B = torch.arange(9) % 3 != 1
    if loss.classes:
        targets = torch.randint(0, 5, (9,), generator=rng(1)) * mask_B
    else:
        targets = torch.randn(9, 5, generator=rng(1), dtype=torch.float64) * mask_B[:, None]
    return loss, outputs_BO, targets, mask_B


def test_the_error_is_the_derivative_of_the_value(drawn):
    loss, outputs_BO, targets, mask_B = drawn
    value_B = loss.value(outputs_BO, targets, mask_B)
    assert value_B.shape == (9,)
    (want_BO,) = torch.autograd.grad(value_B.sum(), outputs_BO)
    with torch.no_grad():
        got_B, error_BO = loss.value_and_error(outputs_BO, targets, mask_B)
    close(got_B, value_B.detach())
    close(error_BO, want_BO)
    assert float(want_BO.abs().max()) > 0.1


def test_a_lane_without_a_target_has_no_loss_and_no_error(drawn):
    loss, outputs_BO, targets, mask_B = drawn
    value_B, error_BO = loss.value_and_error(outputs_BO.detach(), targets, mask_B)
    assert not value_B[~mask_B].any()
    assert not error_BO[~mask_B].any()
    assert value_B[mask_B].all()


def test_what_is_reported_grows_with_the_loss(drawn):
    loss = drawn[0]
    assert loss.reported(0.0) == 0.0
    assert loss.reported(1.0) < loss.reported(2.0)
    assert loss.training.better == loss.held_out.better == -1
