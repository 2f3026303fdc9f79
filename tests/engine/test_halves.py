"""A step in two halves, predict and learn, is a step of `run`, bit by bit."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from snaprun.engine.base import SEQUENCE
from tests.cases import RULES, rng
from tests.engine.engines import (
    EITHER,
    GRID_NAMES,
    NEEDS_CORE,
    QUICK,
    STACK,
    batches,
    build,
    crossed,
)


def step_by_step(engine, batch, undo=lambda engine, step: engine):
    """Trains as `run` does, but by single steps; a prediction may be undone and made again."""
    losses, outputs = [], []
    for t in range(len(batch.mask)):
        step = (batch.inputs[t].numpy(), batch.resets[t].numpy())
        outputs.append(torch.tensor(engine.predict(*step)))
        engine = undo(engine, step)
        y, mask_B = batch.targets[t].numpy(), batch.mask[t].numpy()
        given = (y, mask_B) if not mask_B.all() else (y,)
        losses.append(torch.tensor(engine.learn(*given if mask_B.any() else ())))
    if batch.ends and engine.update_every == SEQUENCE:
        engine.update()
    return engine, torch.stack(losses), torch.stack(outputs)


def same(a, b):
    if isinstance(a, torch.Tensor):
        return a.equal(b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return all(map(same, a, b)) if isinstance(a, list) else a == b


@pytest.mark.parametrize(GRID_NAMES, QUICK)
def test_halves_are_the_whole(engine, rule, every, task, cell, optimiser, lanes, dtype, tmp_path):
    case = (engine, rule, every, cell, optimiser, lanes, dtype, task)
    whole, halves = build(*case), build(*case)
    generator = rng(3)

    def undo(halves, step):
        kind = int(torch.randint(0, 4, (), generator=generator))
        if kind == 0:
            halves.undo()
            halves.predict(*step)
        if kind == 1:  # another engine goes on from here
            halves.undo()
            saved, halves = halves.state_dict(), build(*case, fresh=False)
            halves.load_state_dict(saved)
            halves.predict(*step)
        return halves

    for batch in batches(task, lanes, 2, tmp_path):
        want_TB = whole.run(batch)
        halves, loss_TB, outputs_TBO = step_by_step(halves, batch, undo)
        assert loss_TB.equal(want_TB)
        of_loss = whole.network.readout.loss
        for t in batch.mask.any(1).nonzero().flatten():
            nats_B = of_loss.value(outputs_TBO[t], batch.targets[t], batch.mask[t])
            assert torch.allclose(nats_B, want_TB[t], rtol=1e-4, atol=1e-5)
    assert same(halves.state_dict(), whole.state_dict())
    assert whole.updates > 0


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize(*crossed(rule=RULES))
def test_halves_of_a_stack(engine, rule, lanes, tmp_path):
    case = (engine, rule, 7, "lstm", "adam", lanes, torch.float64, "copy")
    whole, halves = (build(*case, units=STACK) for _ in range(2))

    def again(halves, step):
        halves.undo()
        halves.predict(*step)
        return halves

    for batch in batches("copy", lanes, 2, tmp_path):
        want_TB = whole.run(batch)
        assert step_by_step(halves, batch, again)[1].equal(want_TB)
    assert same(halves.state_dict(), whole.state_dict())


@pytest.mark.parametrize("engine", EITHER)
@pytest.mark.parametrize("lanes", [1, 3])
def test_halves_take_numbers(engine, lanes, tmp_path):
    case = (engine, "snap 1", 2, "lstm", "adam", lanes, torch.float64, "copy")
    whole, halves = build(*case), build(*case)
    (batch,) = batches("copy", lanes, 1, tmp_path)
    dense = torch.randn(*batch.inputs.shape, 4, generator=rng(), dtype=torch.float64)
    batch = replace(batch, inputs=dense)
    want_TB = whole.run(batch)
    assert step_by_step(halves, batch)[1].equal(want_TB)
    assert same(halves.state_dict(), whole.state_dict())


@pytest.mark.parametrize("engine", EITHER)
def test_a_target_needs_a_prediction(engine):
    halves = build(engine, "bptt", 3, "gru", "adam", 2, torch.float32, "copy")
    x_B = np.array([1, 2])
    with pytest.raises(ValueError, match="learn follows predict"):
        halves.learn()
    halves.predict(x_B)
    halves.undo()
    halves.undo()  # nothing is left to forget
    with pytest.raises(ValueError, match="learn follows predict"):
        halves.learn(x_B)
    assert halves.steps == 0


@NEEDS_CORE
def test_the_core_refuses_what_is_out_of_order():
    halves = build("native", "bptt", 3, "gru", "adam", 2, torch.float32, "copy")
    core, x_B = halves._engine, np.array([1, 2])
    with pytest.raises(ValueError, match="predict needs bound arrays"):
        core.predict(True, False)
    halves.predict(x_B)
    with pytest.raises(ValueError, match=r"target must lie in \[0, 4\), not 4"):
        halves.learn(x_B + 2)
    halves.learn(x_B)  # it still waited
    with pytest.raises(ValueError, match=r"input index must lie in \[0, 4\), not 4"):
        halves.predict(x_B + 3)
    assert halves.steps == 1
    two = [torch.zeros(2, 2, dtype=torch.bool) for _ in range(2)]
    dense, index = torch.zeros(2, 2, 4), torch.zeros(2, 2, dtype=torch.int64)
    losses, outputs = torch.zeros(2, 2), torch.zeros(2, 2, 4)
    arrays = (index, dense, index.clone(), None, *two, None, losses)
    with pytest.raises(ValueError, match="the bound arrays are those of one step"):
        core.bind(*halves._parameters(), *arrays, outputs)
    with pytest.raises(ValueError, match=r"outputs must have the shape \(2, 2, 4\)"):
        core.bind(*halves._parameters(), *arrays, outputs[:1])
    with pytest.raises(ValueError, match="share memory"):
        core.bind(*halves._parameters(), *arrays, dense)


@pytest.mark.parametrize("engine", EITHER)
def test_what_waits_for_its_targets_comes_first(engine, tmp_path):
    halves = build(engine, "snap 1", 3, "gru", "adam", 2, torch.float32, "copy")
    (batch,) = batches("copy", 2, 1, tmp_path)
    x_B, before = np.array([1, 2]), halves.state_dict()
    halves.predict(x_B)
    for call in (
        lambda: halves.run(batch),
        halves.update,
        lambda: halves.predict(x_B),
        halves.state_dict,
        lambda: halves.load_state_dict(before),
    ):
        with pytest.raises(ValueError, match="a prediction waits for learn or undo"):
            call()
    halves.undo()
    assert same(halves.state_dict(), before)
