"""Stale, recomputed and exact gradients: against what training did, and autograd."""

import pytest
import torch

from snaprun.align import stale
from snaprun.align.point import staleness
from snaprun.engine.optim import SGD
from snaprun.engine.torch import TorchEngine
from snaprun.influence import choose
from snaprun.rules import BPTT, RFLO, RTRL, Frozen, SnAp
from snaprun.seeding import stream
from tests import cases
from tests.align.problems import SEED, B, batch, network, replay
from tests.cases import close

# Feedback that adapts decays, and so moves without an update.
RULES = [r for r in cases.RULES.values() if not (r.taped or r.adapts or isinstance(r, Frozen))]


def engine(rule, rate=0.5, update_every=1, built=None):
    return TorchEngine(
        built or network(),
        rule,
        SGD(lr=rate),
        lanes=B,
        update_every=update_every,
        noise=stream(SEED, "noise"),
        backend=choose("auto"),
    )


def gradients(rule, updates=100, noise=3, **choices):
    trained = engine(rule, **choices)
    return stale.at_updates(replay(trained.network), rule, trained, batch(), updates, noise)


@pytest.mark.parametrize("update_every", [1, 2, "sequence"])
@pytest.mark.parametrize("rule", [SnAp(2), RTRL(), RFLO(feedback="random")])
def test_the_stale_gradient_is_the_one_that_trained(rule, update_every):
    rate, data = 0.5, batch()
    thetas, targets, counted = [], [], 0
    trained = engine(rule, rate, update_every)
    thetas.append(trained.network.theta.clone())
    for t in range(len(data.mask)):
        updates = trained.updates
        trained.run(data.piece(t, 1))
        counted += int(data.mask[t].sum())
        if trained.updates > updates:
            thetas.append(trained.network.theta.clone())
            targets.append(counted)
            counted = 0
    found = gradients(rule, rate=rate, update_every=update_every)
    assert len(found) == len(targets) == {1: 8, 2: 4, "sequence": 1}[update_every]
    for gradient, before, after, count in zip(found, thetas, thetas[1:], targets, strict=False):
        close(gradient.stale_P, (before - after) * count / rate, 1e-9)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_without_movement_nothing_is_stale(rule):
    found = gradients(rule, rate=1e-13)
    assert len(found) == 8
    for gradient in found:
        close(gradient.stale_P, gradient.fresh_P, 1e-9)
    values = staleness(network().core, "x", found)
    assert values["x/whole/stale_fresh"] == pytest.approx(1, abs=1e-10)
    assert values["x/n_h/stale_ratio"] == pytest.approx(1, abs=1e-10)


def test_rtrl_recomputed_is_exact_and_carried_over_it_is_not():
    found = gradients(RTRL(), rate=1.0)
    for gradient in found:
        close(gradient.fresh_P, gradient.exact_P, 1e-10)
    close(found[0].stale_P, found[0].fresh_P, 1e-10)  # nothing moved before the first update
    values = staleness(network().core, "rtrl", found[1:])
    assert values["rtrl/whole/stale_fresh"] < 0.9995
    assert values["rtrl/whole/stale_fresh"] == pytest.approx(values["rtrl/whole/stale_exact"])


@pytest.mark.parametrize("update_every", [1, 3])
def test_the_exact_gradient_is_autograds(update_every):
    """∂/∂θ Σ_t δ_t·s_t(θ), δ_t held fixed, t over the last window, θ that of its end."""
    data = batch()
    core = network().core
    trained = engine(SnAp(1), update_every=update_every)
    credits, made = stale.online(replay(trained.network), SnAp(1), trained, data, noise=0)
    begin, (end, theta_P, _) = made[-2].end, made[-1]
    weights_MKJ = core.layout.scatter(theta_P).requires_grad_()
    state_BCK = core.initial_state(B, torch.float64)
    total = torch.zeros((), dtype=torch.float64)
    for t in range(end):
        state_BCK = torch.where(data.resets[t][:, None, None], 0.0, state_BCK)
        source_BJ = core.sources(state_BCK, data.inputs[t])
        pre_BMK = torch.einsum("muj,bj->bmu", weights_MKJ * core.layout.live_MKJ, source_BJ)
        state_BCK = core.cell.transition(pre_BMK, state_BCK)
        credit_BCK = credits[t]["credit_BCK"]
        if t >= begin and credit_BCK is not None:
            total = total + (credit_BCK * state_BCK).sum()
    want_P = core.layout.gather(torch.autograd.grad(total, weights_MKJ)[0])
    close(gradients(SnAp(1), updates=1, update_every=update_every)[-1].exact_P, want_P, 1e-10)


def test_faster_learning_is_staler():
    values = [
        staleness(network().core, "x", gradients(SnAp(1), rate=rate))["x/whole/stale_fresh"]
        for rate in (0.01, 0.1, 1.0)
    ]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.999999 > 0.9997 > values[2]


def test_the_last_update_is_always_among_those_chosen():
    assert stale.evenly(8, 4) == [1, 3, 5, 7]
    assert stale.evenly(7, 3) == [1, 3, 6]
    assert stale.evenly(5, 9) == [0, 1, 2, 3, 4]
    assert stale.evenly(5, 1) == [4]
    assert stale.evenly(0, 3) == []


def test_what_outlives_an_update():
    assert all(stale.carries(rule) for rule in RULES)
    assert not any(stale.carries(rule) for rule in (BPTT(), Frozen()))
