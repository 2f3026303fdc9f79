"""The size of a pattern: counted from it, and expected before its mask is drawn."""

import itertools

import pytest

from snaprun.cells import GRU, LSTM, Vanilla
from snaprun.core import Sizes
from snaprun.sparsity import Dense, Diagonal, Magnitude, Reach, Uniform
from tests.cases import core

SIZES = {"lanes": 1, "window": 1, "outputs": 1, "hidden": 0, "itemsize": 4, "threads": 1}
CELLS = {"vanilla": Vanilla(), "leaky": Vanilla(alpha=0.5), "gru": GRU(), "lstm": LSTM()}
DEGREES = (1, 2, 3, 5, None)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("n", DEGREES)
@pytest.mark.parametrize("units", [7, (4, 5, 3)], ids=str)
def test_counts_are_those_of_the_mask_entry_by_entry(cell, n, units):
    built = core(CELLS[cell], Uniform(0.7), units)
    pattern = built.pattern(n)
    found = Reach.of(pattern)
    mask = pattern.mask_SP.tolist()
    dynamics = (pattern.dynamics_SS | pattern.links_SS).tolist()
    rows_of = [
        {s for s in range(built.states) if pattern.reach_SG[s, g]} for g in range(found.blocks)
    ]
    assert found.states == built.states
    assert found.parameters == built.layout.size
    assert found.entries == sum(map(sum, mask))
    assert found.rows == sum(map(len, rows_of))
    assert found.squares == sum(len(rows) ** 2 for rows in rows_of)
    assert found.most_rows == max(map(len, rows_of))
    inside = [[(i, j) for i, j in itertools.product(r, r) if dynamics[i][j]] for r in rows_of]
    assert found.links == sum(map(len, inside))
    assert found.dynamics >= len(set().union(*inside))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("sparsity", [Dense(), Diagonal(), Diagonal(0.5), Magnitude(initial=0.0)])
@pytest.mark.parametrize("n", DEGREES)
@pytest.mark.parametrize("units", [9, (9, 5), (4, 1, 6)], ids=str)
def test_where_nothing_is_left_to_chance_the_expected_size_is_the_size(cell, sparsity, n, units):
    built = core(CELLS[cell], sparsity, units, inputs=4)
    expected = Sizes.before(CELLS[cell], sparsity, units, 4, **SIZES)
    assert expected.parameters_M == Sizes.of(built, **SIZES).parameters_M
    before, found = expected.reach(n), Reach.of(built.pattern(n))
    if built.layout.layers[1:] and n is None and sparsity.live(9, 9)[1] < 81:
        # Which units hear which of the layer below is left to chance.
        assert before.entries >= found.entries
        assert before.rows >= found.rows
        return
    assert before.entries == found.entries
    assert before.rows == found.rows


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("units", [64, 128, (64, 96), (64, 64, 64)], ids=str)
@pytest.mark.parametrize(
    "sparsity",
    [Uniform(0.5), Uniform(0.75, share_slots=True), Uniform(0.9375), Uniform(0.984375)],
)
def test_of_a_random_mask_the_expected_size_is_hardly_less_and_at_most_twice_the_size(
    cell, units, sparsity
):
    """The bounds that snaprun.run.memory reckons with."""
    from snaprun.run.memory import FED, LEAST, MOST

    built = core(CELLS[cell], sparsity, units=units, inputs=5)
    before, drawn = Sizes.before(CELLS[cell], sparsity, units, 5, **SIZES), Sizes.of(built, **SIZES)
    assert before.parameters_M == drawn.parameters_M
    for n in DEGREES:
        ratio = before.reach(n).entries / drawn.reach(n).entries
        assert ratio >= 1 / MOST, (n, ratio)
        if built.layout.layers[0] * sparsity.linked(1) >= FED:
            assert ratio <= LEAST, (n, ratio)
