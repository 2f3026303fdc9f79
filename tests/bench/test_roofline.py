"""The arithmetic of the roofline, the tries of its ceilings, and the work of a kernel."""

import itertools
import math

import pandas as pd
import pytest

from snaprun.bench import kernel
from snaprun.bench.interleave import Times
from snaprun.bench.kernel import work
from snaprun.bench.problem import Net
from snaprun.bench.roofline import (
    COPY,
    IN_PLACE,
    PRODUCT,
    TRIES,
    TRY,
    Ceilings,
    Work,
    Yardstick,
    Yardsticks,
    told,
)
from snaprun.bench.sizes import Kernel
from snaprun.figures.words import CEILING_NOT_REACHED
from snaprun.hardware import Cache, caches
from tests import cases

CACHES = [Cache("L1", 2**13), Cache("L2", 2**16)]


class Clock:
    """Seconds that are moved by hand."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_the_roofline_is_the_higher_of_two_times():
    ceilings = Ceilings(macs_per_s=100.0, bytes_per_s=10.0)
    assert ceilings.seconds(Work(macs=200, bytes=10)) == 2.0
    assert ceilings.bound(Work(macs=200, bytes=10)) == "MACs"
    assert ceilings.seconds(Work(macs=200, bytes=40)) == 4.0
    assert ceilings.bound(Work(macs=200, bytes=40)) == "bytes"


def test_a_ceiling_is_the_best_try_and_a_try_is_as_long_as_it_should_be():
    clock = Clock()
    lasts = iter([5.0, 5.0, *[0.001] * 4, *[0.002] * 4])
    gone = []

    def go():
        gone.append(next(lasts))
        clock.now += gone[-1]

    one = Yardstick("x", 8, 6, go)
    one.attempt(clock)  # disturbed: one go that warms, one that is timed
    assert one.seconds == [5.0]
    one.attempt(clock)  # the best is unknown still: one go
    assert one.seconds == pytest.approx([5.0, 0.001])
    goes = math.ceil(TRY / one.seconds[1])
    lasts = iter([0.002] * (goes + 1))
    one.attempt(clock)
    assert len(gone) == 4 + goes + 1
    assert one.seconds[2] == pytest.approx(0.002)
    assert one.best == pytest.approx(6 / 0.001)


def test_a_clock_that_stands_still_ends_a_try():
    one = Yardstick("x", 8, 6, lambda: None)
    one.attempt(lambda: 0.0)
    one.attempt(lambda: 0.0)
    assert one.seconds == [0.0, 0.0]


def made_up(sets, seconds):
    """Yardsticks whose tries were these seconds, by what and working set."""
    found = Yardsticks(sets, CACHES, side=32)
    for one in found.all:
        one.seconds = list(seconds(one))
    return found


def test_working_sets_have_ceilings_of_their_own_size():
    found = made_up([2**12, 2**15, 2**30], lambda one: [1.0])
    # 1 GiB lies beyond the caches: twice the last of them stands for it.
    sizes = {one.working_set for one in found.all if one.what != PRODUCT}
    assert sizes == {2**12, 2**15, 2**17}
    assert [found.level(size) for size in (2**12, 2**13, 2**15, 2**17)] == [
        "L1",
        "L1",
        "L2",
        "memory",
    ]
    by_name = {(one.what, one.working_set): one for one in found.all}
    assert by_name[COPY, 2**15].amount == 2**15
    assert by_name[IN_PLACE, 2**15].amount == 2 * 2**15
    by_name[COPY, 2**15].seconds = [4.0, 0.5, 8.0]
    by_name[IN_PLACE, 2**15].seconds = [2.0, 4.0]
    assert found.ceilings(2**15).bytes_per_s == 2**16  # the copy's best
    by_name[IN_PLACE, 2**15].seconds.append(0.25)
    assert found.ceilings(2**15).bytes_per_s == 2**18
    assert found.ceilings(2**12).bytes_per_s == 2**13
    assert found.ceilings(2**30).bytes_per_s == 2**18


def test_products_fill_half_a_cache_and_larger_ones_are_for_larger_working_sets():
    found = made_up([8, 2**12, 2**15], lambda one: [1.0])
    products = {one.working_set: one for one in found.all if one.what == PRODUCT}
    assert {size: one.amount for size, one in products.items()} == {
        3 * 4 * 16**2: 16**3,
        3 * 4 * 32**2: 32**3,  # 48, but `side` is the most
    }
    assert found.ceilings(2**12).macs_per_s == 16**3
    assert found.ceilings(2**15).macs_per_s == 32**3
    products[3 * 4 * 16**2].seconds.append(0.1)
    assert found.ceilings(2**15).macs_per_s == 16**3 / 0.1
    assert found.ceilings(8).macs_per_s == 16**3 / 0.1  # the smallest there is


def test_all_operations_do_what_they_say():
    found = Yardsticks([2**8], CACHES, side=16)
    found.turn()
    found.turn()
    assert all(len(one.seconds) == 2 for one in found.all)
    found.finish()
    table = found.as_rows()
    assert (table["tries"] == TRIES).all()
    assert set(table["what"]) == {COPY, IN_PLACE, PRODUCT}
    assert (table["best"] >= table["median"]).all()
    assert set(table.loc[table["what"] == PRODUCT, "unit"]) == {"GMAC/s"}


def test_finish_adds_no_try_to_those_that_have_enough():
    found = made_up([2**8], lambda one: [1.0] * (TRIES + 3))
    found.finish()
    assert all(len(one.seconds) == TRIES + 3 for one in found.all)


def test_without_known_caches_there_is_no_level():
    found = Yardsticks([2**10], [], side=16)
    assert found.level(2**10) == ""
    assert {one.working_set for one in found.all} == {2**10, 3 * 4 * 16**2}


def test_no_fraction_is_above_one():
    assert told({"a": 0.5, "b": 1.0}) == {"a": 0.5, "b": 1.0, "note": ""}
    assert told({"a": 0.5, "b": 1.36}) == {"a": None, "b": None, "note": CEILING_NOT_REACHED}


def kernel_row(seconds, best):
    """The row of a tiny kernel with these times, under ceilings of 1 MAC and 1 byte a second."""
    (problem,) = kernel.problems([Kernel(Net("gru", 4, 0.5), 2)], seed=0)
    yardsticks = made_up([problem.working_set], lambda one: [float(one.amount)])
    times = Times((seconds, seconds, best))
    table = kernel.kernel_table([kernel.Timed(problem, "native", 1.0, times, times)], yardsticks, 1)
    return problem, table.iloc[0]


def test_a_row_beside_its_ceilings():
    problem, row = kernel_row(1e9, 1e9)
    needed = work(problem.pattern, 2, credit=True)
    assert row["working_set_bytes"] == 4 * 2 * problem.pattern.live
    assert row["fraction"] == max(needed.macs, needed.bytes) / 1e9
    assert row["note"] == ""
    assert row["ceiling_gbytes_per_s"] == row["ceiling_gmacs_per_s"] == 1e-9


def test_a_kernel_above_its_ceiling_has_no_fraction_also_if_once_only():
    _, slow = kernel_row(1e9, 1e-3)
    assert slow["note"] == CEILING_NOT_REACHED
    for column in ("fraction", "fraction_best", "fraction_without_credit"):
        assert pd.isna(slow[column])


def test_the_data_caches_of_a_core_smallest_first(tmp_path):
    for index, (kind, level, size) in enumerate(
        [("Unified", 3, "32M"), ("Data", 1, "32K"), ("Instruction", 1, "64K"), ("Unified", 2, "x")]
    ):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        for name, text in (("type", kind), ("level", level), ("size", size)):
            (folder / name).write_text(f"{text}\n")
    (tmp_path / "index9").mkdir()  # says nothing
    assert caches(tmp_path) == [Cache("L1", 2**15), Cache("L3", 2**25)]
    assert caches(tmp_path / "absent") == []


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
