"""Sparse attentive backtracking in the C++ engine beside its specification in PyTorch."""

import copy
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from snaprun.checks import UserError
from snaprun.engine import native
from snaprun.engine.evaluate import mean_loss
from snaprun.engine.optim import SGD, Adam
from snaprun.engine.torch import TorchEngine
from snaprun.rules import SAB, Frozen, SnAp
from tests.cases import close, rng
from tests.engine.engines import NEEDS_CORE
from tests.engine.test_state import assert_close, assert_equal
from tests.rules.test_sab import built, drawn, staggered, stepped

pytestmark = NEEDS_CORE
BOUND = 1e-12
RULE = SAB(k_att=2, k_top=2, k_trunc=3)


def engines(rule, optimiser=None, lanes=3, average=None, dtype=torch.float64, **choices):
    """The same network in both engines: PyTorch's, then the one in C++."""
    made = []
    for kind in (TorchEngine, native.NativeEngine):
        network = built(rule, **choices)
        if dtype != torch.float64:
            network = network.at([p.to(dtype) for p in network.parameters])
        common = {"lanes": lanes, "update_every": "sequence", "noise": rng(), "average": average}
        made.append(kind(network, rule, optimiser or SGD(lr=0.3), **common))
    return made


def trained(rule, batches, bound=BOUND, **choices):
    """Both engines after some batches, whose losses and parameters are the same."""
    pair = engines(rule, lanes=batches[0].mask.shape[1], **choices)
    before = [p.clone() for p in pair[0].network.parameters]
    for batch in batches:
        want_TB, got_TB = (engine.run(batch) for engine in pair)
        close(got_TB, want_TB, bound)
    theirs, ours = (engine.network.parameters for engine in pair)
    for got, want, at_first in zip(ours, theirs, before, strict=True):
        moved = float((want - at_first).norm())
        assert float((got - want).norm()) <= bound * max(moved, float(at_first.norm()))
    assert pair[0].updates == pair[1].updates == len(batches)
    return pair


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize(
    "chosen", [(2, 2, 3), (1, 3, 4), (3, 1, 5), (1, 2, 1), (2, 5, 14)], ids=str
)
@pytest.mark.parametrize("cell", ["vanilla", "gru", "lstm"])
def test_every_setting_trains_as_in_torch(cell, chosen, detach):
    rule = SAB(*chosen, detach=detach)
    trained(rule, [drawn(seed=seed) for seed in range(2)], cell=cell)


@pytest.mark.parametrize("hidden", [0, 6])
@pytest.mark.parametrize("loss", ["softmax", "mse"])
@pytest.mark.parametrize("lanes", [1, 3, 9])
@pytest.mark.parametrize(
    ("cell", "units"),  # a GRU's h grows with every recall, which magnifies rounding
    [("gru", (4, 5)), ("lstm", 9), ("lstm", (5, 3)), ("vanilla", (3, 2, 4))],
    ids=str,
)
def test_sparse_stacks_and_lanes_that_begin_within(cell, units, lanes, loss, hidden):
    rule = SAB(k_att=3 if cell == "gru" else 1, k_top=2, k_trunc=4)
    begins = [(5, lanes - 1), (6, 0), (7, 0), (11, lanes - 1)]
    batches = [drawn(lanes=lanes, loss=loss, begins=begins, seed=seed) for seed in range(2)]
    trained(rule, batches, cell=cell, units=units, level=0.5, hidden=hidden, loss=loss)


@pytest.mark.parametrize(
    "optimiser", [Adam(lr=1e-2), Adam(clip=0.01), SGD(momentum=0.9, clip=0.1), SGD(half_life=1.5)]
)
def test_every_optimiser_moves_the_attention_too(optimiser):
    batches = [drawn(seed=seed) for seed in range(3)]
    # Adam divides by the size of a gradient, also by that of one that is small.
    pair = trained(RULE, batches, 1e-9, optimiser=optimiser, average=0.5)
    for got, want in zip(pair[1].average(), pair[0].average(), strict=True):
        close(got, want, 1e-9)
    assert_close(pair[1].state_dict(), pair[0].state_dict())


def test_no_memories_and_fewer_than_k_top():
    batches = [drawn(seed=seed) for seed in range(2)]
    pair = trained(SAB(k_att=99, k_top=2, k_trunc=4), batches)
    fresh = built(SAB(k_att=99, k_top=2, k_trunc=4))
    for engine in pair:  # nothing but m_0 is recalled
        assert all(map(torch.equal, engine.network.attention, fresh.attention))
    trained(SAB(k_att=5, k_top=7, k_trunc=4), batches)


@pytest.mark.parametrize("k_top", [1, 2, 3])
def test_ties_keep_the_earliest(k_top):
    rule, batch = SAB(k_att=1, k_top=k_top, k_trunc=4), drawn()
    pair = engines(rule)
    for engine in pair:
        engine.network.attention[2].zero_()
        engine.run(batch.piece(0, 9))
    theirs, ours = (engine.state_dict()["rule"]["tape"] for engine in pair)
    assert ours["index"].equal(theirs["index"])
    assert ours["weights"].equal(theirs["weights"])
    assert not ours["slope"][k_top:].any()
    for engine in pair:
        engine.run(batch.piece(9, 99))
    parameters = (engine.network.parameters for engine in pair)
    for want, got in zip(*parameters, strict=True):
        assert float((got - want).abs().max()) <= BOUND


@pytest.mark.parametrize("lanes", [1, 5, 16])
def test_float32_is_near(lanes):
    batches = [drawn(20, lanes=lanes, seed=seed) for seed in range(2)]
    trained(
        SAB(k_att=1, k_top=3, k_trunc=5), batches, 1e-4, dtype=torch.float32, cell="lstm", units=13
    )


def test_pieces_are_the_whole_and_steps_are_a_run_bit_by_bit():
    batches = [drawn(16, begins=[(5, 1), (9, 0)], seed=seed) for seed in range(3)]
    whole, pieces, steps = (engines(RULE, Adam())[1] for _ in range(3))
    for batch in batches:
        loss_TB = whole.run(batch)
        parts = [pieces.run(batch.piece(first, 5)) for first in range(0, 16, 5)]
        assert torch.cat(parts).equal(loss_TB)
        for t in range(16):
            for _ in range(1 + (t % 3 == 0)):  # a prediction that is forgotten changes nothing
                steps.undo()
                steps.predict(batch.inputs[t].numpy(), batch.resets[t].numpy())
            y, mask_B = batch.targets[t].numpy(), batch.mask[t].numpy()
            loss_B = steps.learn(y, mask_B) if mask_B.any() else steps.learn()
            assert torch.tensor(loss_B).equal(loss_TB[t])
        steps.update()
    for other in (pieces, steps):
        assert all(map(torch.equal, other.network.parameters, whole.network.parameters))


@pytest.mark.parametrize("stop", [1, 4, 7, 16])
def test_a_state_goes_on_bit_by_bit_and_in_the_other_engine(stop):
    first, batch = (drawn(16, begins=[(5, 1), (9, 0)], seed=seed) for seed in range(2))
    theirs, ours = engines(RULE, Adam(), average=0.5)
    for engine in (theirs, ours):
        engine.run(first)
        engine.run(batch.piece(0, stop))
    state = ours.state_dict()
    assert_close(state, theirs.state_dict())
    after_torch, again = engines(RULE, Adam(), average=0.5)
    for engine in (after_torch, again):
        engine.run(batch)  # something else
        engine.load_state_dict(copy.deepcopy(state))
    assert_equal(again.state_dict(), state)
    from_torch = engines(RULE, Adam(), average=0.5)[1]
    from_torch.load_state_dict(theirs.state_dict())
    rest, ended = batch.piece(stop, 99), stop == 16
    if ended:
        rest = drawn(12, seed=5)
    want_TB = ours.run(rest)
    assert again.run(rest).equal(want_TB)
    assert_equal(again.state_dict(), ours.state_dict())
    for engine in (after_torch, from_torch):
        close(engine.run(rest), want_TB, 1e-9)
        assert_close(engine.state_dict(), ours.state_dict())


def learner_steps(engine, batch, last):
    for t in range(last):
        engine.predict(batch.inputs[t].numpy(), batch.resets[t].numpy())
        engine.learn(batch.targets[t].numpy())
    return engine


def test_memories_of_an_older_window_are_recalled_and_take_no_credit():
    """Where one lane begins anew and another goes on: the windows of a learner, also when saved."""
    first, second = drawn(7), drawn(7, seed=1)
    second.resets[0] = torch.tensor([True, False, False])
    pair = engines(RULE)
    for engine in pair:
        learner_steps(engine, first, 7).update()
        learner_steps(engine, second, 5)
    state = pair[1].state_dict()
    assert state["bank"]["older"] == 4
    assert len(state["bank"]["memories"]) == 6
    assert state["bank"]["absent"].tolist()[1:4] == [[True, False, False]] * 3
    assert_close(state, pair[0].state_dict())
    loaded = engines(RULE)[1]
    loaded.load_state_dict(state)
    for engine in (*pair, loaded):
        engine.update()  # also without a step since it was loaded
    assert_close(pair[1].state_dict(), pair[0].state_dict())
    assert_equal(loaded.state_dict(), pair[1].state_dict())


def test_memories_that_no_lane_has_any_more_are_dropped():
    pair, loaded = engines(RULE, lanes=2), engines(RULE, lanes=2)[1]
    for batch in staggered(5):
        loaded.load_state_dict(pair[1].state_dict())
        for engine in (*pair, loaded):
            stepped(engine, batch)
        assert len(pair[1].state_dict()["bank"]["memories"]) <= 7
        assert_close(pair[1].state_dict(), pair[0].state_dict())
        assert_equal(loaded.state_dict(), pair[1].state_dict())


def test_a_lane_that_goes_on_into_the_next_batch_is_refused():
    trained_ = engines(RULE)[1]
    first, second = drawn(), drawn(seed=1)
    second.resets[0, 1] = False
    trained_.run(first)
    with pytest.raises(UserError, match="such as recall_after_delay, copy or digits"):
        trained_.run(second)
    trained_.run(drawn(seed=1))
    assert trained_.updates == 2


def test_bad_states_are_refused():
    engine = engines(RULE)[1]
    engine.run(drawn().piece(0, 7))

    def refused(change, words):
        state = engine.state_dict()
        change(state["rule"]["tape"], state["bank"], state)
        with pytest.raises(ValueError, match=words):
            engines(RULE)[1].load_state_dict(state)

    refused(lambda tape, *_: tape["index"].__setitem__((3, 0, 0), 4), r"index.*\[0, 4\)")
    refused(lambda tape, *_: tape["index"].__setitem__((0, 2, 1), -1), r"index.*\[0, 4\)")
    refused(lambda _, bank, __: bank.update(older=2), "older")
    refused(lambda _, bank, __: bank.update(older=0), "older")
    refused(lambda _, bank, __: bank.update(memories=bank["memories"][:3]), "absent|older")
    refused(lambda _, bank, __: bank["absent"].__setitem__((0, 1), True), "absent")
    refused(lambda tape, *_: tape.update(slope=tape["slope"][:6]), "slope")
    refused(lambda tape, *_: tape.pop("weights"), "tape")
    refused(lambda *all_: all_[2].pop("bank"), "bank")
    kinds, resume = native._native, engine._engine.resume
    counters = dict.fromkeys(("targets", "updates", "longest_window", "rule_bytes"), 0)
    with pytest.raises(ValueError, match="memories do not fit"):
        resume(steps=7, **counters, memories=9, older=1)
    assert kinds.capabilities()["rules"]["sab"]["attends"]


def test_the_core_knows_what_it_trains():
    network = built(RULE)
    assert native.supports(network, RULE, Adam()) is None
    assert native.supports(network, Frozen.of(network.core), SGD()) is None
    assert "no attention over memories" in (native.supports(network, SnAp(1), SGD()) or "")
    plain = {"update_every": 0, "k_att": 2, "k_top": 2, "rule": "sab"}
    for change, words in (
        ({"update_every": 7}, "at the end of a batch"),
        ({"k_att": 0}, "k_att"),
        ({"k_top": 0}, "k_top"),
        ({"rule": "bptt"}, "no core with a reminder"),
    ):
        with pytest.raises(ValueError, match=words):
            native._native.Engine64(config_of(network) | plain | change)


def config_of(network):
    """The configuration that the C++ core gets for a network."""
    seen = []

    class Kind:
        def __init__(self, config):
            seen.append(config)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native._native, "Engine64", Kind)
        native.NativeEngine(network, RULE, SGD(), lanes=3, update_every="sequence", noise=rng())
    return seen[0]


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_validation_in_the_core_is_that_in_torch(cell):
    network = built(RULE, cell, units=(4, 3))
    batches = [drawn(11), drawn(8, seed=1, begins=[(4, 1)])]
    pieces = [batch.piece(first, 3) for batch in batches for first in range(0, 12, 3)]
    before = [p.clone() for p in network.parameters]
    want = mean_loss(network, batches)
    for given in (batches, [piece for piece in pieces if len(piece.mask)]):
        assert mean_loss(network, given, in_core=True) == pytest.approx(want, rel=BOUND)
    assert all(map(torch.equal, network.parameters, before))


def test_what_is_not_a_number_shows():
    batch = drawn()
    for engine in engines(RULE):
        engine.network.attention[2][1] = torch.nan
        engine.run(batch)
        assert not engine.finite


PROGRAM = """
import torch
from tests.engine.test_sab_native import SAB, drawn, trained
from snaprun._native import isa
for cell in ("gru", "lstm"):
    trained(SAB(k_att=1, k_top=3, k_trunc=4), [drawn(lanes=9), drawn(lanes=9, seed=1)], cell=cell)
print(isa())
"""


@pytest.mark.parametrize("word", native._native.isas()[1:-1] if native._native else [])
def test_every_instruction_set(word):
    """But the best, which all tests take, and the portable of scripts/test_native.sh."""
    environment = os.environ | {"SNAPRUN_ISA": word}
    ran = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True)
    assert ran.returncode == 0, ran.stderr.decode()[-900:]
    assert ran.stdout.decode().strip().endswith(word)


def test_a_batch_of_no_targets_moves_nothing():
    batch = drawn()
    none = replace(
        batch, mask=torch.zeros_like(batch.mask), targets=torch.zeros_like(batch.targets)
    )
    pair = engines(RULE, Adam())
    for engine in pair:
        before = [p.clone() for p in engine.network.parameters]
        engine.run(none)
        assert all(map(torch.equal, engine.network.parameters, before))
        engine.run(batch)
    assert_close(pair[1].state_dict(), pair[0].state_dict())
