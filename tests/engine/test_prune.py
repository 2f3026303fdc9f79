"""A change of the mask in training: exact gradients after it, and all that stays, bit by bit."""

from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from snaprun.cells.lif import LIF
from snaprun.engine.native import NativeEngine
from snaprun.engine.optim import SGD
from snaprun.engine.prune import prune
from snaprun.engine.torch import TorchEngine
from snaprun.influence import choose
from snaprun.model.network import Architecture
from snaprun.rules import BPTT, RTRL, SnAp
from snaprun.sparsity import Dense, Magnitude, Uniform
from snaprun.verify import onestep
from tests.cases import RULES, close, in_pairs, rng
from tests.engine import test_engine
from tests.engine.engines import CELLS, EITHER, crossed, hidden_units
from tests.engine.test_engine import OPTIMISERS, A, B, O, Unrolled

SCHEDULE = Magnitude(level=0.85, initial=0.3, begin=0, end=30, every=10)
CHANGES = (10, 20, 30)
EXACT = {"bptt": BPTT(), "rtrl": RTRL(), "snap 12": SnAp(12)}
BOUND = 1e-9
HELD = SGD(lr=1e-300)  # so small a rate moves no weight


def build(engine, rule, optimiser, every, cell="gru", sparsity=SCHEDULE, units=6):
    built = Architecture(CELLS[cell], units, sparsity, hidden_units(rule, 4), rule.reminder)
    network = built.build(A, O, 4, torch.float64)
    every = "sequence" if rule.once_a_sequence else every
    common = {"lanes": B, "update_every": every, "noise": rng(2)}
    if engine == "native":
        return NativeEngine(network, rule, optimiser, **common)
    return TorchEngine(network, rule, optimiser, **common, backend=choose("torch"))


def smaller(engine, tokens):
    """The mask that the schedule gives the engine's network."""
    network = engine.network
    return SCHEDULE.pruned(tokens, network.core.layout.live_MKJ, network.weights())


def batches(lane_resets=False):
    return test_engine.batches((9, 8, 9, 10), lane_resets)


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
@pytest.mark.parametrize(
    ("rule", "every"),
    [*(("bptt", every) for every in (1, 3, 7)), *((r, "sequence") for r in EXACT)],
)
@pytest.mark.parametrize("engine", EITHER)
def test_exact_rules_train_the_dense_masked_network(engine, rule, every, optimiser):
    """Autograd and PyTorch's optimisers on all weights, the dead ones multiplied by zero."""
    ours, theirs = OPTIMISERS[optimiser]
    trained = build(engine, EXACT[rule], ours, every)
    built = trained.network
    reference = Unrolled(built, theirs, every)
    for batch, tokens in zip(batches(), (*CHANGES, None), strict=True):
        close(trained.run(batch), reference.run(batch), BOUND)
        if tokens:
            live_MKJ = smaller(trained, tokens)
            assert live_MKJ.sum() < built.core.layout.size
            prune(trained, live_MKJ)
            reference.update()
            reference.live_MKJ = live_MKJ
    close(built.weights(), reference.weights_MKJ.detach() * reference.live_MKJ, BOUND)
    for got, want in zip(built.readout.parameters, reference.readout, strict=True):
        close(got.detach(), want.detach(), BOUND)
    assert trained.updates == reference.updates > 0


@pytest.mark.parametrize(*crossed(cell=CELLS))
def test_rtrl_is_exact_over_a_change_within_a_sequence(engine, cell, request):
    """∂(the losses after it)/∂θ by autograd through all steps, dead weights constant before it."""
    if engine == "torch":  # C++ knows true spikes alone
        request.getfixturevalue("graded")
    trained = build(engine, RTRL(), HELD, "sequence", cell, Dense())
    before_MKJ = trained.network.weights()
    batch, cut = batches()[1], 4
    trained.run(batch.piece(0, cut))
    live_MKJ = trained.network.core.layout.live_MKJ
    live_MKJ = Magnitude(level=0.2, begin=0, end=1).pruned(1, live_MKJ, before_MKJ)
    prune(trained, live_MKJ)
    core = trained.network.core
    reach_CKG = core.pattern(None).reach_SG.unflatten(0, (-1, core.units))
    assert reach_CKG[list(map(any, core.cell.trace_pattern))].all()
    trained.run(batch.piece(cut, 3))

    theta_MKJ = before_MKJ.clone().requires_grad_()
    state_BCK = trained.network.core.initial_state(B, torch.float64)
    total = torch.zeros(())
    for t in range(cut + 3):
        dead_MKJ = before_MKJ * ~live_MKJ * (t < cut)
        x_BA = torch.eye(A).double()[batch.inputs[t]]
        source_BJ = torch.cat((state_BCK[:, 0], x_BA, torch.ones(B, 1).double()), 1)
        pre_BMK = torch.einsum("muj,bj->bmu", theta_MKJ * live_MKJ + dead_MKJ, source_BJ)
        state_BCK = trained.network.core.cell.transition(pre_BMK, state_BCK)
        logits_BO = trained.network.readout.outputs(state_BCK[:, core.cell.read])
        nats_B = F.cross_entropy(logits_BO, batch.targets[t], reduction="none") * batch.mask[t]
        total = total + nats_B.sum() * (t >= cut)
    want_MKJ = torch.autograd.grad(total, theta_MKJ)[0]
    assert want_MKJ.abs().max() > (1e-4 if core.cell.spikes else 0.01)
    got_P = trained.state_dict()["rule"]["gradient"]
    close(trained.network.core.layout.scatter(got_P), want_MKJ, BOUND)


def influence(engine):
    """J as (B, S, m, k, J), zero where nothing is kept."""
    core, saved = engine.network.core, engine.state_dict()["rule"]["J"]
    layout = core.layout
    row_L, column_L = core.pattern(engine.rule.n).entries
    J_BSX = torch.zeros(B, core.states, layout.live_MKJ.numel()).double()
    J_BSX[:, row_L, layout.flat_P[column_L]] = saved
    return J_BSX.unflatten(2, layout.live_MKJ.shape)


@pytest.mark.parametrize(
    ("engine", "cell", "rule", "units"),
    in_pairs(
        (*case, units)
        for case in crossed(cell=CELLS, rule=["snap 1", "snap 2", "snap 3", "rtrl"])[1]
        for units in (6, (4, 3))
    ),
    ids=str,
)
def test_influence_goes_on_in_the_new_pattern(engine, cell, rule, units):
    """Equation (5) by jacrev on dense arrays, J masked anew by hand within a sequence."""
    trained = build(engine, RULES[rule], HELD, "sequence", cell, units=units)
    batch, network = batches()[0], trained.network
    state_BS = torch.zeros(B, network.core.states).double()
    J_BSX = torch.zeros(B, network.core.states, network.core.layout.live_MKJ.numel()).double()
    for first, last in pairwise((0, 3, 5, 8)):
        if first:
            prune(trained, smaller(trained, {3: 20, 5: 30}[first]))
        core, theta_P = network.core, network.theta.detach()
        flat_P = core.layout.flat_P
        M_SX = torch.zeros(J_BSX.shape[1:], dtype=torch.bool)
        M_SX[:, flat_P] = core.pattern(trained.rule.n).mask_SP
        silent = isinstance(core.cell, LIF)  # few units spike in so few steps
        assert not first or silent or (J_BSX[:, ~M_SX] != 0).any()
        J_BSX *= M_SX
        close(influence(trained).flatten(2), J_BSX, BOUND)
        for t in range(first, last):
            x_BA = torch.eye(A).double()[batch.inputs[t]]
            for b in range(B):
                D_SS, I_SP = onestep.jacobians(core, state_BS[b], theta_P, x_BA[b])
                J_BSX[b] = D_SS @ J_BSX[b]
                J_BSX[b][:, flat_P] += I_SP
                state_BS[b] = onestep.next_state(core, state_BS[b], theta_P, x_BA[b])
            J_BSX *= M_SX
        trained.run(batch.piece(first, last - first))
    close(influence(trained).flatten(2), J_BSX, BOUND)


@pytest.mark.parametrize("every", [1, 7])
@pytest.mark.parametrize(*crossed(rule=RULES))
def test_what_stays_is_kept_bit_by_bit(engine, rule, every):
    trained = build(engine, RULES[rule], OPTIMISERS["adam"][0], every, "lstm")
    network = trained.network
    for batch in batches(lane_resets=not RULES[rule].once_a_sequence)[:2]:
        trained.run(batch)
    trained.update()
    before, old = trained.state_dict(), network.core.layout
    live_MKJ = smaller(trained, 20)
    prune(trained, live_MKJ)
    after, new = trained.state_dict(), network.core.layout
    assert new.live_MKJ.equal(live_MKJ)

    def same(got, want):
        assert (new.scatter(got) if got.dim() == 1 else got).equal(
            old.scatter(want) * live_MKJ if got.dim() == 1 else want
        )

    same(after["network"]["theta"], before["network"]["theta"])
    for name, (got, *rest) in after["optimiser"].items():
        want, *others = before["optimiser"][name]
        assert want.any() or rule == "frozen"
        same(got, want)
        assert all(x.equal(y) for x, y in zip(rest, others, strict=True))
    for name in before["rule"].keys() - {"J", "tape"}:
        got, want = after["rule"][name], before["rule"][name]
        if not isinstance(want, torch.Tensor):
            assert got == want
            continue
        if want.shape[-1] != old.size:
            assert got.equal(want)
            continue
        for one, other in zip(got.view(-1, new.size), want.view(-1, old.size), strict=True):
            same(one, other)
    for name in ("state", "noise"):
        assert after[name].equal(before[name])
    for name in ("updates", "longest_window", "steps", "targets"):
        assert after[name] == before[name]


@pytest.mark.parametrize(
    ("engine", "rule", "every", "units", "cell"),
    in_pairs(
        (
            (engine, rule, *window, cell)
            for engine, rule, cell in crossed(["native"], rule=RULES, cell=CELLS)[1]
            for window in ((1, 6), (7, 6), ("sequence", 6), (3, (4, 3, 5)))
        ),
        of=4,
    ),
)
def test_both_engines_go_the_same_way(engine, rule, cell, every, units):
    optimiser = OPTIMISERS["adam" if cell == "gru" else "sgd"][0]
    ours, theirs = (
        build(e, RULES[rule], optimiser, every, cell, units=units) for e in (engine, "torch")
    )
    apart = not RULES[rule].once_a_sequence  # lanes begin at different times, and go on
    for batch, tokens in zip(batches(lane_resets=apart), (*CHANGES, None), strict=True):
        close(ours.run(batch), theirs.run(batch), BOUND)
        if tokens:
            live_MKJ = smaller(theirs, tokens)
            assert smaller(ours, tokens).equal(live_MKJ)
            prune(ours, live_MKJ)
            prune(theirs, live_MKJ)
    assert ours.updates == theirs.updates > 0
    for got, want in zip(ours.network.parameters, theirs.network.parameters, strict=True):
        close(got.detach(), want.detach(), BOUND)


@pytest.mark.parametrize("engine", EITHER)
def test_a_change_ends_the_window(engine):
    trained = build(engine, RTRL(), HELD, 7)
    trained.run(batches()[0])  # 9 steps
    assert trained.updates == 1
    prune(trained, trained.network.core.layout.live_MKJ)
    assert (trained.updates, trained.state_dict()["steps"]) == (1, 2)
    prune(trained, smaller(trained, 10))
    assert (trained.updates, trained.state_dict()["steps"]) == (2, 0)


@pytest.mark.parametrize(*crossed(rule=RULES))
def test_the_memory_of_a_rule_is_that_of_the_new_mask(engine, rule):
    trained = build(engine, RULES[rule], HELD, 3)
    trained.run(batches()[0])
    most = trained.rule_bytes
    prune(trained, smaller(trained, 30))
    at_once = trained.rule_bytes
    trained.run(batches()[0])
    fresh = build(engine, RULES[rule], HELD, 3)
    fresh.network.prune(smaller(fresh, 30))
    fresh.reset()
    fresh.run(batches()[0])
    assert at_once == trained.rule_bytes == fresh.rule_bytes
    depends = RULES[rule].labels(fresh.network.core).keys() - {"gradient"}
    assert fresh.rule_bytes < most if depends else fresh.rule_bytes == most


def test_what_is_dead_cannot_live_again():
    trained = build("torch", RTRL(), HELD, 1)
    live_MKJ = trained.network.core.layout.live_MKJ
    other_MKJ = Uniform(0.3).mask([True] * 4, [True] * 4, 6, A, rng(99))
    no_bias_MKJ = live_MKJ.clone()
    no_bias_MKJ[0, 0, -1] = False
    for wrong in (other_MKJ, torch.ones_like(live_MKJ), live_MKJ[:, :-1], no_bias_MKJ):
        with pytest.raises(ValueError, match="mask"):
            prune(trained, wrong)
