"""Schedules of memory-bounded BPTT: their costs by brute force, and their plans carried out."""

from fractions import Fraction
from functools import cache
from itertools import product
from math import comb, gcd
from typing import get_args

import numpy as np
import pytest

from snaprun.rules import BPTT
from snaprun.rules.schedule import (
    BACK,
    DROP,
    HOLD,
    POLICIES,
    RESTORE,
    TAPE,
    Schedule,
    count,
    forwards,
    full,
    least,
    peak,
)

NAMES = get_args(POLICIES)
GRU, LSTM = (128 * 16 * 4, 901 * 16 * 4), (256, 1925)
SIZES = [(1, 1), (1, 3), (2, 15), (5, 37), GRU, LSTM]
FRACTIONS = [0, 0.02, 0.06, 0.15, 0.3, 0.6, 1, 1.5]


@cache
def brute(policy, t, m, alpha):
    """Returns the recurrence of a policy as it is written, over every split."""
    if t == 0:
        return 0
    if m < 2:
        return t * (t + 1) // 2
    hidden, internal = policy != "internal", policy == "internal"
    size = 1 if internal else alpha
    costs = [1] if t == 1 else []
    if hidden:
        costs += [
            y + brute(policy, t - y, m - 1, alpha) + brute(policy, y, m, alpha) for y in range(1, t)
        ]
    if internal or (policy == "mixed" and m - alpha >= 1):
        costs += [
            y + brute(policy, t - y, m - size, alpha) + brute(policy, y - 1, m, alpha)
            for y in range(1, t + 1)
        ]
    return min(costs)


def tabled(cell, tape, steps, cells):
    """Returns mixed's costs by steps and cells, each the least over every split."""
    cost = np.zeros((steps + 1, cells + 1), int)
    for t in range(1, steps + 1):
        cost[t] = t * (t + 1) // 2
        y = np.arange(1, t + 1)[:, None]
        parts = y[:-1] + cost[t - 1 : 0 : -1, cell:-cell] + cost[1:t, 2 * cell :]
        cost[t, 2 * cell :] = parts.min(0) if t > 1 else 1
        parts = y + cost[t - 1 :: -1, cell:-tape] + cost[:t, cell + tape :]
        cost[t, cell + tape :] = np.minimum(parts.min(0), cost[t, cell + tape :])
    return cost


def budget(fraction, steps, hidden, internal):
    return max(least(hidden, internal), int(fraction * full(steps, hidden, internal)))


def run(plan, steps, hidden, internal, kept=(), cursor=0):
    """Carries out a plan, and returns its forward steps and the most bytes on the stack."""
    stack, forward, most, ascent, todo = list(kept), 0, 0, True, steps
    restored = set(kept)
    for code in plan.tolist():
        if code > 0:
            cursor, forward = cursor + code, forward + code
        elif code == HOLD:
            stack.append((cursor, False))
        elif code == TAPE:
            cursor, forward = cursor + 1, forward + 1
            stack.append((cursor, True))
        elif code == BACK:
            if ascent and not kept:
                assert (cursor, forward) == (steps, steps)
            ascent = False
            assert stack.pop() == (todo, True)
            todo -= 1
        elif code == RESTORE:
            assert not ascent or kept
            assert cursor != stack[-1][0]
            cursor = stack[-1][0]
            restored.add(stack[-1])
        else:
            assert code == DROP
            dropped = stack.pop()
            assert not dropped[1]
            # A hidden state is kept only where it is used again; h_0 always is kept.
            assert dropped in restored or dropped[0] == 0
        assert 0 <= cursor <= steps
        assert len({position for position, _ in stack}) == len(stack)
        most = max(most, sum(internal if taped else hidden for _, taped in stack))
    assert (stack, todo) == ([], 0)
    return forward, most


@pytest.mark.parametrize("policy", NAMES)
@pytest.mark.parametrize("alpha", [1, 2, 3, 7, Fraction(15, 2), Fraction(7, 3)])
def test_the_costs_are_those_of_the_recurrences(policy, alpha):
    for t, m in product([*range(13), 29, 40], [*range(1, 12), 17]):
        assert forwards(policy, t, m, alpha) == brute(policy, t, m, alpha), (t, m)


@pytest.mark.parametrize(
    ("cell", "tape", "steps", "cells"),
    [(1, 1, 200, 30), (1, 2, 400, 30), (1, 7, 400, 80), (2, 15, 300, 90), (3, 7, 250, 60)],
)
def test_few_splits_find_the_least_over_all(cell, tape, steps, cells):
    want = tabled(cell, tape, steps, cells)
    for m in range(2, cells // cell + 1, 9):
        found = [forwards("mixed", t, m, Fraction(tape, cell)) for t in (steps, steps // 2 + 7)]
        assert found == [want[steps, m * cell], want[steps // 2 + 7, m * cell]]


def test_the_costs_of_a_thousand_steps():
    assert forwards("hidden", 1000, 50) == 2948
    assert forwards("internal", 1000, 50) == 1950
    for fraction, want in [(0.01, 2683), (0.02, 1989), (0.05, 1951), (0.1, 1901)]:
        assert Schedule(100, 700, int(fraction * 700_100)).forwards(1000) == want


def test_keeping_hidden_states_is_revolve():
    peer = pytest.importorskip("checkpoint_schedules.multistage")
    for t, m in [(2, 1), (5, 2), (17, 3), (100, 5), (101, 99), (200, 7)]:
        assert forwards("hidden", t, m) == peer.optimal_steps_binomial(t, m)


def test_a_fraction_is_the_decimal_that_is_written():
    assert BPTT(0.3).budget(4, 2, 7) == 9  # of 30, where the float nearest to 0.3 is less


@pytest.mark.parametrize("policy", NAMES)
@pytest.mark.parametrize("sizes", SIZES)
def test_a_plan_reverses_every_step_within_the_budget(policy, sizes):
    for steps, fraction in product([1, 2, 3, 4, 7, 20, 53, 130], FRACTIONS):
        schedule = Schedule(*sizes, budget(fraction, steps, *sizes), policy)
        plan = schedule.plan(steps)
        forward, most = run(plan, steps, *sizes)
        assert forward == count(plan) == schedule.forwards(steps)
        assert most == peak(plan, *sizes) <= schedule.budget
        assert plan.dtype == np.int32
        assert plan[0] == HOLD
        assert plan[-2:].tolist() == [BACK, DROP]


@pytest.mark.parametrize(("hidden", "internal"), [(1, 1), (3, 9), (20, 140), (4, 30), (6, 14)])
def test_the_costs_of_a_budget_are_those_of_its_slots(hidden, internal):
    unit = gcd(hidden, internal)
    for steps, fraction in product([1, 9, 40, 120], FRACTIONS):
        total = budget(fraction, steps, hidden, internal)
        holds, tapes = (total - internal) // hidden, (total - hidden) // internal
        cells = (total - internal) // unit
        wide = max(cells, (hidden + internal) // unit)  # room for a first internal state
        mixed = tabled(hidden // unit, internal // unit, steps, wide)[steps, cells]
        for policy, want in [
            ("hidden", forwards("hidden", steps, holds)),
            ("internal", forwards("internal", steps, tapes)),
            ("mixed", mixed),
        ]:
            assert Schedule(hidden, internal, total, policy).forwards(steps) == want


@pytest.mark.parametrize("sizes", [GRU, LSTM])
def test_sizes_in_bytes_cost_little_more_than_they_must(sizes):
    for fraction in (0.005, 0.01, 0.03):
        total = budget(fraction, 1000, *sizes)
        mixed, *others = (Schedule(*sizes, total, policy).forwards(1000) for policy in NAMES)
        assert mixed <= min(others)
        slots, alpha = (total - sizes[1]) / sizes[0], Fraction(sizes[1] * 2 // sizes[0], 2)
        least_possible = forwards("mixed", 1000, int(slots) + 1, alpha)
        assert least_possible <= mixed <= 1.04 * least_possible


@pytest.mark.parametrize("policy", NAMES)
@pytest.mark.parametrize("sizes", [(1, 3), (2, 15), LSTM])
@pytest.mark.parametrize("fraction", [0, 0.1, 0.3, 1])
def test_a_window_may_end_at_any_step(policy, sizes, fraction):
    planned = 41
    schedule = Schedule(*sizes, budget(fraction, planned, *sizes), policy)
    stack, cursor = [], 0
    for code in schedule.plan(planned).tolist():
        if code == BACK:
            break
        passed = range(cursor + 1, cursor + code) if code > 0 else ()
        for steps in passed:
            closes(schedule, sizes, tuple(stack), steps)
        cursor += max(code, 0) + (code == TAPE)
        if code in (HOLD, TAPE):
            stack.append((cursor, code == TAPE))
        closes(schedule, sizes, tuple(stack), cursor)
    assert cursor == planned


def closes(schedule, sizes, kept, steps):
    plan = schedule.closing(kept, steps)
    forward, most = run(plan, steps, *sizes, kept, cursor=steps)
    assert forward == count(plan)
    assert most <= peak(plan, *sizes, kept) <= schedule.budget


def test_the_parts_of_a_closed_window_cost_what_the_recurrence_says():
    schedule = Schedule(1, 7, 7 + 20, "mixed")
    plan = schedule.closing([(0, False), (30, False), (50, True)], 60)
    # 10 steps beyond an internal state, 19 before it, 30 before the hidden one
    want = [forwards("mixed", t, m, alpha=7) for t, m in [(10, 12), (19, 19), (30, 20)]]
    assert count(plan) == sum(want)


def test_a_long_window_is_planned_by_the_closed_forms():
    steps = 100_000
    for policy, fraction in product(NAMES, (0.001, 0.05)):
        schedule = Schedule(*GRU, budget(fraction, steps, *GRU), policy)
        plan = schedule.plan(steps)
        assert count(plan) == schedule.forwards(steps)
        assert peak(plan, *GRU) <= schedule.budget
        assert (plan == BACK).sum() == (plan == TAPE).sum() == steps
    mixed, *others = (
        Schedule(*GRU, budget(0.0002, steps, *GRU), policy).forwards(steps) for policy in NAMES
    )
    assert mixed == min(others)


@pytest.mark.parametrize("steps", [1, 2, 30, 100_000])
def test_with_the_full_tape_no_step_is_repeated(steps):
    for policy, more in product(("mixed", "internal"), (1, 3)):
        schedule = Schedule(*GRU, more * full(steps, *GRU), policy)
        assert schedule.plan(steps).tolist() == [HOLD] + steps * [TAPE] + steps * [BACK] + [DROP]
    assert Schedule(*GRU, 3 * full(steps, *GRU), "hidden").forwards(steps) == 2 * steps - 1


def test_windows_of_any_length_share_a_schedule():
    schedule = Schedule(1, 7, 30)
    for steps in (60, 9, 61, 150, 2):
        assert schedule.forwards(steps) == tabled(1, 7, steps, 23)[steps, 23]
        assert schedule.plan(steps) is schedule.plan(steps)
    with pytest.raises(ValueError, match="read-only"):
        schedule.plan(9)[0] = 1


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="under the least possible, 80 bytes"):
        Schedule(10, 70, 79)
    with pytest.raises(ValueError, match="does not hold"):
        Schedule(71, 70, 1000)
    with pytest.raises(ValueError, match="h_0"):
        Schedule(10, 70, 80).closing([(3, True)], 4)
    with pytest.raises(ValueError, match="m ≥ 1"):
        forwards("hidden", 3, 0)
    with pytest.raises(ValueError, match="too large"):
        forwards("mixed", 100_000, 5000, alpha=7)


@pytest.mark.parametrize("alpha", [1, 2, 7])
@pytest.mark.parametrize("t", [2, 5, 17, 40, pytest.param(100, marks=pytest.mark.slow)])
def test_where_a_step_is_repeated_once_at_most_internal_states_alone_are_best(t, alpha):
    for tapes in range(2, t + 1):
        if comb(tapes + 2, 2) <= t:
            continue
        for more in range(alpha):  # bytes that hold no further internal state
            slots = (tapes - 1) * alpha + 1 + more
            assert forwards("mixed", t, slots, alpha) >= forwards("internal", t, tapes)
