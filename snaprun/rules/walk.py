"""Follows a plan of snaprun.rules.schedule without its numbers, as native/plan.hpp does."""

from collections.abc import Sequence
from dataclasses import dataclass

from snaprun.require import mismatch, require_count
from snaprun.rules.schedule import BACK, DROP, HOLD, RESTORE, TAPE


@dataclass(frozen=True)
class Place:
    """Where a plan has got to: what is on the stack, bottom first, and where the cursor is."""

    stack: tuple[tuple[int, bool], ...]  # the steps done when it was pushed, and whether internal
    cursor: int
    passed: int  # steps of the first pass


def place(plan: Sequence[int], steps: int, at: int, part: int) -> Place:
    """Returns the place after `at` instructions of a plan and `part` steps of the next one.

    Raises ValueError unless the plan passes and then reverses all steps of a window of `steps`
    steps, and an engine may stop at the place.
    """
    require_count("state.rule.at", at, most=len(plan) - 1)
    following = plan[at]
    if following in (HOLD, RESTORE, DROP) or not 0 <= part < max(following, 1):
        mismatch("state.rule.part", "a place between two steps of the plan", f"{at}, {part}")
    stack, cursor, passed, left = list[tuple[int, bool]](), 0, 0, steps
    found = Place((), 0, 0)
    for i, n in enumerate(plan):
        if i == at:
            found = Place(tuple(stack), cursor + part, max(passed, cursor + part))
        top = stack[-1] if stack and passed == steps else None  # none before all are passed
        if n > 0 or n == TAPE:
            cursor += max(n, 1)
            passed, fits = max(passed, cursor), cursor <= left
        elif n == RESTORE:
            cursor, fits = top[0] if top else 0, top is not None
        elif n == BACK:
            fits, left = top == (left, True), left - 1
        else:
            fits = n == HOLD or (n == DROP and top is not None and not top[1])
        if not fits:
            mismatch("state.rule.plan", f"a plan for {steps} steps", f"{n} at {i}")
        if n in (HOLD, TAPE):
            stack.append((cursor, n == TAPE))
        elif n in (BACK, DROP):
            stack.pop()
    if passed < steps or left or stack:
        mismatch("state.rule.plan", f"a plan for {steps} steps", "one that ends too early")
    return found
