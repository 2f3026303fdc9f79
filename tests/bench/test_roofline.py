"""The arithmetic of the roofline, and the work that a kernel cannot do without."""

import itertools

import pytest

from snaprun.bench.interleave import Times
from snaprun.bench.kernel import work
from snaprun.bench.roofline import Ceilings, Work, Yardsticks, best
from tests import cases


def test_the_roofline_is_the_higher_of_two_times():
    ceilings = Ceilings(macs_per_s=100.0, bytes_per_s=10.0)
    assert ceilings.seconds(Work(macs=200, bytes=10)) == 2.0
    assert ceilings.bound(Work(macs=200, bytes=10)) == "MACs"
    assert ceilings.seconds(Work(macs=200, bytes=40)) == 4.0
    assert ceilings.bound(Work(macs=200, bytes=40)) == "bytes"


def test_ceilings_are_the_best_rounds():
    yardsticks = Yardsticks.make(side=4, copied=64)
    assert yardsticks.copied == 64
    for contender in yardsticks.contenders:
        contender.work(2)
    one = yardsticks.ceilings(Times((2.0, 1.0)), Times((4.0, 8.0)))
    assert one == Ceilings(macs_per_s=64.0, bytes_per_s=16.0)
    assert best([one, Ceilings(70.0, 3.0)]) == Ceilings(70.0, 16.0)


@pytest.mark.parametrize("cell", ["vanilla", "gru", "lstm"])
@pytest.mark.parametrize("n", [1, 2])
def test_work_is_counted_entry_by_entry(cell, n):
    core = cases.core(cases.CELLS[cell], units=5)
    pattern = core.pattern(n)
    mask, dynamics = pattern.mask_SP.tolist(), pattern.dynamics_SS.tolist()
    states, parameters = range(core.states), range(core.layout.size)
    product = sum(
        mask[i][p] and dynamics[i][j] and mask[j][p]
        for i, j, p in itertools.product(states, states, parameters)
    )
    immediate = int(pattern.own_SG[:, pattern.block_P].sum())
    kept = sum(map(sum, mask))
    assert work(pattern, 3, credit=False) == Work(3 * (product + immediate), 3 * 8 * kept)
    assert work(pattern, 3, credit=True).macs == 3 * (product + immediate + kept)
