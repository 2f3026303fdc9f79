"""A learner and a run with the same stream, seed and choices have the same parameters."""

import pytest
import torch

from snaprun.cells import CELLS
from snaprun.engine.optim import OPTIMISERS
from snaprun.model.network import Architecture
from snaprun.rules import BPTT, RFLO, UORO, EProp, SnAp
from snaprun.run import checkpoint
from snaprun.run.launch import run
from snaprun.run.machine import Machine
from snaprun.run.options import TrainOptions
from snaprun.run.parts import Parts
from snaprun.seeding import stream
from snaprun.sparsity import Magnitude, Uniform
from tests.engine.engines import EITHER, NEEDS_CORE
from tests.learner.streams import Noise, feed, learner

LANES = 3
RULES = {
    "snap1": SnAp(1),
    "snap2": SnAp(2),
    "uoro": UORO(),
    "rflo": RFLO(),
    "bptt": BPTT(),
    "eprop": EProp(),
}


def both(folder, task, rule, updates, *, cell="gru", every=1, engine="auto", sparsity=None, **more):
    """The parameters of a run and of a learner, and the learner."""
    sparsity = sparsity or Uniform(0.5)
    tokens = updates * every * LANES
    options = TrainOptions(
        tokens=tokens, lanes=LANES, update_every=every, average=more.get("average")
    )
    machine = Machine(seed=3, engine=engine, dtype=more.get("dtype", "float32"))
    architecture = Architecture(CELLS[cell](), 7, sparsity, 6)
    optimiser = OPTIMISERS["adam"](lr=0.01, **more.get("optim_args", {}))
    parts = Parts(task, architecture, RULES[rule], optimiser, options, machine)
    run(parts, folder / "run", {}, bar=False)
    saved = checkpoint.load(folder / "run")
    made = learner(
        cell=cell,
        rule=rule,
        sparsity=sparsity,
        loss=task.loss,
        lanes=LANES,
        update_every=every,
        engine=engine,
        seed=3,
        **more,
    )
    data, fed = stream(3, "data"), 0
    while fed < tokens:
        batch = task.batch(LANES, data)
        feed(made, batch)
        fed += batch.mask.numel()
    return saved["engine"], made


def assert_same(saved, made):
    own = made.network.state_dict()
    assert all(value.equal(own[name]) for name, value in saved["network"].items())
    assert saved["updates"] == made.updates


WINDOWS = [("snap1", 1), ("snap2", 1), ("uoro", 1), ("rflo", 1), ("bptt", 1), ("bptt", 7)]


@pytest.mark.parametrize(
    ("engine", "updates"),
    [
        ("torch", 120),
        pytest.param("torch", 1020, marks=pytest.mark.slow),
        pytest.param("native", 1020, marks=NEEDS_CORE),
    ],
)
@pytest.mark.parametrize(("rule", "every"), WINDOWS)
def test_after_many_updates(engine, updates, rule, every, tmp_path):
    saved, made = both(tmp_path, Noise(), rule, updates, every=every, engine=engine)
    assert_same(saved, made)
    assert made.updates >= updates - 20


@pytest.mark.parametrize("engine", EITHER)
@pytest.mark.parametrize(
    ("loss", "cell", "rule"),
    [("mse", "lstm", "snap1"), ("sigmoid", "lstm", "snap1"), ("sigmoid", "alif", "eprop")],
)
def test_on_numbers(engine, loss, cell, rule, tmp_path):
    more = {
        "dtype": "float64",
        "optim_args": {"clip": 0.1, "warmup": 7, "cosine": 60},
        "average": 0.9,
    }
    task = Noise(loss, indices=False)
    saved, made = both(tmp_path, task, rule, 100, cell=cell, engine=engine, **more)
    assert_same(saved, made)
    averaged = made.averaged.parameters
    assert all(a.equal(b) for a, b in zip(averaged, saved["average"], strict=True))


@pytest.mark.parametrize("engine", EITHER)
def test_while_the_network_is_pruned(engine, tmp_path):
    every = 50 * LANES  # as a run prunes where a batch ends
    pruned = Magnitude(level=0.6, begin=0, end=4 * every, every=every)
    saved, made = both(tmp_path, Noise(), "snap2", 300, engine=engine, sparsity=pruned)
    assert_same(saved, made)
    live_MKJ = made.network.core.layout.live_MKJ
    assert live_MKJ[:, :, :-1].sum() < 0.5 * live_MKJ[:, :, :-1].numel()


def test_both_engines_agree_in_double_precision(tmp_path):
    batches = [Noise("mse", indices=False).batch(LANES, torch.Generator()) for _ in range(4)]
    choices = {"rule": "snap2", "loss": "mse", "lanes": LANES, "dtype": "float64"}
    made = [learner(engine=engine, **choices) for engine in ("torch", "native")]
    for batch in batches:
        for one in made:
            feed(one, batch)
    for a, b in zip(*(one.network.parameters for one in made), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-9)
    assert made[0].updates == made[1].updates == 200
