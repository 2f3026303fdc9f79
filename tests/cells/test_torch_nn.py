"""Our cells and stacks against torch.nn's with the same weights: outputs, states, gradients."""

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
WIDTHS = {"a layer": 9, "two layers": (6, 6), "three layers": (5, 5, 5), "unequal": (6, 1, 8)}


@pytest.fixture(params=MODULES)
def case(request):
    return MODULES[request.param]


@pytest.fixture(params=SPARSITIES)
def sparsity(request):
    return SPARSITIES[request.param]


@pytest.fixture(params=WIDTHS)
def drawn(request, case, sparsity):
    return without_resets(problem(case[0], sparsity, units=WIDTHS[request.param], lanes=5))


def matrices(case, dense_MKJ):
    """What torch calls weight_ih, weight_hh, bias_ih and bias_hh, of a layer's dense array."""
    _, _, fed, recurrent, biased = case
    units = dense_MKJ.shape[1]
    zero_K = dense_MKJ.new_zeros(units)
    return (
        torch.cat([dense_MKJ[m, :, units:-1] for m in fed]),
        torch.cat([dense_MKJ[m, :, :units] for m in recurrent]),
        torch.cat([dense_MKJ[m, :, -1] for m in fed]),
        torch.cat([zero_K if m is None else dense_MKJ[m, :, -1] for m in biased]),
    )


def modules(case, drawn):
    """torch's modules with the weights of the problem: one, or a chain where layers differ."""
    layout, kind = drawn.core.layout, case[1]
    parts = [matrices(case, layer) for layer in layout.split(layout.scatter(drawn.theta_P))]
    widths = (drawn.core.inputs, *layout.layers)
    equal = len(set(layout.layers)) == 1
    chain = nn.ModuleList()
    for inputs, units in zip(widths, layout.layers[:1] if equal else layout.layers, strict=False):
        layers = len(layout.layers) if equal else 1
        chain.append(kind(inputs, units, num_layers=layers, dtype=torch.float64))
    with torch.no_grad():
        for layer, part in zip(by_layer(chain), parts, strict=True):
            for theirs, ours in zip(layer, part, strict=True):
                theirs.copy_(ours)
    return chain


def by_layer(chain):
    """The parameters of each layer, from the input up."""
    return [weights for module in chain for weights in module.all_weights]


def outputs(chain, x_TBA):
    """h (T, B, k) of the uppermost layer, and the last h and c of every layer, side by side."""
    last = []
    for module in chain:
        x_TBA, end = module(x_TBA)
        components = end if isinstance(end, tuple) else (end,)
        last.append([torch.cat(tuple(layers), 1) for layers in components])
    return x_TBA, [torch.cat(parts, 1) for parts in zip(*last, strict=True)]


def test_outputs_and_state(case, drawn):
    with torch.no_grad():
        h_TBK, last_CBK = outputs(modules(case, drawn), drawn.inputs_TBA)
    weights_MKJ = drawn.core.layout.scatter(drawn.theta_P)
    state_BCK = drawn.core.initial_state(drawn.lanes, torch.float64)
    for t in range(drawn.steps):
        state_BCK, _ = drawn.core.step(weights_MKJ, state_BCK, drawn.inputs_TBA[t])
        close(drawn.core.output(state_BCK), h_TBK[t])
    close(state_BCK, torch.stack(last_CBK, 1))


def test_bptt_gradient_of_every_weight_matrix(case, drawn):
    chain = modules(case, drawn)
    logits_TBO = outputs(chain, drawn.inputs_TBA)[0] @ drawn.readout_OK.T
    F.cross_entropy(
        logits_TBO.flatten(0, 1),
        drawn.targets_TB.flatten(),
        ignore_index=NO_TARGET,
        reduction="sum",
    ).backward()

    setup = drawn.setup(rng(), None)
    rule = BPTT()
    ours_P = gradients(rule, rule.init(setup), drawn.records(), drawn.steps)[0]
    layout = drawn.core.layout
    found = layout.split(layout.scatter(ours_P))
    live = layout.split(layout.live_MKJ.double())
    for weights, own_MKJ, live_MKJ in zip(by_layer(chain), found, live, strict=True):
        parts = zip(weights, matrices(case, own_MKJ), matrices(case, live_MKJ), strict=True)
        for theirs, ours, kept in parts:
            if kept.any():  # the hidden biases that ours lacks are not compared
                close(ours, theirs.grad * kept, 1e-11)
