"""Our cells against torch.nn's with the same weights: outputs, states and gradients."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from snaprun.cells import GRU, LSTM, Vanilla
from snaprun.rules import BPTT
from snaprun.rules.over_steps import gradients
from snaprun.sparsity import Dense, Uniform
from snaprun.verify.problem import NO_TARGET
from tests.cases import close, problem, rng, without_resets

# Of each torch module, in its own order of gates: our slots behind its input and hidden weights,
# and behind its hidden biases, which ours lacks where the input has one too.
MODULES = {
    "vanilla": (Vanilla(), nn.RNN, (0,), (0,), (None,)),
    "gru": (GRU(), nn.GRU, (1, 0, 2), (1, 0, 3), (None, None, 3)),
    "lstm": (LSTM(), nn.LSTM, (0, 1, 2, 3), (0, 1, 2, 3), (None,) * 4),
}
SPARSITIES = {"dense": Dense(), "masked": Uniform(level=0.6)}


@pytest.fixture(params=MODULES)
def case(request):
    return MODULES[request.param]


@pytest.fixture(params=SPARSITIES)
def drawn(request, case):
    return without_resets(problem(case[0], SPARSITIES[request.param], units=9, lanes=5))


def module(case, drawn):
    """torch's module with the weights of the problem."""
    _, kind, fed, recurrent, biased = case
    weights_MKJ, units = drawn.core.layout.scatter(drawn.theta_P), drawn.core.units
    zero_K = torch.zeros(units, dtype=torch.float64)
    theirs = kind(3, units, dtype=torch.float64)
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(torch.cat([weights_MKJ[m, :, units:-1] for m in fed]))
        theirs.weight_hh_l0.copy_(torch.cat([weights_MKJ[m, :, :units] for m in recurrent]))
        theirs.bias_ih_l0.copy_(torch.cat([weights_MKJ[m, :, -1] for m in fed]))
        theirs.bias_hh_l0.copy_(
            torch.cat([zero_K if m is None else weights_MKJ[m, :, -1] for m in biased])
        )
    return theirs


def test_outputs_and_state(case, drawn):
    with torch.no_grad():
        h_TBK, last = module(case, drawn)(drawn.inputs_TBA)
    weights_MKJ = drawn.core.layout.scatter(drawn.theta_P)
    state_BCK = drawn.core.initial_state(drawn.lanes, torch.float64)
    for t in range(drawn.steps):
        state_BCK, _ = drawn.core.step(weights_MKJ, state_BCK, drawn.inputs_TBA[t])
        close(state_BCK[:, 0], h_TBK[t])
    if isinstance(case[0], LSTM):
        close(state_BCK[:, 1], last[1][0])


def test_bptt_gradient_of_every_weight_matrix(case, drawn):
    theirs = module(case, drawn)
    logits_TBO = theirs(drawn.inputs_TBA)[0] @ drawn.readout_OK.T
    F.cross_entropy(
        logits_TBO.flatten(0, 1),
        drawn.targets_TB.flatten(),
        ignore_index=NO_TARGET,
        reduction="sum",
    ).backward()

    setup = drawn.setup(rng(), None)
    rule = BPTT()
    ours_P = gradients(rule, rule.init(setup), drawn.records(), drawn.steps)[0]
    layout, units = drawn.core.layout, drawn.core.units
    _, _, fed, recurrent, biased = case
    want_MKJ = torch.zeros(layout.live_MKJ.shape, dtype=torch.float64)
    for gate in range(len(fed)):
        rows = slice(gate * units, (gate + 1) * units)
        want_MKJ[fed[gate], :, units:-1] = theirs.weight_ih_l0.grad[rows]
        want_MKJ[fed[gate], :, -1] = theirs.bias_ih_l0.grad[rows]
        want_MKJ[recurrent[gate], :, :units] = theirs.weight_hh_l0.grad[rows]
        if biased[gate] is not None:
            want_MKJ[biased[gate], :, -1] = theirs.bias_hh_l0.grad[rows]
    ours_MKJ = layout.scatter(ours_P)
    for slot in range(len(case[0].slots)):
        for part in (slice(0, units), slice(units, -1), slice(-1, None)):
            live = layout.live_MKJ[slot, :, part]
            close(ours_MKJ[slot, :, part][live], want_MKJ[slot, :, part][live], 1e-11)
