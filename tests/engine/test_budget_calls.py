"""BPTT within a budget for callers of pieces of batches, halves of steps and early updates."""

import numpy as np
import pytest
import torch

from snaprun.engine.optim import SGD
from snaprun.losses import LOSSES
from snaprun.rules import BPTT
from tests.engine.test_budget_native import (
    ENGINES,
    LEAST,
    O,
    assert_same_gradients,
    batches,
    engine,
)
from tests.engine.test_state import assert_equal


@pytest.mark.parametrize("pieces", [1, 4, 9])
def test_pieces_of_a_batch_tell_the_losses_at_once(pieces):
    parts = {"every": 6, "optimiser": SGD(lr=0.3)}
    whole, ours = engine(BPTT(0.3), **parts), engine(BPTT(0.3), **parts)
    for batch in batches(3, 13, 3):
        want_TB = whole.run(batch)
        found = [ours.run(batch.piece(t, pieces)) for t in range(0, 13, pieces)]
        assert torch.cat(found).equal(want_TB)
    assert_equal(ours.state_dict(), whole.state_dict())


def test_a_piece_of_a_sequence_is_refused():
    with pytest.raises(ValueError, match="the whole sequence"):
        engine(BPTT(0.3)).run(batches(3)[0].piece(0, 5))
    with pytest.raises(ValueError, match="the whole sequence"):
        engine(BPTT(0.3)).predict(np.zeros(3, np.int64))


@pytest.mark.parametrize("one_hot", [True, False])
@pytest.mark.parametrize("loss", LOSSES)
def test_halves_are_the_step_of_run(loss, one_hot):
    parts = {"every": 5, "loss": loss, "optimiser": SGD(lr=0.3)}
    whole, ours = engine(BPTT(0.4), **parts), engine(BPTT(0.4), **parts)
    first, second = batches(3, 13, 2, one_hot=one_hot, loss=loss)
    first.mask[:6] = False  # a window without a target
    first.targets[:6] = 0
    for batch in (first, second):
        outputs = torch.zeros(13, 3, O, dtype=torch.float64)
        want_TB = whole.run(batch, outputs)
        for t in range(13):
            x, resets = batch.inputs[t].numpy(), batch.resets[t].numpy()
            ours.predict(x, resets)
            ours.undo()
            predicted = torch.tensor(ours.predict(x, resets))
            targets = batch.mask[t].any()
            assert not targets or predicted.equal(outputs[t])
            y = (batch.targets[t].numpy(), batch.mask[t].numpy()) if targets else ()
            assert torch.tensor(ours.learn(*y)).equal(want_TB[t])
    assert_equal(ours.state_dict(), whole.state_dict())


@pytest.mark.parametrize("memory", [None, 0.4])
def test_the_resets_of_an_undone_step_do_not_outlive_their_window(memory):
    first, second = batches(3, 13)
    ends = []
    for kind in ENGINES:
        one = engine(BPTT(memory), kind, every=13)
        one.run(first.piece(0, 5))
        one.predict(first.inputs[5].numpy(), np.ones(3, bool))
        one.undo()
        one.update()
        one.run(second)
        ends.append(one)
    assert_same_gradients(*ends)


@pytest.mark.parametrize("steps", [1, 4, 12])
@pytest.mark.parametrize("memory", [LEAST, 0.4])
def test_an_early_update_ends_the_window(memory, steps):
    ours, whole = engine(BPTT(memory), every=20), engine(BPTT(), every=20)
    first, second = batches(3, 13)
    for one in (ours, whole):
        one.run(first.piece(0, steps))
        one.update()
        one.run(second)
        one.run(first)
    assert_same_gradients(ours, whole)
    assert ours.updates == whole.updates == 2


@pytest.mark.parametrize("kind", ENGINES)
def test_an_early_update_writes_the_losses_of_its_batch(kind):
    ours, (batch, _) = engine(BPTT(0.3), kind), batches(3)
    want_TB, begun = engine(BPTT(0.3), kind).run(batch), ours.begun(batch)
    ours.advance(begun, 9)
    assert not begun.losses_TB.any()
    ours.update()
    assert begun.losses_TB[:9].equal(want_TB[:9])
    assert not begun.losses_TB[9:].any()
    assert (begun.steps, ours.steps, ours.updates) == (9, 0, 1)


@pytest.mark.parametrize("kind", ENGINES)
def test_an_update_does_the_work_that_is_owed(kind):
    ours, whole = engine(BPTT(0.3), kind), engine(BPTT(0.3), kind)
    for batch in batches(3):
        want_TB, begun = whole.run(batch), ours.begun(batch)
        ours.advance(begun, 14)
        assert begun.steps == 13
        assert ours.owes
        assert not ours.done(begun)
        ours.update()
        assert ours.done(begun)
        assert begun.losses_TB.equal(want_TB)
    assert_equal(ours.state_dict(), whole.state_dict())


@pytest.mark.parametrize("kind", ENGINES)
def test_no_step_is_predicted_while_work_is_owed(kind):
    ours, batch = engine(BPTT(0.3), kind, every=13), batches(3)[0]
    ours.advance(ours.begun(batch), 14)
    saved = ours.state_dict()
    with pytest.raises(ValueError, match="reverse pass"):
        ours.predict(batch.inputs[0].numpy())
    other = engine(BPTT(0.3), kind, every=13)
    other.load_state_dict(saved)
    for one in (ours, other):  # the other one has no batch to write the losses to
        one.update()
    assert_equal(other.state_dict(), ours.state_dict())


@pytest.mark.parametrize("kind", ENGINES)
def test_the_inputs_of_a_window_are_of_one_kind(kind):
    ours, numbers = engine(BPTT(0.3), kind, every=20), batches(3, one_hot=False)[0]
    ours.run(batches(3)[0])
    before = ours.state_dict()
    with pytest.raises(ValueError, match="either indices or numbers"):
        ours.run(numbers)
    with pytest.raises(ValueError, match="either indices or numbers"):
        ours.predict(numbers.inputs[0].numpy())
    assert_equal(ours.state_dict(), before)
