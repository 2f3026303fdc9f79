"""Turns, repetitions and statistics, on a clock that is moved by hand."""

import gc

import pytest

from snaprun.bench.interleave import Budget, Contender, Times, interleave, ratio


class Clock:
    """Seconds that pass only where a contender works."""

    def __init__(self):
        self.now = 0.0
        self.log: list[tuple[str, int]] = []

    def __call__(self):
        return self.now

    def contender(self, name, seconds, steps=1, prepare=None):
        def work(units):
            self.log.append((name, units))
            self.now += units * seconds

        return Contender(name, work, steps, prepare)


def test_contenders_take_turns_until_the_budget_is_spent():
    clock = Clock()
    contenders = [clock.contender("a", 1.0), clock.contender("b", 2.0)]
    times = interleave(contenders, Budget(seconds=10, visit=0.5, least=2), clock)
    # A round takes 3 seconds: the fourth begins at 9 and is the last.
    assert [name for name, _ in clock.log[4:]] == ["a", "b"] * 4
    assert {units for _, units in clock.log} == {1}
    assert times["a"].seconds == (1.0,) * 4
    assert times["b"].median == times["b"].best == 2.0


def test_the_least_rounds_are_made_and_no_more_than_the_most():
    for budget, rounds in (
        (Budget(seconds=0, visit=0, least=3), 3),
        (Budget(seconds=1e9, visit=0, least=1, most=5), 5),
    ):
        clock = Clock()
        times = interleave([clock.contender("a", 1.0)], budget, clock)
        assert len(times["a"].seconds) == rounds


def test_a_visit_is_filled_with_units_and_warmed_up_by_one():
    clock = Clock()
    times = interleave(
        [clock.contender("a", 0.25, steps=5)], Budget(seconds=0, visit=1.0, least=1), clock
    )
    assert clock.log == [("a", 1), ("a", 1), ("a", 1), ("a", 4)]
    assert times["a"].seconds == pytest.approx((0.05,))


def test_preparation_comes_before_every_visit_and_is_not_timed():
    clock = Clock()

    def prepare():
        clock.log.append(("prepare", 0))
        clock.now += 100

    interleave(
        [clock.contender("a", 1.0, prepare=prepare)], Budget(seconds=0, visit=0, least=2), clock
    )
    assert clock.log == [("prepare", 0), ("a", 1)] * 4
    times = interleave(
        [clock.contender("a", 1.0, prepare=prepare)], Budget(seconds=0, visit=0, least=2), clock
    )
    assert times["a"].seconds == (1.0, 1.0)


def test_a_clock_that_stands_still_ends_too():
    times = interleave(
        [Contender("a", lambda units: None)], Budget(seconds=0, visit=1, least=2), lambda: 0.0
    )
    assert times["a"].seconds == (0.0, 0.0)


def test_what_comes_between_is_done_once_a_round_and_is_not_timed():
    clock = Clock()

    def between():
        clock.log.append(("between", 0))
        clock.now += 100

    contenders = [clock.contender("a", 1.0), clock.contender("b", 2.0)]
    times = interleave(contenders, Budget(seconds=0, visit=0, least=2), clock, between)
    assert [name for name, _ in clock.log[4:]] == ["a", "b", "between"] * 2
    assert times["a"].seconds == (1.0, 1.0)


def test_ratios_are_taken_round_by_round():
    slow, fast = Times((2.0, 20.0, 4.0)), Times((1.0, 10.0, 1.0))
    found = ratio(slow, fast)
    assert found == (2.0, 2.0, 3.0)
    assert slow.columns("ms", 1e3) == {
        "ms": 4000.0,
        "ms_low": 3000.0,
        "ms_high": 12000.0,
        "ms_best": 2000.0,
    }


def test_garbage_collection_is_as_before_also_after_an_error():
    def fail(units):
        assert not gc.isenabled()
        raise RuntimeError

    with pytest.raises(RuntimeError):
        interleave([Contender("a", fail)], Budget(0, 0, 1))
    assert gc.isenabled()
