"""What a learner takes and gives."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import snaprun
from snaprun.cells import GRU, Vanilla
from snaprun.engine.optim import SGD
from snaprun.losses import MeanSquaredError
from snaprun.rules import BPTT, RFLO, SnAp
from snaprun.sparsity import Dense, Uniform
from tests.cases import LeakyReLU
from tests.engine.engines import EITHER
from tests.learner.streams import INPUTS, OUTPUTS, Noise, equal, feed, learner, numbers, same, state


def test_importing_the_package_does_not_import_torch():
    code = "import sys, snaprun; assert 'torch' not in sys.modules; snaprun.cells.GRU();"
    code += "assert not hasattr(snaprun, 'nothing'); snaprun.Learner;"
    code += "assert 'hydra' not in sys.modules and 'omegaconf' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_forms_of_arrays():
    x, y = np.linspace(-1, 1, INPUTS), np.linspace(0, 1, OUTPUTS)
    want = numbers().step(x, y)
    assert want[0].shape == (OUTPUTS,)
    assert want[0].dtype == np.float32
    assert isinstance(want[1], float)
    for form in (
        lambda v: v.tolist(),
        lambda v: v.astype(np.float32),
        lambda v: np.stack([v, v], 1)[:, 0],
        lambda v: v[None],
        torch.tensor,
        lambda v: torch.tensor(v, requires_grad=True)[None],
    ):
        guess, loss = numbers().step(form(x), form(y))
        with_lanes = np.ndim(guess) == 2
        assert np.array_equal(np.asarray(guess).reshape(-1), want[0])
        assert np.shape(loss) == ((1,) if with_lanes else ())
        assert np.asarray(loss).item() == want[1]
        assert isinstance(guess, torch.Tensor) == isinstance(form(x), torch.Tensor)
        assert isinstance(loss, torch.Tensor) == isinstance(form(x), torch.Tensor)
    assert not guess.requires_grad
    single = snaprun.Learner(1, 1, units=3)
    assert single.step(0.5, 1)[0].shape == (1,)


def test_results_stay_as_they_are():
    made = numbers()
    x, y = np.ones(INPUTS), np.ones(OUTPUTS)
    first, loss = made.step(x[None], y[None])
    of_torch = made.predict(torch.ones(INPUTS))
    kept = first.copy(), loss.copy(), of_torch.clone()
    made.step(2 * x, 3 * y)
    assert np.array_equal(first, kept[0])
    assert np.array_equal(loss, kept[1])
    assert of_torch.equal(kept[2])


def test_integers_stand_for_one_hot_inputs():
    made, dense = learner(lanes=2), learner(lanes=2)
    x = np.array([4, 0])
    assert np.allclose(made.predict(x), dense.predict(np.eye(INPUTS)[x]), atol=1e-6)
    one, other = learner(), learner()
    assert np.array_equal(one.predict(3), other.predict(np.array([3]))[0])
    assert one.learn(2) == other.learn(np.array([2]))[0]
    integers = numbers()  # integers of another shape are numbers
    assert np.array_equal(integers.predict([1, 0, 2, 0, 0]), numbers().predict([1.0, 0, 2, 0, 0]))


def test_a_step_without_a_target():
    x, y = np.ones(INPUTS), np.ones(OUTPUTS)
    made, told = numbers(), numbers()
    for one in (made, told):
        one.predict(x)
    assert told.learn() is None
    assert equal(made.step(2 * x, y), told.step(2 * x, y))
    assert (made.steps, made.updates) == (2, 1)
    assert same(state(made), state(told))


def test_a_mask_says_which_lanes_have_a_target():
    x, y = np.ones((3, INPUTS)), np.ones((3, OUTPUTS))
    made, other = numbers(lanes=3), numbers(lanes=3)
    y[1] = np.nan
    loss = made.step(x, y, [True, False, True])[1]
    assert loss[1] == 0 < loss[0]
    y[1] = 7
    other.step(x, y, torch.tensor([True, False, True]))
    assert same(state(made), state(other))
    none = numbers()
    assert none.step(np.ones(INPUTS), np.full(OUTPUTS, np.nan), [False])[1] == 0
    assert none.updates == 0


@pytest.mark.parametrize("engine", EITHER)
def test_a_reset_lane_begins_anew(engine):
    fresh, made = (numbers(lanes=3, rule="rtrl", engine=engine, lr=1e-30) for _ in range(2))
    x, y = np.random.default_rng(0).normal(size=(4, 3, INPUTS)), np.ones((3, OUTPUTS))
    for t in range(3):
        made.step(x[t], y)
    made.reset([1])
    made.reset(np.int64(2))
    guess = made.predict(x[3])
    anew = fresh.predict(x[3])
    assert np.allclose(guess[1:], anew[1:], atol=1e-6)
    assert not np.allclose(guess[0], anew[0], atol=1e-3)
    made.reset()  # the step that waits has no target
    assert np.allclose(made.predict(x[3]), anew, atol=1e-6)


def test_lanes_begin_by_number_or_by_mask():
    found = []
    mask = np.array([False, True, True])
    for lanes in [[2, 1]], [np.uint8(2), 1], [mask], [1, mask], [mask.tolist()]:
        made = numbers(lanes=3, rule="rtrl")
        made.step(np.ones((3, INPUTS)), np.ones((3, OUTPUTS)))
        for some in lanes:
            made.reset(some)
        found.append(state(made))
    assert mask.tolist() == [False, True, True]
    mask[:] = True  # the learner has a copy
    assert all(same(one, found[0]) for one in found)


def test_with_sequence_the_optimiser_steps_at_a_reset():
    made = numbers(rule="bptt", update_every="sequence")
    made.reset()
    for _ in range(3):
        made.step(np.ones(INPUTS), np.ones(OUTPUTS))
    assert made.updates == 0
    made.reset()
    assert made.updates == 1
    made.reset()
    assert made.updates == 1


def test_a_reset_of_no_lane_does_nothing():
    made = numbers(rule="bptt", update_every="sequence", lanes=2)
    x, y = np.ones((2, INPUTS)), np.ones((2, OUTPUTS))
    made.step(x, y)
    made.predict(x)
    for none in (np.flatnonzero([False, False]), [], [False, False]):
        made.reset(none)
    made.learn(y)
    assert made.updates == 0


@pytest.mark.parametrize("engine", EITHER)
def test_an_interrupted_step_has_not_been(engine, monkeypatch):
    made, other = (numbers(engine=engine, rule="rtrl") for _ in range(2))
    x, y = np.ones(INPUTS), np.ones(OUTPUTS)
    for each in (made, other):
        each.step(x, y)
        each.reset()

    def interrupted(*given, advance=made._advance):
        advance(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(made, "_advance", interrupted)
        with pytest.raises(KeyboardInterrupt):
            made.predict(x)
    assert made.steps == other.steps
    for _ in range(3):
        assert all(map(np.array_equal, made.step(x, y), other.step(x, y)))


def test_names_and_objects_are_the_same():
    named = learner(
        cell="vanilla",
        cell_args={"alpha": 0.5},
        rule="snap",
        rule_args={"n": 2},
        sparsity="uniform",
        sparsity_args={"level": 0.5, "share_slots": True},
        loss="mse",
        optim="sgd",
        optim_args={"momentum": 0.5},
        lr=0.01,
    )
    made = learner(
        cell=Vanilla(alpha=0.5),
        rule=SnAp(2),
        sparsity=Uniform(0.5, share_slots=True),
        loss=MeanSquaredError(),
        optim=SGD(lr=0.01, momentum=0.5),
        lr=None,
    )
    for _ in range(5):
        one, other = (each.step(np.ones(INPUTS), np.ones(OUTPUTS)) for each in (named, made))
        assert equal(one, other)
    assert same(state(named), state(made))


def test_numbers_of_numpy_are_numbers(tmp_path):
    made = learner(units=np.int64(7), sparsity=np.float32(0.5), lr=np.float64(0.01), hidden=None)
    made.save(tmp_path / "model.pt")
    assert repr(snaprun.Learner.load(tmp_path / "model.pt")) == repr(learner(units=7, hidden=None))


def test_words_for_rules_and_sparsities():
    assert learner(rule="snap3")._parts.rule.n == 3
    assert learner(rule="snap", rule_args={"n": 2})._parts.rule.n == 2
    truncated = learner(rule="tbptt4")
    assert isinstance(truncated._parts.rule, BPTT)
    assert truncated._parts.options.update_every == 4
    assert learner(rule="tbptt4", update_every=4)._engine.update_every == 4
    assert learner(rule="tbptt1", update_every=1)._engine.update_every == 1
    assert learner(rule="bptt")._engine.update_every == 1
    random = learner(rule="rflo_random")._parts.rule
    assert isinstance(random, RFLO)
    assert random.feedback == "random"
    assert isinstance(learner(sparsity=0)._parts.architecture.sparsity, Dense)
    assert learner(sparsity=0.25)._parts.architecture.sparsity.level == 0.25
    assert learner(readout="linear", hidden=None).network.readout.parameters[0].shape == (3, 7)


def test_what_it_says_of_itself():
    made = learner(lanes=2, cell=GRU())
    made.predict([1, 2])
    assert (made.lanes, made.steps, made.updates) == (2, 1, 0)
    assert made.averaged is None
    assert len(made.network.parameters) == 5
    assert repr(made) == (
        "Learner(inputs=5, outputs=3, cell='GRU', units=7, rule='snap1', loss='softmax', lanes=2): "
        "1 steps, 0 updates"
    )


@pytest.mark.parametrize("engine", EITHER)
def test_a_learning_rate_that_is_too_large_is_seen(engine):
    made = numbers(optim="sgd", lr=1e30, engine=engine)
    x, y = np.ones(INPUTS), np.ones(OUTPUTS)
    assert made.finite
    for _ in range(5):
        made.step(x, y)
    assert not made.finite
    assert not np.isfinite(made.predict(x)).any()


def test_an_own_cell_takes_the_torch_engine(caplog):
    made = learner(cell=LeakyReLU())
    assert "LeakyReLU" in caplog.text
    made.step(1, 2)
    assert made.updates == 1


def test_it_computes_as_a_run_with_other_settings_of_pytorch():
    (batch,) = (Noise().batch(2, torch.Generator()) for _ in range(1))
    threads = torch.get_num_threads()
    one = feed(learner(lanes=2, engine="torch"), batch)
    torch.set_num_threads(2)
    torch.set_flush_denormal(False)
    other = feed(learner(lanes=2, engine="torch"), batch)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True) if a is not None)
    tiny = torch.tensor(1e-310, dtype=torch.float64)
    assert (tiny * 1).item() > 0  # denormals are as they were
