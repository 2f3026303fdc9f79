"""e-prop 1 against the recursions of the paper, and beside the rules that it sometimes is."""

from dataclasses import replace

import pytest
import torch

from snaprun.cells import CELLS, GRU, LSTM
from snaprun.engine.optim import SGD
from snaprun.engine.torch import TorchEngine
from snaprun.model.network import Architecture
from snaprun.rules import BPTT, RFLO, RTRL, EProp, SnAp
from snaprun.sparsity import Dense, Uniform
from snaprun.verify import unrolled
from tests.cases import LIVELY, close, problem, rng
from tests.rules.contract import gradient

KEYS = {**LIVELY, "tau_a": 5.0}


def spiking(reset="detached", **keys):
    """A problem in which many units spike."""
    cell = CELLS["alif"](**{**KEYS, "reset": reset, **keys})
    drawn = problem(cell, Uniform(level=0.3), units=9, steps=25)
    drawn = replace(drawn, theta_P=2 * drawn.theta_P)
    spikes = sum(float(record.src_BJ[:, :9].sum()) for _, record in drawn.records())
    assert spikes > 60
    return drawn


def cosine(a, b):
    return float(torch.cosine_similarity(a, b, dim=0))


@pytest.mark.parametrize("reset", ["attached", "detached"])
@pytest.mark.parametrize("cell", ["lif", "alif"])
def test_rtrl_is_bptt(cell, reset):
    keys = LIVELY if cell == "lif" else KEYS
    drawn = problem(CELLS[cell](**keys, reset=reset), Uniform(level=0.3), units=9, steps=25)
    want_P = unrolled.gradients(drawn)[0]
    assert want_P.abs().max() > 0.01
    close(gradient(RTRL(), drawn), want_P)
    close(gradient(BPTT(), drawn), want_P)


def test_with_a_detached_reset_it_is_snap1_and_rflo_and_bptt_without_the_spikes_sent():
    drawn = spiking()
    got_P = gradient(EProp(), drawn)
    assert got_P.abs().max() > 0.01
    close(got_P, gradient(SnAp(1), drawn))
    close(got_P, gradient(RFLO(), drawn))
    close(got_P, unrolled.of_layers(drawn, unrolled.detached, sent=False))
    assert cosine(got_P, unrolled.gradients(drawn)[0]) < 0.999  # and it is no exact gradient


def test_a_self_connection_parts_snap1_from_rflo():
    drawn = spiking(self_connections=True)
    assert cosine(gradient(SnAp(1), drawn), gradient(RFLO(), drawn)) < 1 - 1e-6
    close(gradient(EProp(), drawn), gradient(RFLO(), drawn))


def test_an_attached_reset_parts_it_from_snap1():
    drawn = spiking("attached")
    snap1_P, eprop_P = gradient(SnAp(1), drawn), gradient(EProp(), drawn)
    assert 0.9 < cosine(snap1_P, eprop_P) < 1 - 1e-6
    close(snap1_P, gradient(RFLO(), drawn))
    # The forward pass is the same, and e-prop does not see the reset.
    close(eprop_P, gradient(EProp(), spiking()))


def test_it_is_the_recursion_of_the_paper():
    """ε^v, ε^b and e of Bellec et al. 2020, equations 22 to 25, with the new spike in b."""
    drawn = spiking("attached", refractory=0)
    cell, core, layout = drawn.core.cell, drawn.core, drawn.core.layout
    unit_P, source_P = layout.unit_P, layout.source_P
    beta_P = cell.beta_of(core.units)[unit_P]
    state_BCK = core.initial_state(drawn.lanes, torch.float64)
    weights_MKJ = layout.scatter(drawn.theta_P)
    v_BP, b_BP, filtered_BP = (torch.zeros(drawn.lanes, layout.size).double() for _ in range(3))
    total_P = torch.zeros_like(drawn.theta_P)
    for (resets_B, record), x_BA in zip(drawn.records(), drawn.inputs_TBA, strict=True):
        state_BCK = state_BCK.masked_fill(resets_B[:, None, None], 0)
        for trace_BP in (v_BP, b_BP, filtered_BP):
            trace_BP[resets_B] = 0
        threshold_BK = cell.v_th + cell.beta_of(core.units) * state_BCK[:, 2]
        src_BJ = core.sources(state_BCK, x_BA)
        state_BCK, _ = core.step(weights_MKJ, state_BCK, x_BA)
        apart_BK = (state_BCK[:, 1] - threshold_BK).abs() / cell.v_th
        psi_BK = cell.gamma / cell.v_th * (1 - apart_BK).clamp(min=0)
        v_BP = cell.alpha * v_BP + src_BJ[:, source_P]
        e_BP = psi_BK[:, unit_P] * (v_BP - beta_P * b_BP)
        b_BP = cell.rho * b_BP + e_BP
        filtered_BP = cell.kappa * filtered_BP + (1 - cell.kappa) * e_BP
        if record.credit_BCK is not None:
            total_P += (record.credit_BCK[:, cell.read][:, unit_P] * filtered_BP).sum(0)
    close(gradient(EProp(), drawn), total_P)


@pytest.mark.parametrize("cell", [GRU(), LSTM()], ids=["gru", "lstm"])
def test_without_spikes_it_is_rflo(cell):
    drawn = problem(cell, Dense(), units=(5, 4))
    close(gradient(EProp(), drawn), gradient(RFLO(), drawn))


def test_adaptive_feedback_approaches_the_readout():
    """B − W only decays, whatever the optimiser does."""
    architecture = Architecture(CELLS["alif"](**KEYS), 6, Dense(), hidden=0)
    network = architecture.build(3, 4, seed=0, dtype=torch.float64)
    rule, rate = EProp("adaptive", decay=0.05), SGD(lr=0.3, momentum=0.9)
    engine = TorchEngine(network, rule, rate, lanes=2, update_every=1, noise=rng())
    weight = network.readout.parameters[0]
    first_OK = engine.rule_state.feedback_OK - weight
    for count in range(1, 40):
        engine.predict(torch.randn(2, 3, generator=rng(count), dtype=torch.float64).numpy())
        engine.learn(torch.randint(0, 4, (2,), generator=rng(count)).numpy())
        apart_OK = engine.rule_state.feedback_OK - weight
        close(apart_OK, first_OK * 0.95**count, 1e-10)
    assert weight.abs().max() > 0.01
