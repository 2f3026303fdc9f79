"""Every backend against `naive` on random records: odd sizes, resets, steps without credit."""

from itertools import product

import pytest
import torch

from snaprun import influence
from snaprun.checks import UserError
from snaprun.core import Record
from snaprun.influence import BACKENDS, blocks, naive
from snaprun.sparsity import Dense, Diagonal, Uniform
from tests.cases import CELLS, FAST_BACKENDS, STACKS, Lopsided, close, core, in_pairs, rng

TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-14}

pytestmark = pytest.mark.usefixtures("nan_filled_empty")


@pytest.fixture(params=FAST_BACKENDS)
def backend(request):
    return BACKENDS[request.param]


def records(built, lanes, dtype, steps=5):
    """Random slopes, sources, weights and credits; no step need follow from another."""
    generator = rng(1)
    cell, layout = built.cell, built.layout

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    for t in range(steps):
        slope_CM1 = torch.tensor(cell.slope_pattern)[:, :, None]
        block_CC1 = torch.tensor(cell.state_pattern)[:, :, None]
        yield Record(
            src_BJ=normal(lanes, layout.live_MKJ.shape[2]),
            dsda_BCMK=normal(lanes, cell.components, len(cell.slots), built.units) * slope_CM1,
            dsds_BCCK=normal(lanes, cell.components, cell.components, built.units) * block_CC1,
            weights_MKJ=layout.scatter(normal(layout.size)) / built.units**0.5,
            layers=built.layers,
            credit_BCK=None if t == 1 else normal(lanes, cell.components, built.units),
        )


def compare(backend, built, n, lanes, dtype):
    plans = [b.plan(built, built.pattern(n)) for b in (backend, naive)]
    Js = [b.init(p, lanes, dtype) for b, p in zip((backend, naive), plans, strict=True)]
    tolerance = TOLERANCE[dtype]
    for t, record in enumerate(records(built, lanes, dtype)):
        if t == 3:
            begins_B = torch.arange(lanes) % 2 == 0
            for b, p, J in zip((backend, naive), plans, Js, strict=True):
                b.reset(p, J, begins_B)
                J_BSP = b.dense(p, J)
                assert not J_BSP[begins_B].any()
                assert J_BSP[~begins_B].any() or lanes == 1
        (Js[0], got), (Js[1], want) = (
            b.step(p, J, record) for b, p, J in zip((backend, naive), plans, Js, strict=True)
        )
        J_BSP, wanted_BSP = backend.dense(plans[0], Js[0]), naive.dense(plans[1], Js[1])
        assert J_BSP.dtype == dtype
        close(J_BSP, wanted_BSP, tolerance)
        if record.credit_BCK is None:
            assert got is None
            assert want is None
        else:
            close(got, want, tolerance)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("n", [1, 2, 3, None])
@pytest.mark.parametrize("cell", CELLS)
def test_equals_naive(backend, cell, n, dtype):
    compare(backend, core(CELLS[cell], Uniform(level=0.7)), n, 3, dtype)


@pytest.mark.parametrize("lanes", [1, 17])
@pytest.mark.parametrize("units", [1, 2, 33])
@pytest.mark.parametrize("cell", CELLS)
def test_odd_sizes(backend, cell, units, lanes):
    built = core(CELLS[cell], Uniform(level=0.8), units=units)
    for n in (1, 2):
        compare(backend, built, n, lanes, torch.float64)


@pytest.mark.parametrize("level", [0.0, 0.97])
@pytest.mark.parametrize("cell", CELLS)
def test_dense_and_almost_empty(backend, cell, level):
    for n in (1, 2, 3):
        compare(backend, core(CELLS[cell], Uniform(level)), n, 3, torch.float64)


@pytest.mark.parametrize("cell", CELLS)
def test_diagonal(backend, cell):
    compare(backend, core(CELLS[cell], Diagonal(level=0.4)), 1, 3, torch.float64)


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("cell", CELLS)
def test_stacks(backend, cell, stack):
    built = core(CELLS[cell], Uniform(level=0.6), STACKS[stack])
    for n, dtype in ((1, torch.float64), (2, torch.float64), (None, torch.float32)):
        compare(backend, built, n, 3, dtype)


@pytest.mark.parametrize("lanes", [1, 17])
@pytest.mark.parametrize("sparsity", [Uniform(0.95), Dense(), Diagonal(level=0.4)])
@pytest.mark.parametrize("cell", ["gru", "lstm", "lopsided"])
def test_the_links_of_rtrl_on_any_mask(backend, cell, sparsity, lanes):
    made = {**CELLS, "lopsided": Lopsided()}[cell]
    compare(backend, core(made, sparsity, (4, 3, 2)), None, lanes, torch.float64)


@pytest.mark.parametrize(("entries", "padding"), [(1, 1.0), (60, 1.3), (2**20, 100.0)])
@pytest.mark.parametrize("cell", CELLS)
def test_however_blocks_are_put_together(monkeypatch, backend, cell, entries, padding):
    monkeypatch.setattr(blocks, "CHUNK_ENTRIES", entries)
    monkeypatch.setattr(blocks, "MOST_PADDING", padding)
    for n in (1, 2):
        compare(backend, core(CELLS[cell], Uniform(level=0.7), units=11), n, 3, torch.float64)
    compare(backend, core(CELLS[cell], Uniform(level=0.7), (4, 6)), None, 3, torch.float64)


@pytest.mark.parametrize(
    ("units", "dtype", "cell", "n", "lanes"),
    in_pairs(product([11, (5, 3, 4)], TOLERANCE, CELLS, [1, 2, None], [1, 3, 17])),
    ids=str,
)
def test_entries_go_from_any_backend_to_any(backend, cell, n, lanes, dtype, units):
    built = core(CELLS[cell], Uniform(level=0.7), units)
    pattern = built.pattern(n)
    row_L, column_L = pattern.entries
    steps = list(records(built, lanes, dtype))
    for one, other in ((backend, naive), (naive, backend), (backend, backend)):
        here, there = (b.plan(built, pattern) for b in (one, other))
        J, J_there = one.init(here, lanes, dtype), other.init(there, lanes, dtype)
        for record in steps[:4]:  # wherever J has moved to in its storage
            J, _ = one.step(here, J, record)
            J_there, _ = other.step(there, J_there, steps[0])
            J_BL = one.entries(here, J)
            kept_BL = J_BL.clone()
            assert J_BL.is_contiguous()
            assert J_BL.equal(one.dense(here, J)[:, row_L, column_L])
            other.assign(there, J_there, J_BL)
            assert other.dense(there, J_there).equal(one.dense(here, J))
        other.step(there, J_there, steps[4])
        assert J_BL.equal(kept_BL)


def test_keeps_no_more_than_naive_and_at_least_the_pattern(backend):
    built = core(CELLS["gru"], Uniform(level=0.8), units=33)
    pattern = built.pattern(2)
    kept = {}
    for b in (backend, naive):
        J = b.init(b.plan(built, pattern), 3, torch.float32)
        kept[b] = sum(x.numel() for x in b.tensors(J))
    assert 3 * pattern.live <= kept[backend] <= kept[naive]


def test_choice():
    assert {influence.choose(name) for name in BACKENDS} == set(BACKENDS.values())
    assert influence.choose("auto") in BACKENDS.values()
    with pytest.raises(UserError, match="naive, torch"):
        influence.choose("nave")
