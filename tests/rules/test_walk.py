"""Saved plans and places in them are followed to the end before an engine goes on with them."""

import pytest

from snaprun.rules.schedule import BACK, DROP, HOLD, RESTORE, TAPE, Schedule
from snaprun.rules.walk import place

GOOD = [HOLD, 1, TAPE, BACK, RESTORE, TAPE, BACK, DROP]  # two steps


@pytest.mark.parametrize("policy", ["mixed", "hidden", "internal"])
@pytest.mark.parametrize("budget", [80, 130, 333, 1000])
@pytest.mark.parametrize("steps", [1, 2, 7, 23])
def test_every_plan_of_a_schedule_is_followed(policy, budget, steps):
    plan = Schedule(10, 70, budget, policy).plan(steps).tolist()
    stops = 0
    for at, n in enumerate(plan):
        for part in range(max(n, 1)) if n not in (HOLD, RESTORE, DROP) else ():
            stops += 1
            found = place(plan, steps, at, part)
            assert found.stack[0] == (0, False)
            bytes_kept = sum(70 if internal else 10 for _, internal in found.stack)
            assert bytes_kept <= budget
    assert stops == sum(max(n, 1) for n in plan if n > 0 or n in (TAPE, BACK))
    assert stops == Schedule(10, 70, budget, policy).forwards(steps) + steps


def test_a_place_has_the_stack_and_the_cursor():
    plan = [HOLD, 3, TAPE, BACK, RESTORE, 2, TAPE, BACK, RESTORE, 1, TAPE, BACK, RESTORE, TAPE]
    plan += [BACK, DROP]
    for at, part, stack, cursor, passed in [
        (1, 0, ((0, False),), 0, 0),
        (1, 2, ((0, False),), 2, 2),
        (2, 0, ((0, False),), 3, 3),
        (3, 0, ((0, False), (4, True)), 4, 4),
        (5, 1, ((0, False),), 1, 4),
        (14, 0, ((0, False), (1, True)), 1, 4),
    ]:
        found = place(plan, 4, at, part)
        assert (found.stack, found.cursor, found.passed) == (stack, cursor, passed)


@pytest.mark.parametrize(
    "plan",
    [
        [],
        GOOD[:-1],
        GOOD[:-4],
        [*GOOD, DROP],
        [HOLD, 3, TAPE],
        [HOLD, 2**40],
        [HOLD, -6],
        [HOLD, 0, TAPE],
        [HOLD, TAPE, BACK],
        [HOLD, 1, RESTORE],
        [HOLD, DROP],
        [1, TAPE, BACK, RESTORE, TAPE, BACK],
        [HOLD, TAPE, TAPE, BACK, BACK, BACK],
        [HOLD, TAPE, 1, BACK],
        [HOLD, 1, TAPE, DROP],
        [HOLD, 1, TAPE, BACK, RESTORE, TAPE, TAPE, BACK],
        [HOLD, HOLD, TAPE, TAPE, BACK, BACK, BACK, DROP],
    ],
)
def test_a_wrong_plan_is_refused(plan):
    with pytest.raises(ValueError, match=r"state\.rule\.(plan|at|part) mismatch"):
        place(plan, 2, 1, 0)


@pytest.mark.parametrize(
    ("at", "part"), [(0, 0), (4, 0), (7, 0), (8, 0), (-1, 0), (1, 1), (1, -1), (2, 1), (3, 1)]
)
def test_a_place_where_no_engine_stops_is_refused(at, part):
    place(GOOD, 2, 1, 0)
    with pytest.raises(ValueError, match=r"state\.rule\.(at|part) mismatch"):
        place(GOOD, 2, at, part)
