"""What a learner refuses, in one line, and unchanged by it."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snaprun import hardware
from snaprun.cells import GRU
from snaprun.engine.optim import Adam
from tests.cases import LeakyReLU
from tests.engine.engines import EITHER
from tests.learner.streams import INPUTS, OUTPUTS, learner, same, state


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"cell": "grü"}, r"cell='grü' is not accepted: expected one of vanilla, gru, lstm"),
        ({"cell": GRU}, r"cell=<class .*expected one of vanilla, gru, lstm.*or a Cell"),
        ({"cell_args": {"alpha": 1}}, "^alpha is not a key here"),
        ({"cell": GRU(), "cell_args": {"alpha": 1}}, "none beside an object"),
        ({"cell_args": [1]}, "cell_args"),
        ({"rule": "snapp"}, "Did you mean snap"),
        ({"rule": "snap0"}, "^n=0 is"),
        ({"rule": "tbptt4", "update_every": 3}, "update_every=3.*expected 4"),
        ({"rule": "tbptt4", "update_every": 1}, "^update_every=1 is.*expected 4 for rule=tbptt4"),
        ({"rule": "tbptt4", "update_every": "sequence"}, "update_every='sequence'.*expected 4"),
        (
            {"rule": "bptt", "rule_args": {"memory": 0.1}, "update_every": "sequence"},
            "^update_every='sequence' is not accepted: expected an integer beside memory",
        ),
        (
            {"rule": "tbptt9", "rule_args": {"memory": 0.01}},
            "^memory=0.01 is.*tape of 9 steps",
        ),
        ({"rule": "snap2", "rule_args": {"n": 4}}, "^n=4 is not accepted: expected 2"),
        ({"sparsity": 1.5}, "^sparsity=1.5 is"),
        ({"sparsity": "uniform", "sparsity_args": {"level": 2}}, "^level=2.0 is"),
        ({"rule": "snap", "rule_args": {"m": 2}}, r"^m is not a key here: accepted are n. Did"),
        ({"rule": "rule.n"}, "^rule='rule.n' is not accepted"),
        ({"sparsity": "uniforn"}, "Did you mean uniform"),
        ({"sparsity": True}, "sparsity=True"),
        ({"loss": "huber"}, "one of softmax, mse, sigmoid|one of softmax, sigmoid, mse"),
        ({"readout": "cnn"}, "^readout='cnn'"),
        ({"readout": "linear", "hidden": 3}, "^hidden=3 is"),
        ({"optim": "adm"}, "Did you mean adam"),
        ({"optim": Adam(), "lr": 0.1}, "none beside an object"),
        ({"lr": -1}, "^lr=-1"),
        ({"lr": "fast"}, "^lr='fast'.*a number"),
        ({"optim_args": {"lr": 1}, "lr": 0.1}, "^lr=0.1 is not accepted: expected none beside"),
        ({"optim_args": {"momentum": 1}}, "^momentum is not a key here: accepted are lr, beta1"),
        ({"layers": 0}, "layers=0"),
        ({"units": 0}, "units=0"),
        ({"units": 1.5}, "units=1.5"),
        ({"inputs": "3"}, "inputs='3'"),
        ({"outputs": 0}, "outputs=0"),
        ({"lanes": 0}, "^lanes=0 is"),
        ({"update_every": 0}, "^update_every=0 is"),
        ({"update_every": "batch"}, "^update_every='batch'"),
        ({"average": 1.0}, "^average=1"),
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


@pytest.mark.parametrize("sparsity", [0, 0.5])
def test_what_does_not_fit_into_memory_is_refused_before_it_is_taken(sparsity, monkeypatch):
    needed = {"rule": "rtrl", "units": 100, "sparsity": sparsity}  # J has 100 × 31,200 numbers
    monkeypatch.setattr(hardware, "available_bytes", lambda: (10**7, "here"))
    named = r"^rule=rtrl, units=100, sparsity=(dense|uniform): this needs about .* of memory, "
    said = (
        named + r".* of it for .*, and 10 MB is left here\. Take rule=snap1 or rule=snap2, fewer "
    )
    with pytest.raises(ValueError, match=said) as told:
        learner(**needed)
    assert "\n" not in str(told.value)
    monkeypatch.setattr(hardware, "available_bytes", lambda: (10**9, "here"))
    assert learner(**needed).updates == 0


def test_a_mistake_in_several_lanes_is_told_in_one_line():
    x = np.ones((3, INPUTS))
    x[1] = np.nan
    for wrong in (x, torch.from_numpy(x)):
        with pytest.raises(ValueError, match="finite numbers") as told:
            learner(lanes=3).predict(wrong)
        assert "\n" not in str(told.value)


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
        (lambda: made.reset([True, False]), r"or booleans of the shape \(1,\)"),
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


def test_it_is_not_copied():
    for take in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(ValueError, match="neither copied nor pickled: use save and load"):
            take(learner())
