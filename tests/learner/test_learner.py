"""What a learner takes, gives and refuses."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import snaprun
from snaprun.cells import GRU, Vanilla
from snaprun.engine.optim import SGD, Adam
from snaprun.losses import MeanSquaredError
from snaprun.rules import BPTT, RFLO, SnAp
from snaprun.sparsity import Dense, Uniform
from tests.cases import LeakyReLU
from tests.engine.engines import EITHER
from tests.learner.streams import INPUTS, OUTPUTS, Noise, equal, feed, learner


def numbers(**arguments):
    return learner(loss="mse", **arguments)


def state(made):
    """Everything that later steps depend on."""
    made._engine.undo()
    found = made._engine.state_dict(), made._begins, made._waiting, made.steps
    made._again(made._waiting)
    return found


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return np.array_equal(a, b)


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
    made.reset(np.flatnonzero([False, False]))
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


def test_an_own_cell_takes_the_torch_engine(caplog):
    made = learner(cell=LeakyReLU())
    assert "LeakyReLU" in caplog.text
    made.step(1, 2)
    assert made.updates == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"cell": "grü"}, r"cell='grü' is not accepted: expected one of vanilla, gru, lstm"),
        ({"cell": GRU}, r"cell=<class .*expected one of vanilla, gru, lstm.*or a Cell"),
        ({"cell_args": {"alpha": 1}}, "cell.alpha is not a key here"),
        ({"cell": GRU(), "cell_args": {"alpha": 1}}, "none beside an object"),
        ({"cell_args": [1]}, "cell_args"),
        ({"rule": "snapp"}, "Did you mean snap"),
        ({"rule": "snap0"}, "rule.n=0"),
        ({"rule": "tbptt4", "update_every": 3}, "update_every=3.*expected 4"),
        ({"sparsity": 1.5}, "sparsity.level=1.5"),
        ({"sparsity": "uniforn"}, "Did you mean uniform"),
        ({"sparsity": True}, "sparsity=True"),
        ({"loss": "huber"}, "one of softmax, mse, sigmoid|one of softmax, sigmoid, mse"),
        ({"readout": "cnn"}, "readout.name='cnn'"),
        ({"readout": "linear", "hidden": 3}, "readout.hidden=3"),
        ({"optim": "adm"}, "Did you mean adam"),
        ({"optim": Adam(), "lr": 0.1}, "none beside an object"),
        ({"lr": -1}, "optim.lr=-1"),
        ({"lr": "fast"}, "optim.lr='fast'.*a number"),
        ({"optim_args": {"momentum": 1}}, "optim.momentum is not a key here"),
        ({"layers": 0}, "layers=0"),
        ({"units": 0}, "units=0"),
        ({"units": 1.5}, "units=1.5"),
        ({"inputs": "3"}, "inputs='3'"),
        ({"outputs": 0}, "outputs=0"),
        ({"lanes": 0}, "train.lanes=0"),
        ({"update_every": 0}, "update_every=0"),
        ({"update_every": "batch"}, "update_every='batch'"),
        ({"average": 1.0}, "average=1"),
        ({"seed": -1}, "seed=-1"),
        ({"dtype": "float16"}, "dtype='float16'"),
        ({"device": "tpu"}, "device='tpu'"),
        ({"engine": "jax"}, "engine='jax'"),
        ({"engine": "native", "cell": LeakyReLU()}, "LeakyReLU"),
        ({"threads": 0}, "threads=0"),
        ({"units": 10**7, "rule": "rtrl"}, "memory"),
    ],
)
def test_mistakes_in_the_arguments(arguments, said):
    with pytest.raises(ValueError, match=said) as told:
        learner(**{"lr": None, "hidden": None} | arguments)
    assert "\n" not in str(told.value)


def test_a_mistake_in_several_lanes_is_told_in_one_line():
    x = np.ones((3, INPUTS))
    x[1] = np.nan
    for wrong in (x, torch.from_numpy(x)):
        with pytest.raises(ValueError, match="finite numbers") as told:
            learner(lanes=3).predict(wrong)
        assert "\n" not in str(told.value)


def test_the_widths_of_a_stack_are_shown():
    assert "units=[7, 4]" in repr(learner(units=[7, 4]))


NAN = float("nan")
WRONG_X = [
    (np.ones(INPUTS + 1), r"x.shape=\(6,\) is not accepted: expected the shape \(1, 5\) or \(5,\)"),
    (np.ones((2, INPUTS)), r"x.shape=\(2, 5\)"),
    ([1, 2, 3, 4, NAN], "x=.*expected finite numbers of float32"),
    (torch.full((INPUTS,), float("inf")), "finite numbers"),
    (np.full(INPUTS, 1e300), "finite numbers of float32"),
    (INPUTS, r"integers in \[0, 5\)"),
    (-1, r"integers in \[0, 5\)"),
    (0.5, "x.shape"),
    ("abc", "x='abc' is not accepted: expected an array of numbers"),
    (None, "an array of numbers"),
    ([[1], [1, 2]], "an array of numbers"),
    (np.ones(INPUTS, complex), "an array of numbers"),
    (torch.ones(INPUTS).to_sparse(), "a dense array"),
    (torch.ones(INPUTS, device="meta"), "an array of numbers"),
]
WRONG_Y = {
    "softmax": [
        (OUTPUTS, r"integers in \[0, 3\)"),
        (-1, r"integers in \[0, 3\)"),
        (1.0, r"y='float64 of the shape \(\)' is not accepted: expected integers"),
        ([0, 1], "integers"),
        (NAN, "integers"),
    ],
    "mse": [
        (np.ones(2), r"y.shape=\(2,\) is not accepted: expected the shape \(1, 3\) or \(3,\)"),
        ([1, 2, NAN], "finite numbers"),
        (1, "y.shape"),
        ("1", "an array of numbers"),
    ],
    "sigmoid": [([0, 1, 2], r"numbers in \[0, 1\]"), ([0, 1, NAN], "finite numbers")],
}


@pytest.mark.parametrize("engine", EITHER)
@pytest.mark.parametrize("loss", WRONG_Y)
def test_mistakes_in_a_step_leave_all_unchanged(engine, loss):
    made = learner(loss=loss, engine=engine, rule="uoro")
    x, y = np.ones(INPUTS), 1 if loss == "softmax" else np.ones(OUTPUTS)
    made.step(x, y)
    before = state(made)
    calls = [(lambda x=x: made.predict(x), said) for x, said in WRONG_X]
    calls += [(lambda x=x: made.step(x, y), said) for x, said in WRONG_X]
    calls += [(lambda y=y: made.step(x, y), said) for y, said in WRONG_Y[loss]]
    calls += [
        (lambda: made.learn(y), "No step waits for a target: call predict first."),
        (made.learn, "call predict first"),
        (lambda: made.step(x, None), "an array of numbers|integers"),
        (lambda: made.step(x, y, [True, False]), "mask=.*booleans"),
        (lambda: made.step(x, y, 1), "mask=1.*booleans"),
        (lambda: made.reset(1), r"lanes=1 is not accepted: expected integers in \[0, 1\)"),
        (lambda: made.reset([0.5]), "integers"),
        (lambda: made.reset("0"), "numbers"),
    ]
    for call, said in calls:
        with pytest.raises(ValueError, match=said) as told:
            call()
        assert "\n" not in str(told.value)
        assert same(state(made), before)
    made.predict(x)
    before = state(made)
    for wrong, said in WRONG_Y[loss]:
        with pytest.raises(ValueError, match=said):
            made.learn(wrong)
        assert same(state(made), before)
    with pytest.raises(ValueError, match="a target y beside it"):
        made.learn(mask=[True])
    made.learn(y)
    assert made.updates == 2


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=3)
    | st.complex_numbers(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=12,
)


@pytest.mark.parametrize("loss", WRONG_Y)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(x=ANYTHING, y=ANYTHING, mask=ANYTHING)
def test_whatever_is_given_is_taken_or_refused_in_one_line(loss, x, y, mask):
    made = learner(loss=loss, lanes=1)
    made.predict(0)
    for call in (
        lambda: made.learn(y, mask),
        lambda: made.step(x, y, mask),
        lambda: made.predict(x),
        lambda: made.reset(x),
    ):
        before, said = state(made), None
        try:
            call()
        except ValueError as error:
            said = str(error)
        if said is not None:
            assert "\n" not in said
            assert same(state(made), before)
    assert np.isfinite(made.predict(np.ones(INPUTS))).all()


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
