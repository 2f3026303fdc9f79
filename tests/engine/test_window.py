"""BPTT within a bounded memory: the full tape's gradient, wherever it is stopped."""

import gc
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch.nn import functional as F

from snaprun.engine.base import SEQUENCE
from snaprun.engine.optim import SGD, Adam
from snaprun.engine.torch import TorchEngine
from snaprun.influence import choose
from snaprun.losses import LOSSES
from snaprun.model.network import Architecture
from snaprun.nn.export import contents
from snaprun.nn.forms import torch_weights
from snaprun.rules import BPTT
from snaprun.sparsity import Dense, Uniform
from snaprun.tasks import Batch
from tests.cases import CELLS, STACKS, close, in_pairs, rng
from tests.engine.test_state import assert_equal, changed, through_a_file

BUDGETS = {"least": 1e-9, "odd": 0.237, "full": 1.0}
POLICIES = ("mixed", "hidden", "internal")
EVERY = (1, 3, 17, SEQUENCE)  # 17 steps end within the second batch
B, A, O = 3, 4, 5


def network(cell="gru", units=6, sparsity=None, loss="softmax"):
    built = Architecture(CELLS[cell], units, sparsity or Uniform(level=0.6), 7)
    return built.build(A, O, 4, torch.float64, loss=LOSSES[loss]())


def build(rule, every, *, optimiser=None, **kinds):
    common = {"lanes": B, "update_every": every, "noise": rng()}
    parts = network(**kinds), rule, optimiser or SGD(lr=0.03)
    return TorchEngine(*parts, **common, backend=choose("torch"))


def batch(steps, seed=0, loss="softmax", dense=False):
    """Sequences that begin anywhere, and steps without a target in some lanes or in all."""
    generator = rng(seed)
    inputs = torch.randint(0, A, (steps, B), generator=generator)
    if dense:
        inputs = torch.randn(steps, B, A, generator=generator, dtype=torch.float64)
    mask = torch.rand(steps, B, generator=generator) < 0.7
    mask[2::3] = False
    targets = torch.randint(0, O, (steps, B), generator=generator)
    if loss != "softmax":
        targets = torch.randint(0, 2, (steps, B, O), generator=generator).double()
        targets[~mask] = 0
    targets[~mask] = 0
    resets = torch.rand(steps, B, generator=generator) < 0.1
    resets[0] = True
    return Batch(inputs, targets, mask, resets)


def batches(**kinds):
    return [batch(steps, seed, **kinds) for seed, steps in enumerate((13, 9, 17))]


def outputs_like(data):
    return torch.zeros(*data.mask.shape, O, dtype=torch.float64)


def same_run(rule, full, every, data, **kinds):
    """Compare with the full tape: losses of the first window bit by bit, the rest to rounding."""
    ours, theirs = build(rule, every, **kinds), build(full, every, **kinds)
    for one in data:
        outputs, theirs_outputs = outputs_like(one), outputs_like(one)
        fresh = not theirs.updates
        got, want = ours.run(one, outputs), theirs.run(one, theirs_outputs)
        if every == SEQUENCE and fresh:
            assert got.equal(want)
            assert outputs.equal(theirs_outputs)
        close(got, want, 1e-11)
        close(outputs, theirs_outputs, 1e-11)
    for name in ("updates", "longest_window", "steps", "targets"):
        assert getattr(ours, name) == getattr(theirs, name)
    for got, want in zip(ours.network.parameters, theirs.network.parameters, strict=True):
        close(got.detach(), want.detach(), 1e-11)
    return ours


@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize("memory", BUDGETS)
@pytest.mark.parametrize("policy", POLICIES)
def test_trains_as_the_full_tape(policy, memory, every):
    same_run(BPTT(BUDGETS[memory], policy), BPTT(), every, batches())


@pytest.mark.parametrize(
    ("cell", "units", "every"),
    in_pairs(product(CELLS, [5, *STACKS.values()], [3, 17, SEQUENCE])),
    ids=str,
)
def test_trains_as_the_full_tape_in_every_cell_and_stack(cell, units, every):
    same_run(BPTT(0.3), BPTT(), every, batches(), cell=cell, units=units)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("every", [3, 17, SEQUENCE])
@pytest.mark.parametrize("sparsity", [Dense(), Uniform(level=0.9)], ids=["dense", "sparse"])
def test_trains_as_the_full_tape_on_every_loss(loss, every, sparsity):
    data = batches(loss=loss, dense=True)
    same_run(BPTT("3kB"), BPTT(), every, data, loss=loss, sparsity=sparsity)


@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize("truncate", [1, 2, 5, 50])
def test_cuts_are_where_the_full_tape_has_them(truncate, every):
    same_run(BPTT(0.2, truncate=truncate), BPTT(truncate=truncate), every, batches())


def gradients(engine, data):
    """The gradients of θ and of the readout in the first window, from a step of SGD with lr 1."""
    before = [p.detach().clone() for p in engine.network.parameters]
    losses = engine.run(data)
    after = zip(before, engine.network.parameters, strict=True)
    assert engine.updates == 1
    return losses, [(old - new.detach()) * int(data.mask.sum()) for old, new in after]


@pytest.mark.parametrize("truncate", [None, 4])
@pytest.mark.parametrize("memory", BUDGETS)
@pytest.mark.parametrize("policy", POLICIES)
def test_the_gradient_is_the_full_tapes_to_rounding(policy, memory, truncate):
    data, step = batch(37), {"optimiser": SGD(lr=1.0)}
    rules = BPTT(BUDGETS[memory], policy, truncate), BPTT(truncate=truncate)
    (got_TB, got), (want_TB, want) = (
        gradients(build(rule, SEQUENCE, **step), data) for rule in rules
    )
    assert got_TB.equal(want_TB)
    for one, other in zip(got, want, strict=True):
        close(one, other, 1e-12)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_gradient_is_that_of_torch_nn(cell):
    """Two layers of torch.nn and the readout's two, differentiated by autograd."""
    data = batch(23, dense=True)
    data = replace(data, resets=torch.zeros_like(data.mask))
    kinds = {"cell": cell, "units": (5, 5), "sparsity": Dense()}
    theirs = contents(network(**kinds))
    rnn = getattr(torch.nn, theirs["rnn_class"])(**theirs["rnn_arguments"], dtype=torch.float64)
    rnn.load_state_dict(theirs["rnn"])
    weight, bias, *last = (p.clone().requires_grad_() for p in theirs["readout"].values())
    hidden = torch.relu(F.linear(rnn(data.inputs)[0], weight, bias))
    outputs, seen = F.linear(hidden, *last), data.mask
    F.cross_entropy(outputs[seen], data.targets[seen], reduction="sum").backward()

    engine = build(BPTT(0.1), SEQUENCE, optimiser=SGD(lr=1.0), **kinds)
    losses, (of_theta, *of_readout) = gradients(engine, data)
    nats = F.cross_entropy(outputs[seen], data.targets[seen], reduction="none").detach()
    close(losses[seen], nats, 1e-12)
    for got, want in zip(of_readout, (weight, bias, *last), strict=True):
        close(got, want.grad, 1e-11)
    ours = torch_weights(engine.network.core, of_theta)
    for name, theirs in rnn.named_parameters():
        if name.startswith("weight"):  # of two biases ours has the sum
            close(ours[name], theirs.grad, 1e-11)


@pytest.mark.parametrize("every", [3, 17, SEQUENCE])
@pytest.mark.parametrize("memory", [1e-9, 0.2, 0.6])
@pytest.mark.parametrize("policy", POLICIES)
def test_counted_forwards_are_those_of_the_schedule(policy, memory, every):
    engine = build(BPTT(memory, policy), every)
    replay = engine._window.replay
    data = batches()
    for one in data:
        engine.run(one)
    lengths = [len(one.mask) for one in data]
    if every == SEQUENCE:
        want = sum(replay.schedule(n).forwards(n) for n in lengths)
    else:
        whole, rest = divmod(sum(lengths), every)
        want = whole * replay.schedule(every).forwards(every) + rest
    assert engine.forwards == want


def held(replay):
    """The bytes of all memory that the tensors on the stack keep alive, shared memory once."""
    blocks = {}
    for item in replay.stack:
        record = item.record
        tensors = [item.state_BCK]
        if record is not None:
            tensors += [record.src_BJ, record.dsda_BCMK, record.dsds_BCCK]
        for tensor in tensors:
            blocks[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    return sum(blocks.values())


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("memory", [1e-9, 0.237, 1.0, "9kB"])
@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_held_stays_within_the_budget(policy, memory, cell, monkeypatch):
    """Counted after every instruction that adds to the stack, on the memory really taken."""
    steps, seen = 41, []
    engine = build(BPTT(memory, policy), SEQUENCE, cell=cell)
    replay = engine._window.replay
    push = replay._push

    def watched(item):
        push(item)
        seen.append(held(replay))

    monkeypatch.setattr(replay, "_push", watched)
    engine.run(batch(steps))
    budget = replay.schedule(steps).budget
    assert max(seen) == engine.rule_bytes <= budget
    if memory == "9kB":
        assert budget == 9000
    if memory == 1.0 and policy != "hidden":
        assert engine.rule_bytes > 0.8 * budget


def tensors_made():
    gc.collect()
    found = {}
    for item in gc.get_objects():
        if issubclass(type(item), torch.Tensor):
            found[item.untyped_storage().data_ptr()] = item.untyped_storage().nbytes()
    return sum(found.values())


def test_the_reverse_pass_holds_nothing_that_grows_with_the_window():
    def most(steps):
        engine, begun_at = build(BPTT("20kB"), SEQUENCE), []
        begun = engine.begun(batch(steps))
        gc.collect()
        gc.freeze()  # what is there already is neither looked at nor collected
        try:
            while not engine.done(begun):
                engine.advance(begun, 7)
                begun_at.append(tensors_made())
        finally:
            gc.unfreeze()
        return max(begun_at)

    few, many = most(60), most(600)
    assert 0 < many < few + 2000


@pytest.mark.parametrize(("every", "truncate"), [(SEQUENCE, None), (7, None), (17, 4)])
@pytest.mark.parametrize("memory", [1e-9, 0.3])
def test_stopped_after_any_unit_of_work_it_goes_on_bit_by_bit(memory, every, truncate, tmp_path):
    parts = BPTT(memory, truncate=truncate), every
    data, kinds = [batch(11, 1), batch(13, 2)], {"units": (4, 3), "optimiser": Adam(lr=0.01)}
    alone = build(*parts, **kinds)
    losses = [alone.run(one) for one in data]
    end, engine, stops = alone.state_dict(), build(*parts, **kinds), 0
    owed = 0
    for one, want in zip(data, losses, strict=True):
        begun = engine.begun(one)
        while not engine.done(begun):
            assert engine.advance(begun, 1) == 1
            stops, owed = stops + 1, owed + engine.owes
            saved = through_a_file(engine.state_dict(), tmp_path / "saved.pt")
            engine = build(*parts, **kinds)
            for parameter in engine.network.parameters:
                parameter += 1
            engine.load_state_dict(saved)
            assert_equal(engine.state_dict(), saved)
        assert begun.losses_TB.equal(want)
    assert_equal(engine.state_dict(), end)
    assert owed > 10
    assert stops > 2 * 24


@pytest.mark.parametrize("most", [2, 5, 1000])
def test_work_is_counted_and_saving_changes_nothing(most):
    alone, saves, data = (build(BPTT(0.2), 7) for _ in range(2)), None, batches()
    alone, saves = alone
    for one in data:
        want, begun, done = alone.run(one), saves.begun(one), 0
        while not saves.done(begun):
            work = saves.advance(begun, most)
            assert 0 < work <= most
            done += work
            saves.state_dict()
        assert begun.losses_TB.equal(want)
    assert_equal(saves.state_dict(), alone.state_dict())


def test_a_window_may_end_early():
    """By a call of `update`, between two batches and within one."""
    data, cut = batches(), 5
    for memory in (1e-9, 0.25, 1.0):
        ours, theirs = build(BPTT(memory), 29), build(BPTT(), 29)
        for one in data:
            begun, other = ours.begun(one), theirs.begun(one)
            ours.advance(begun, cut)
            theirs.advance(other, cut)
            for engine in (ours, theirs):
                engine.update()
            assert not ours.owes
            while not ours.done(begun):
                ours.advance(begun, 1)
            theirs.advance(other, 1000)
            close(begun.losses_TB, other.losses_TB, 1e-11)
            for engine in (ours, theirs):
                engine.update()
        assert ours.updates == theirs.updates == 6
        close(ours.network.theta.detach(), theirs.network.theta.detach(), 1e-11)
        assert ours.state_dict()["rule"]["steps_planned"] == 0


def test_a_sequence_that_an_update_cuts_short_has_its_losses():
    ours, theirs = build(BPTT(0.25), SEQUENCE), build(BPTT(), SEQUENCE)
    data = batch(13)
    begun, other = ours.begun(data), theirs.begun(data)
    for engine, one in ((ours, begun), (theirs, other)):
        engine.advance(one, 5)
        engine.update()
        while not engine.done(one):
            engine.advance(one, 1000)
    close(begun.losses_TB, other.losses_TB, 1e-12)
    assert ours.updates == theirs.updates == 2


def test_a_window_without_a_target_is_not_replayed():
    data = batch(20)
    engine = build(BPTT(1e-9), SEQUENCE)
    nothing = replace(data, mask=data.mask & False, targets=data.targets * 0)
    assert not engine.run(nothing).any()
    assert (engine.updates, engine.forwards) == (0, 20)
    assert engine.state_dict()["rule"]["steps_planned"] == 0


@pytest.mark.parametrize("every", [3, 17])
def test_a_batch_may_come_in_pieces(every):
    whole, pieces = build(BPTT(0.3), every), build(BPTT(0.3), every)
    for one in batches():
        outputs, theirs = outputs_like(one), outputs_like(one)
        want, got = whole.run(one, theirs), []
        for first in range(0, len(one.mask), 4):
            got.append(pieces.run(one.piece(first, 4), outputs[first : first + 4]))
        assert torch.cat(got).equal(want)
        assert outputs.equal(theirs)
    assert_equal(pieces.state_dict(), whole.state_dict())


def test_a_batch_may_come_again_within_a_window():
    one = batch(13)
    ours, theirs = build(BPTT(0.3), 40), build(BPTT(), 40)
    for _ in range(4):
        close(ours.run(one), theirs.run(one), 1e-11)
    assert ours.updates == theirs.updates == 1
    close(ours.network.theta.detach(), theirs.network.theta.detach(), 1e-12)


def test_a_piece_of_a_sequence_is_refused():
    engine = build(BPTT(0.3), SEQUENCE)
    with pytest.raises(ValueError, match="whole sequence"):
        engine.run(batch(9).piece(0, 4))


def test_a_plan_that_a_file_does_not_follow_is_refused(tmp_path):
    engine, begun = build(BPTT(0.3), 9), None
    begun = engine.begun(batch(13))
    engine.advance(begun, 12)
    assert engine.owes
    state = engine.state_dict()
    rule = state["rule"]
    for name, value in {
        "at": rule["at"] + 1,
        "part": 3,
        "plan": rule["plan"][:-1],
        "steps_planned": 8,
        "mask": rule["mask"][:-1],
        "hidden": rule["hidden"][:0],
        "src": rule["src"][:-1],
        "inputs": rule["inputs"] + A,
        "targets": rule["targets"] - 1,
        "gradient": rule["gradient"][:-1],
    }.items():
        with pytest.raises(ValueError, match=f"state.rule.*{name}|state.rule|state.steps"):
            build(BPTT(0.3), 9).load_state_dict(changed(state, ("rule", name), value))
