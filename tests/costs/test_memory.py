"""Predicted memory beside what engines keep, and the closed forms of its parts."""

import pytest
import torch

from snaprun.core import Sizes
from snaprun.costs.memory import OPTIMISER, PARAMETERS, STATE, TAPE, in_units, predict
from snaprun.influence import BACKENDS
from snaprun.model.readout import Readout
from snaprun.rules import RTRL, UORO
from tests.cases import RULES, rng
from tests.engine.engines import CELLS, STACK, batches, build, crossed

NAMES, CASES = crossed(rule=RULES, cell=CELLS)
# On the torch engine with every backend.
WAYS = [(*c, b) for c in CASES for b in ([None] if c[0] == "native" else BACKENDS)]
COMMON = {"moments": 2, "copies": 0, "batch_steps": 1, "held_out_lanes": 0, "prunes": False}


def sizes(engine, lanes, window):
    network = engine.network
    return Sizes.of(
        network.core,
        lanes=lanes,
        window=window,
        outputs=4,
        hidden=5,
        itemsize=network.dtype.itemsize,
        threads=1,
    )


@pytest.mark.parametrize((*NAMES, "backend"), WAYS)
@pytest.mark.parametrize(
    ("lanes", "dtype", "units"),
    [(1, torch.float64, 7), (9, torch.float32, 7), (9, torch.float32, STACK)],
    ids=str,
)
def test_no_engine_keeps_more_than_is_predicted(engine, backend, rule, cell, lanes, dtype, units):
    every = 7
    chosen = {"units": units} | ({} if backend is None else {"backend": backend})
    built = build(engine, rule, every, cell, "adam", lanes, dtype, "copy", **chosen)
    (batch,) = batches("copy", lanes, 1, None)
    built.run(batch.piece(0, every))
    built.measure()  # of a rule whose window is open
    counts, module = sizes(built, lanes, every), BACKENDS.get(backend)
    stored = RULES[rule].storage(counts, module)
    assert stored.kept >= built.rule_bytes
    # The copy that a checkpoint takes of it, too.
    saved = built.state_dict()["rule"]
    replays = RULES[rule].replays
    saved = saved.pop("tape", saved) if RULES[rule].taped else saved
    saved.pop("gradient", None), saved.pop("feedback", None)
    tensors = [x for x in saved.values() if isinstance(x, torch.Tensor) and x.is_floating_point()]
    copied = sum(x.numel() * x.element_size() for x in tensors)
    whole = stored.kept if RULES[rule].taped and not replays else stored.saved
    assert whole >= copied
    demand = predict(counts, RULES[rule], module, **COMMON)
    part = TAPE if RULES[rule].taped else STATE
    assert demand.parts[part] == stored.kept
    assert demand.total >= sum(demand.parts.values()) > stored.kept


@pytest.mark.parametrize("hidden", [0, 5])
def test_parameters_and_moments_are_counted(hidden):
    from dataclasses import replace

    built = build("torch", "uoro", 1, "lstm", "adam", 2, torch.float32, "copy")
    counts = replace(sizes(built, 2, 1), hidden=hidden)
    readout = Readout(7, 4, hidden, rng(), torch.float32)
    assert counts.readout == sum(p.numel() for p in readout.parameters)
    trained = 4 * (built.network.core.layout.size + counts.readout)
    plain = predict(counts, UORO(), None, **COMMON)
    assert plain.parts[PARAMETERS] == 2 * trained  # with the gradient
    assert plain.parts[OPTIMISER] == 2 * trained
    averaged = predict(counts, UORO(), None, **COMMON | {"copies": 1})
    assert averaged.parts[PARAMETERS] == 3 * trained


def test_a_dense_rtrl_of_2048_units_is_told_from_counts_alone():
    """1.65 TB of J: S × P numbers a lane."""
    from snaprun.cells import GRU
    from snaprun.sparsity import Dense

    counts = Sizes.before(
        GRU(), Dense(), 2048, 4, lanes=16, window=1, outputs=4, hidden=256, itemsize=4, threads=1
    )
    P = 3 * 2048 * 2048 + 3 * 2048 * 4 + 4 * 2048
    J = 16 * 2048 * P * 4
    stored = RTRL().storage(counts, None)
    assert J <= stored.kept <= 1.01 * J
    assert in_units(stored.kept) == "1.65 TB"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (999.6, "1 kB"), (1.65e12, "1.65 TB"), (2e16, "20 PB")],
)
def test_bytes_in_units(count, text):
    assert in_units(count) == text
