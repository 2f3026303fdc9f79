"""Masks that regrow: what stays is kept bit by bit, what comes alive begins at zero."""

import pytest
import torch

from snaprun.engine.native import NativeEngine
from snaprun.engine.optim import Adam
from snaprun.engine.prune import Masks, resume, rewire
from snaprun.engine.torch import TorchEngine
from snaprun.influence import choose
from snaprun.model.network import Architecture
from snaprun.rules import BPTT, RTRL, SnAp
from snaprun.seeding import stream
from snaprun.sparsity import DeepR, Uniform
from tests.cases import RULES, close, rng
from tests.engine.engines import CELLS, EITHER, NEEDS_CORE, hidden_units
from tests.engine.test_engine import A, B, O, batches

SEED = 4
DEEPR = DeepR(level=0.6, l1=2.0, temperature=0.01)


def build(engine, rule, cell="gru", units=6, average=None):
    built = Architecture(CELLS[cell], units, DEEPR, hidden_units(rule, 4), rule.reminder)
    network = built.build(A, O, SEED, torch.float64)
    every = "sequence" if rule.once_a_sequence else 7
    common = {"lanes": B, "update_every": every, "noise": rng(2), "average": average}
    if engine == "native":
        return NativeEngine(network, rule, Adam(lr=0.02), **common)
    return TorchEngine(network, rule, Adam(lr=0.02), **common, backend=choose("torch"))


def signs(engine):
    return engine.network.core.signs(stream(SEED, "init"))


def test_initial_weights_have_the_sign_of_the_run():
    network = build("torch", BPTT()).network
    weights_MKJ, live_MKJ = network.weights(), network.core.layout.live_MKJ.clone()
    live_MKJ[:, :, -1] = False
    assert (weights_MKJ * signs(build("torch", BPTT())))[live_MKJ].gt(0).all()


@pytest.mark.parametrize("engine", EITHER)
@pytest.mark.parametrize("rule", RULES)
def test_what_stays_is_kept_and_what_is_new_is_zero(engine, rule):
    rule = RULES[rule]
    if rule.replays and rule.once_a_sequence:
        pytest.skip("takes whole sequences only")
    trained = build(engine, rule, "lstm", average=0.9)
    for batch in batches(lane_resets=not rule.once_a_sequence)[:2]:
        trained.run(batch)
    trained.update()
    before, old = trained.state_dict(), trained.network.core
    rewire(trained, DEEPR, signs(trained), rng(5))
    after, new = trained.state_dict(), trained.network.core
    stays_MKJ = old.layout.live_MKJ & new.layout.live_MKJ
    born_MKJ = new.layout.live_MKJ & ~old.layout.live_MKJ
    assert born_MKJ.sum() == (old.layout.live_MKJ & ~new.layout.live_MKJ).sum() > 2
    assert not born_MKJ[:, :, -1].any()

    def same(got, want):
        got_MKJ, want_MKJ = new.layout.scatter(got), old.layout.scatter(want)
        assert got_MKJ[stays_MKJ].equal(want_MKJ[stays_MKJ])
        assert not got_MKJ[born_MKJ].any()

    for name, (got, *rest) in after["optimiser"].items():
        want, *others = before["optimiser"][name]
        same(got, want)
        assert all(x.equal(y) for x, y in zip(rest, others, strict=True))
    same(after["average"][0], before["average"][0])
    for name, want in before["rule"].items():
        got = after["rule"][name]
        if isinstance(want, torch.Tensor) and want.shape[-1:] == (old.layout.size,):
            for one, other in zip(
                got.view(-1, new.layout.size), want.view(-1, old.layout.size), strict=True
            ):
                same(one, other)
    assert after["state"].equal(before["state"])
    assert after["updates"] == before["updates"]


@pytest.mark.parametrize("n", [1, 2, None])
@pytest.mark.parametrize("engine", EITHER)
def test_influence_keeps_the_entries_of_weights_that_stay(engine, n):
    trained = build(engine, RTRL() if n is None else SnAp(n), "gru")
    trained.run(batches()[0].piece(0, 5))

    def dense():
        core = trained.network.core
        row_L, column_L = core.pattern(n).entries
        J_BSX = torch.zeros(B, core.states, core.layout.live_MKJ.numel()).double()
        J_BSX[:, row_L, core.layout.flat_P[column_L]] = trained.state_dict()["rule"]["J"]
        kept_SX = torch.zeros(J_BSX.shape[1:], dtype=torch.bool)
        kept_SX[row_L, core.layout.flat_P[column_L]] = True
        return J_BSX, kept_SX

    before_BSX, old_SX = dense()
    rewire(trained, DEEPR, signs(trained), rng(5))
    after_BSX, new_SX = dense()
    assert before_BSX[:, old_SX & new_SX].any()
    close(after_BSX, before_BSX * (old_SX & new_SX), 0)


@NEEDS_CORE
@pytest.mark.parametrize("units", [6, (4, 5)], ids=str)
@pytest.mark.parametrize("rule", RULES)
def test_both_engines_go_the_same_way(rule, units):
    rule = RULES[rule]
    if rule.once_a_sequence:
        pytest.skip("SAB is tested with whole sequences alone")
    ours, theirs = (build(kind, rule, "gru", units) for kind in ("native", "torch"))
    masks = [Masks(engine, DEEPR, SEED) for engine in (ours, theirs)]
    seen = set()
    for tokens, batch in enumerate(batches((7, 7, 14, 7))):
        close(ours.run(batch), theirs.run(batch), 1e-9)
        for mask in masks:
            mask.follow(tokens, tokens + 1)
        live_MKJ = ours.network.core.layout.live_MKJ
        assert live_MKJ.equal(theirs.network.core.layout.live_MKJ)
        close(ours.network.weights(), theirs.network.weights(), 1e-9)
        seen.add(live_MKJ.flatten().nonzero().sum().item())
    assert len(seen) > 2


@pytest.mark.parametrize("engine", EITHER)
def test_it_goes_on_where_it_stopped(engine):
    def trained():
        made = build(engine, SnAp(2), average=0.9)
        return made, Masks(made, DEEPR, SEED)

    (through, masks), (other, following) = trained(), trained()
    data = batches((7, 7, 7))
    through.run(data[0])
    masks.follow(0, 21)
    through.run(data[1].piece(0, 4))
    following.resume(through.state_dict())
    for engine_, mask in ((through, masks), (other, following)):
        engine_.run(data[1].piece(4, 3))
        mask.follow(21, 42)
        engine_.run(data[2])
    assert through.network.core.layout.live_MKJ.equal(other.network.core.layout.live_MKJ)
    assert through.network.theta.equal(other.network.theta)


def test_only_a_sparsity_that_rewires_takes_another_mask():
    rewired = build("torch", BPTT())
    rewired.run(batches()[0].piece(0, 7))
    rewire(rewired, DEEPR, signs(rewired), rng())
    fresh = build("torch", BPTT())
    with pytest.raises(ValueError, match="keeps the mask"):
        resume(fresh, Uniform(0.6), rewired.state_dict())
    resume(build("torch", BPTT()), DEEPR, rewired.state_dict())
    broken = rewired.state_dict()
    broken["network"]["live"] = broken["network"]["live"].clone()
    broken["network"]["live"][:, :, -1] = False
    with pytest.raises(ValueError, match="does not have"):
        resume(build("torch", BPTT()), DEEPR, broken)
