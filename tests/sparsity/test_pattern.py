"""M_n against Boolean powers of probed Jacobians, known sparsities, and operation counts."""

import pytest

from snaprun.cells import GRU, LSTM, Vanilla
from snaprun.sparsity import Diagonal, Uniform
from snaprun.verify import onestep
from tests.cases import CELLS, SPARSITIES, STACKS, LeakyReLU, Lopsided, core, steps_to_reach


@pytest.mark.parametrize("sparsity", SPARSITIES)
@pytest.mark.parametrize("cell", CELLS)
def test_equals_boolean_powers_of_probed_jacobians(cell, sparsity):
    built = core(CELLS[cell], SPARSITIES[sparsity], units=9)
    found = dynamics_SS, _ = onestep.structure(built)
    for n in (1, 2, 3, 5):
        pattern, want_SP = built.pattern(n), onestep.mask(built, n, found)
        assert pattern.mask_SP.equal(want_SP)
        assert pattern.dynamics_SS.equal(dynamics_SS)
        assert pattern.live == want_SP.sum()
        assert pattern.sparsity == pytest.approx(1 - want_SP.double().mean().item())


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("sparsity", [Uniform(0.7), Diagonal(0.4)])
@pytest.mark.parametrize("cell", [GRU(), LSTM(), Lopsided()])
def test_stacks(cell, sparsity, stack):
    """Within the layers powers of probed Jacobians; RTRL's by a walk over the probed whole."""
    built = core(cell, sparsity, STACKS[stack])
    found = dynamics_SS, immediate_SP = onestep.structure(built)
    for n in (1, 2, 4):
        assert built.pattern(n).mask_SP.equal(onestep.mask(built, n, found))
        assert not built.pattern(n).links_SS.any()
    reached_SP = immediate_SP
    while not (more_SP := reached_SP | (dynamics_SS.double() @ reached_SP.double() > 0)).equal(
        reached_SP
    ):
        reached_SP = more_SP
    assert built.pattern(None).mask_SP.equal(reached_SP)


def test_a_pattern_wider_than_the_slopes_keeps_the_same_influence():
    built = core(LeakyReLU(), units=9)
    found = onestep.structure(built)
    for n in (1, 2, 3):
        assert built.pattern(n).mask_SP.equal(onestep.mask(built, n, found))


@pytest.mark.parametrize("cell", CELLS)
def test_product_macs_count_the_products_that_are_not_zero(cell):
    built = core(CELLS[cell], Uniform(level=0.8), units=9)
    dynamics_SS, _ = onestep.structure(built)
    for n in (1, 2, None):
        pattern = built.pattern(n)
        macs = 0
        for rows_S in pattern.mask_SP.T:
            macs += int(dynamics_SS[rows_S][:, rows_S].sum())
        assert pattern.product_macs == macs


@pytest.mark.parametrize("cell", CELLS)
def test_beyond_the_diameter_it_is_rtrls(cell):
    built = core(CELLS[cell], Uniform(level=0.8), units=9)
    assert built.pattern(built.states).mask_SP.equal(built.pattern(None).mask_SP)
    assert built.pattern(1).live < built.pattern(None).live


@pytest.mark.parametrize("cell", CELLS)
def test_a_diagonal_recurrence_reaches_no_other_unit(cell):
    built = core(CELLS[cell], Diagonal(level=0.5), units=9)
    steps = steps_to_reach(built.cell, 1)  # the LSTM's output gate reaches c by way of h
    assert built.pattern(steps).mask_SP.equal(built.pattern(None).mask_SP)
    reached = sum(map(any, built.cell.trace_pattern))  # no slot reaches a spiking unit's r
    assert built.pattern(None).live == reached * built.layout.size


# J sparsity in per cent at n = 1, 2, 3 with 32 inputs, and how far a random mask may be off.
KNOWN = [
    (Vanilla(), 128, 0.75, (99.22, 74.4, 0.0)),
    (GRU(), 256, 0.9375, (99.61, 82.1, 0.04)),
    (GRU(), 512, 1 - 1 / 64, (99.80, 95.2, 32.2)),
    (LSTM(), 512, 1 - 1 / 64, (99.83, 94.5, 18.4)),
]
TOLERANCE = (0.005, 0.3, 0.5)


@pytest.mark.parametrize("case", KNOWN, ids=lambda c: f"{type(c[0]).__name__}-{c[1]}")
def test_known_sparsities(case):
    cell, units, level, wanted = case
    built = core(cell, Uniform(level), units=units, inputs=32)
    for n, (want, tolerance) in enumerate(zip(wanted, TOLERANCE, strict=True), start=1):
        assert 100 * built.pattern(n).sparsity == pytest.approx(want, abs=tolerance)


@pytest.mark.parametrize("n", [1, 2, None])
@pytest.mark.parametrize("cell", CELLS)
def test_entries_list_the_mask_block_by_block(cell, n):
    pattern = core(CELLS[cell], units=9).pattern(n)
    listed = []
    for g in range(pattern.reach_SG.shape[1]):
        for row in pattern.reach_SG[:, g].nonzero().flatten().tolist():
            for column in (pattern.block_P == g).nonzero().flatten().tolist():
                listed.append((row, column))
    row_L, column_L = pattern.entries
    assert list(zip(row_L.tolist(), column_L.tolist(), strict=True)) == listed
    assert sorted(listed) == [tuple(at) for at in pattern.mask_SP.nonzero().tolist()]
