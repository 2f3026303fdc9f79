"""The readout's written-out gradients against autograd through torch's own layers."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from snaprun.model.readout import Readout
from tests.cases import close, rng

B, K, O = 5, 7, 4
WIDTHS = {"linear": 0, "mlp": 6}


def torchs(readout, hidden):
    """The same function as torch modules."""
    sizes = [K, *([hidden] if hidden else []), O]
    layers = []
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        layer = nn.Linear(fan_in, fan_out, dtype=torch.float64)
        with torch.no_grad():
            layer.weight.copy_(readout.parameters[2 * i])
            layer.bias.copy_(readout.parameters[2 * i + 1])
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@pytest.fixture(params=WIDTHS)
def case(request):
    hidden = WIDTHS[request.param]
    readout = Readout(K, O, hidden, rng(2), torch.float64)
    return readout, torchs(readout, hidden)


def data(seed):
    h_BK = torch.randn(B, K, generator=rng(seed), dtype=torch.float64)
    return h_BK, torch.randint(0, O, (B,), generator=rng(seed + 1))


def test_logits(case):
    readout, modules = case
    h_BK, _ = data(0)
    close(readout.outputs(h_BK), modules(h_BK).detach())


@pytest.mark.parametrize("mask", [[1, 1, 1, 1, 1], [0, 1, 1, 0, 1], [0, 0, 1, 0, 0]])
def test_loss_credit_and_gradients(case, mask):
    readout, modules = case
    mask_B = torch.tensor(mask, dtype=torch.bool)
    h_BK, targets_B = data(3)
    learned = readout.learn(h_BK, targets_B, mask_B)

    h_BK.requires_grad_()
    logits_BO = modules(h_BK)
    nats_B = F.cross_entropy(logits_BO, targets_B, reduction="none") * mask_B
    wanted = torch.autograd.grad(nats_B.sum(), (h_BK, logits_BO, *modules.parameters()))
    close(learned.loss_B, nats_B.detach())
    close(learned.credit_BK, wanted[0])
    close(learned.error_BO, wanted[1])
    for parameter, want in zip(readout.parameters, wanted[2:], strict=True):
        close(parameter.grad, want)


def test_gradients_add_up_over_steps(case):
    readout, modules = case
    for seed in (3, 8):
        h_BK, targets_B = data(seed)
        readout.learn(h_BK, targets_B, torch.ones(B, dtype=torch.bool))
        F.cross_entropy(modules(h_BK), targets_B, reduction="sum").backward()
    for parameter, theirs in zip(readout.parameters, modules.parameters(), strict=True):
        close(parameter.grad, theirs.grad)


def test_confident_logits_stay_finite(case):
    readout, _ = case
    h_BK, targets_B = data(0)
    learned = readout.learn(1e6 * h_BK, targets_B, torch.ones(B, dtype=torch.bool))
    assert learned.loss_B.isfinite().all()
    assert learned.credit_BK.isfinite().all()


def test_starts_uniform_in_one_over_the_root_of_the_fan_in():
    readout = Readout(400, 30, 100, rng(), torch.float32)
    for parameter, fan_in in zip(readout.parameters, (400, 400, 100, 100), strict=True):
        assert parameter.dtype == torch.float32
        assert 0.9 < float(parameter.abs().max()) * fan_in**0.5 <= 1
    assert readout.macs == 400 * 100 + 100 * 30
