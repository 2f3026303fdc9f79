"""A learner that was saved and loaded goes on bit by bit; a wrong file is refused in one line."""

import contextlib
import hashlib
import inspect
import json
import os
import pickle
from itertools import product

import numpy as np
import pytest
import torch

from snaprun import Learner
from snaprun.cells import CELLS, GRU
from snaprun.engine.optim import OPTIMISERS
from snaprun.files import Folder
from snaprun.learner.parts import _named
from snaprun.losses import LOSSES, SoftmaxCrossEntropy
from snaprun.rules import BPTT, RULES
from snaprun.run import checkpoint
from snaprun.sparsity import SPARSITIES, Magnitude
from tests.cases import LeakyReLU, each_once
from tests.engine.engines import EITHER
from tests.learner.streams import INPUTS, Noise, equal, feed, learner

CASES = [
    {"rule": "snap1"},
    {"rule": "snap2", "cell": "lstm", "update_every": 3},
    {"rule": "uoro", "average": 0.9, "dtype": "float64"},
    {"rule": "rflo_random", "optim": "sgd", "optim_args": {"momentum": 0.9}},
    {"rule": BPTT(), "update_every": 7, "cell": GRU()},
    {"rule": "bptt", "update_every": "sequence", "loss": "sigmoid"},
    {"rule": "snap1", "sparsity": Magnitude(level=0.6, begin=0, end=90, every=10), "loss": "mse"},
    {"rule": "frozen", "readout": "linear", "hidden": None},
]


@pytest.mark.parametrize("engine", EITHER)
@pytest.mark.parametrize(("case", "lanes"), each_once(product(range(len(CASES)), [1, 3])))
def test_goes_on_bit_by_bit_from_every_point(case, lanes, engine, tmp_path):
    choices = CASES[case]
    batch = Noise(choices.get("loss", "softmax"), indices=lanes == 3).batch(
        lanes, torch.Generator()
    )
    whole, made = (learner(lanes=lanes, engine=engine, **choices) for _ in range(2))
    path = tmp_path / "model.pt"
    for t in range(25):
        if t % 4 == 1:  # where a sequence is about to begin
            for one in (whole, made):
                one.reset([0])
        if t % 4 == 2:  # between a prediction and its target
            x, y = batch.inputs[t].numpy(), batch.targets[t].numpy()
            assert equal([made.predict(x)], [whole.predict(x)])
            made.save(path)
            loaded = Learner.load(path)
            want = whole.learn(y)
            assert equal([made.learn(y)], [want])
            assert equal([loaded.learn(y)], [want])
            made = loaded
        else:
            made.save(path)
            made = made if t % 4 == 0 else Learner.load(path)
        assert equal(*(feed(one, batch, t, t + 1) for one in (whole, made)))
        assert (made.steps, made.updates) == (whole.steps, whole.updates)
    own, other = made.network.state_dict(), whole.network.state_dict()
    assert all(own[name].equal(other[name]) for name in other)
    assert repr(made).startswith("Learner(")


def test_another_engine_goes_on(tmp_path):
    batch = Noise().batch(2, torch.Generator())
    made = learner(lanes=2, dtype="float64", engine="torch")
    feed(made, batch, 0, 9)
    made.save(tmp_path / "model.pt")
    other = Learner.load(tmp_path / "model.pt", engine="auto", threads=2)
    for a, b in zip(*(feed(one, batch, 9) for one in (made, other)), strict=True):
        assert (a is None and b is None) or np.allclose(a, b, rtol=0, atol=1e-9)


def test_a_file_is_replaced_as_a_whole(tmp_path):
    made = learner()
    made.save(tmp_path / "model.pt")
    before = (tmp_path / "model.pt").read_bytes()
    with pytest.raises(ValueError, match="cannot be written") as told:
        made.save(tmp_path / "nowhere" / "model.pt")
    assert "\n" not in str(told.value)
    assert "command" not in str(told.value)
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt"]
    made.save(str(tmp_path / "model.pt"))
    assert (tmp_path / "model.pt").read_bytes() == before


def test_objects_of_ones_own_are_given_again(tmp_path):
    path = tmp_path / "model.pt"
    made = learner(cell=LeakyReLU())
    want = made.step(1, 2)
    made.save(path)
    with pytest.raises(
        ValueError, match=r"cell is not in the file: expected Learner.load\(path, cell"
    ):
        Learner.load(path)
    loaded = Learner.load(path, cell=LeakyReLU())
    assert equal(loaded.step(3, 1), made.step(3, 1))
    assert np.isfinite(want[1])
    with pytest.raises(
        ValueError, match="load='rule' is not accepted: expected one of cell, device"
    ):
        Learner.load(path, cell=LeakyReLU(), rule="bptt")
    nats = learner(loss=SoftmaxCrossEntropy(bits=False))
    nats.save(path)
    with pytest.raises(ValueError, match="loss is not in the file"):
        Learner.load(path)


@pytest.mark.parametrize(
    ("what", "registry"),
    [
        ("cell", CELLS),
        ("rule", RULES),
        ("sparsity", SPARSITIES),
        ("loss", LOSSES),
        ("optim", OPTIMISERS),
    ],
)
def test_the_own_classes_tell_what_they_were_made_with(what, registry):
    for name, kind in registry.items():
        assert _named(what, kind())[0] == name
    assert _named("rule", RULES["snap"](3)) == ("snap", {"n": 3})
    adam = OPTIMISERS["adam"](lr=0.5, half_life=3)
    named, args = _named("optim", adam)
    assert vars(OPTIMISERS[named](**args)) == vars(adam)


def test_a_file_of_another_version(tmp_path):
    path, made = tmp_path / "model.pt", learner()
    made.step(1, 2)
    made.save(path)
    saved = contents(path)
    said = json.loads(saved["learner"])
    default = inspect.signature(Learner).parameters
    older = {key: value for key, value in said.items() if value != default[key].default}
    assert len(older) < 10
    write(path, saved | {"learner": json.dumps(older)})
    assert equal(Learner.load(path).step(3, 1), made.step(3, 1))
    write(path, saved | {"learner": json.dumps(said | {"twist": 1})})
    refused(path, "expected arguments of Learner, got twist")
    for lost in ("inputs", "units"):
        less = {key: value for key, value in said.items() if key != lost}
        write(path, saved | {"learner": json.dumps(less)})
        refused(path, f"{lost}|mismatch")


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


def refused(path, said="found: "):
    with pytest.raises(ValueError, match=said) as told:
        Learner.load(path)
    assert "\n" not in str(told.value)


def test_strangers_files(here):
    path = here / "model.pt"
    refused(path, "no such file")
    refused(here / "nowhere" / "model.pt", "No such file")
    refused(here)
    path.write_bytes(b"")
    refused(path, "cut short")
    path.write_text("no model" * 99)
    refused(path, "no file of torch.save")
    torch.save({"weight": torch.ones(3)}, path)
    refused(path)
    path.write_bytes(pickle.dumps(Evil()))
    refused(path)
    torch.save(Evil(), path)
    refused(path)
    content = path.read_bytes()
    path.write_bytes(content + hashlib.sha256(content).digest())
    refused(path, "posix mkdir, which no checkpoint of ours does")
    os.symlink(path, here / "link.pt")
    refused(here / "link.pt", "a link")
    with path.open("wb") as file:
        checkpoint.write(file, {"engine": 1})
    refused(path, "expected the entries")
    assert not (here / "evil").exists()


def test_damaged_and_altered_files(tmp_path):
    path = tmp_path / "model.pt"
    made = learner(rule="bptt", update_every=4)
    for _ in range(2):
        made.step(1, 2)
    made.reset()
    made.predict(3)
    made.save(path)
    whole = path.read_bytes()
    for at in range(0, len(whole), len(whole) // 40):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
        refused(path)
        path.write_bytes(whole[:at])
        refused(path)
    path.write_bytes(whole)
    saved = Learner.load(path) and contents(path)
    said = json.loads(saved["learner"])
    for key, also in {
        "version": [1],
        "learner": ["{", "{}"],
        "steps": [-1],
        "begins": [[torch.ones(2, dtype=torch.bool)]],
        "waiting": [[[torch.tensor([INPUTS])], []], [[torch.ones(1, 2)], []]],
        "engine": [{}, saved["engine"] | {"state": torch.ones(3)}],
    }.items():
        for wrong in (*also, 3.5, "x", [1], [[1], [2]], torch.ones(2), {"a": 1}):
            write(path, saved | {key: wrong})
            refused(path)
    for key, value in said.items():
        for wrong in (None, -1, [2], {"a": 1}, "x", 2**70):
            write(path, saved | {"learner": json.dumps(said | {key: wrong})})
            with contextlib.suppress(ValueError):
                Learner.load(path)
        assert value == said[key]
    write(path, saved | {"learner": json.dumps(said | {"units": 8})})
    refused(path, "mismatch")


def write(path, contents):
    with path.open("wb") as file:
        checkpoint.write(file, contents)


def contents(path):
    with Folder.open(path.parent) as folder:
        return checkpoint.tree(folder, path.name)
