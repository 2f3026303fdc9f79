"""Spiking units against a neuron simulated step by step in plain Python, and what keys mean."""

import math
from itertools import pairwise

import pytest
import torch

from snaprun.cells import CELLS
from snaprun.checks import UserError
from snaprun.core import RecurrentCore
from snaprun.sparsity import Dense, Diagonal, Magnitude, Uniform
from tests.cases import close, rng

KEYS = {"tau_m": 7.0, "tau_out": 4.0, "v_th": 0.7, "refractory": 3}


def simulated(currents, *, tau_m, tau_out, v_th, refractory, rho=0.0, beta=0.0):
    """The parts of one neuron after every step, by the equations as a reader would write them."""
    alpha, kappa = math.exp(-1 / tau_m), math.exp(-1 / tau_out) if tau_out else 0.0
    z = v = b = f = 0.0
    wait, found = 0, []
    for current in currents:
        v = alpha * v + current - v_th * z
        z = 1.0 if wait <= 0 and v > v_th + beta * b else 0.0
        b = rho * b + z
        wait = min(max(wait + refractory * z - 1, 0), refractory)
        f = kappa * f + (1 - kappa) * z
        found.append({"z": z, "v": v, "b": b, "r": wait, "f": f})
    return found


def run(cell, currents_T):
    """The state of a unit after every step, by part."""
    state_BCK = torch.zeros(1, cell.components, 1, dtype=torch.float64)
    for current in currents_T:
        state_BCK = cell.transition(current.view(1, 1, 1), state_BCK)
        yield dict(zip(cell.parts, state_BCK[0, :, 0].tolist(), strict=True))


@pytest.mark.parametrize("refractory", [0, 1, 2, 5])
@pytest.mark.parametrize("tau_out", [0.0, 4.0])
def test_a_unit_does_what_the_equations_say(refractory, tau_out):
    currents_T = 0.4 + 0.5 * torch.randn(300, generator=rng(), dtype=torch.float64)
    keys = {**KEYS, "refractory": refractory, "tau_out": tau_out}
    for name, more in (("lif", {}), ("alif", {"tau_a": 30.0, "beta": 0.2, "adaptive": 1.0})):
        cell = CELLS[name](**keys, **more)
        adapts = {"rho": math.exp(-1 / 30), "beta": 0.2} if more else {}
        wanted = simulated(currents_T.tolist(), **keys, **adapts)
        assert 20 < sum(want["z"] for want in wanted) < 290
        for got, want in zip(run(cell, currents_T), wanted, strict=True):
            for part in cell.parts:
                assert got[part] == pytest.approx(want[part], abs=1e-12)


@pytest.mark.parametrize("refractory", [0, 1, 2, 4])
def test_spikes_are_at_least_the_refractory_period_apart(refractory):
    cell = CELLS["lif"](refractory=refractory)
    spikes = [t for t, part in enumerate(run(cell, torch.full((40,), 9.0).double())) if part["z"]]
    assert {b - a for a, b in pairwise(spikes)} == {max(refractory, 1)}


def test_adaptation_makes_a_constant_current_spike_less_and_less():
    cell = CELLS["alif"](adaptive=1.0, tau_a=500)
    spikes = [part["z"] for part in run(cell, torch.full((1000,), 0.2).double())]
    assert sum(spikes[:200]) > 1.5 * sum(spikes[-200:]) > 0


def test_the_last_units_of_every_layer_adapt():
    cell = CELLS["alif"](adaptive=0.4, tau_a=50, beta=2.0)
    assert (cell.beta_of(5) > 0).tolist() == [False] * 3 + [True] * 2
    assert cell.beta_of(1).tolist() == [0.0]
    core = RecurrentCore.build(cell, Dense(), [5, 4], 3, rng())
    state_BCK = torch.zeros(1, 5, 9, dtype=torch.float64)
    state_BCK[:, cell.parts.index("b")] = 1
    # Of v: near the threshold of a unit without adaptation.
    state_BCK[:, cell.parts.index("v")] = cell.v_th / cell.alpha
    weights_MKJ = torch.zeros(core.layout.live_MKJ.shape, dtype=torch.float64)
    _, linearise = core.step(weights_MKJ, state_BCK, torch.zeros(1, 3, dtype=torch.float64))
    near_K = linearise().dsda_BCMK[0, 0, 0] > 0
    assert near_K.tolist() == [True] * 3 + [False] * 2 + [True] * 2 + [False] * 2


def test_the_default_strength_is_that_of_the_paper():
    cell = CELLS["alif"](tau_m=20, tau_a=2000)
    assert cell.strength == pytest.approx(1.7 * (1 - math.exp(-1 / 2000)) / (1 - math.exp(-1 / 20)))


def test_the_surrogate_is_a_triangle():
    cell = CELLS["lif"](v_th=0.5, gamma=0.4, tau_m=3)
    v_T = torch.tensor([-0.1, 0.0, 0.25, 0.5, 0.75, 1.0, 1.2], dtype=torch.float64)
    dsda_BCMK, _ = cell.slopes(v_T.view(1, 1, -1), torch.zeros(1, 4, 7, dtype=torch.float64))
    want_T = torch.tensor([0, 0, 0.4, 0.8, 0.4, 0, 0], dtype=torch.float64)
    close(dsda_BCMK[0, 0, 0], want_T)


@pytest.mark.parametrize("sparsity", [Dense(), Uniform(0.6), Magnitude(0.7, 0.5), Diagonal()])
def test_no_unit_sees_itself_and_no_unit_has_a_bias(sparsity):
    core = RecurrentCore.build(CELLS["lif"](), sparsity, [9, 6], 4, rng())
    for live_MKJ in core.layout.split(core.layout.live_MKJ):
        units = live_MKJ.shape[1]
        assert not live_MKJ[0, :, :units].diagonal().any()
        assert not live_MKJ[0, :, -1].any()
        wanted = sparsity.live(units, live_MKJ.shape[2] - units - 1, loops=False)
        found = live_MKJ[0, :, :units].sum(), live_MKJ[0, :, units:].sum()
        assert tuple(map(int, found)) == wanted
    looped = RecurrentCore.build(CELLS["lif"](self_connections=True), sparsity, 40, 4, rng())
    assert looped.layout.live_MKJ[0, :, :40].diagonal().any()


def test_a_mask_without_loops_is_drawn_among_all_other_pairs():
    counts_KK = sum(Uniform(0.5).recurrent_apart(5, rng(seed)).double() for seed in range(400))
    assert torch.equal(counts_KK.diagonal(), torch.zeros(5).double())
    others = counts_KK[~torch.eye(5).bool()] / 400
    assert (others - 0.5).abs().max() < 5 * 0.5 / 20  # five standard errors


def test_without_recurrent_weights_there_are_none():
    core = RecurrentCore.build(CELLS["alif"](recurrent=False), Dense(), 6, 4, rng())
    assert core.layout.size == 24


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tau_m", 0),
        ("tau_out", -1),
        ("v_th", 0),
        ("gamma", -0.1),
        ("refractory", -1),
        ("refractory", 1.5),
        ("reset", "none"),
        ("rate_cost", -1),
        ("rate_target", 2),
        ("tau_a", 0),
        ("beta", -1),
        ("adaptive", 1.1),
    ],
)
def test_wrong_keys_are_refused(key, value):
    with pytest.raises(UserError, match=rf"cell\.{key}="):
        CELLS["alif"](**{key: value})
