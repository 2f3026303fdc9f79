"""Plans which states memory-bounded BPTT keeps, and which steps it repeats, within a budget."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from math import comb
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

POLICIES = Literal["mixed", "hidden", "internal"]

# Instructions of a plan; a positive number n is n plain forward steps of the cursor.
HOLD = -1  # push the cursor's hidden state
TAPE = -2  # one forward step with its slopes, whose internal state is pushed
BACK = -3  # reverse the internal state on top of the stack, and pop it
RESTORE = -4  # move the cursor to the state on top of the stack, which stays
DROP = -5  # pop a hidden state

FINEST = 8  # most cells a hidden state takes in the dynamic program
CELLS = 8_000_000  # most entries of its table, 12 bytes each
LONGEST = 10_000  # most steps of its table, seconds of work
FEW = 8  # with fewer internal states than this a table's row has many bends, and is kept apart

Plan = NDArray[np.int32]
Costs = NDArray[np.int64]
Split = Callable[[int, int], tuple[int, bool]]
Kept = Sequence[tuple[int, bool]]


class Way(NamedTuple):
    """A way to reverse a segment."""

    forwards: int
    split: Split
    slots: int
    sizes: tuple[int, int]  # the slots that a hidden and an internal state take


def full(steps: int, hidden: int, internal: int) -> int:
    """Returns the bytes of the full tape of a window, with which no step is repeated.

    >>> full(1000, hidden=10, internal=70)
    70010
    """
    return steps * internal + hidden


def least(hidden: int, internal: int) -> int:
    """Returns the smallest budget in bytes; a window of T steps then takes T(T+1)/2 forwards.

    >>> least(hidden=10, internal=70)
    80
    """
    return hidden + internal


def count(plan: Plan) -> int:
    """Returns how many forward steps a plan takes.

    >>> count(np.array([HOLD, 2, TAPE, BACK, RESTORE, 1, TAPE, BACK], np.int32))
    5
    """
    return int(plan[plan > 0].sum(dtype=np.int64)) + int((plan == TAPE).sum())


def stack_bytes(kept: Kept, hidden: int, internal: int) -> int:
    """Returns the bytes of the states on a stack.

    >>> stack_bytes([(0, False), (3, True)], hidden=10, internal=70)
    80
    """
    return sum(internal if taped else hidden for _, taped in kept)


def peak(plan: Plan, hidden: int, internal: int, kept: Kept = ()) -> int:
    """Returns the most bytes on the stack while a plan runs that finds `kept` on it.

    >>> peak(np.array([HOLD, 2, TAPE, BACK, DROP], np.int32), hidden=10, internal=70)
    80
    """
    bytes_of = np.zeros(-DROP + 1, np.int64)
    bytes_of[[-HOLD, -TAPE, -BACK, -DROP]] = hidden, internal, -internal, -hidden
    start = stack_bytes(kept, hidden, internal)
    return start + max(0, int(bytes_of[-np.minimum(plan, 0)].cumsum().max(initial=0)))


def forwards(policy: POLICIES, t: int, m: int, alpha: int | Fraction = 1) -> int:
    """Returns the forward steps of a window of t steps with m slots, the first pass included.

    A slot holds a hidden state, or an internal one if `policy` is internal; `alpha` ≥ 1 is the
    size of an internal state in hidden ones, for mixed alone.

        hidden    C(t,m) = min_y y + C(t−y, m−1) + C(y, m)        h_0 is in a slot
        internal  D(t,m) = min_y y + D(t−y, m−1) + D(y−1, m)      h_0 is beside the slots
        mixed     the less of C's choice and y + C(t−y, m−α) + C(y−1, m), if m − α ≥ 1

    from 0 at t = 0 and t(t+1)/2 at m = 1 (mixed: m < 2). The first two have closed forms.
    Raises ValueError where m < 1 or alpha < 1, or where the table of mixed would be too large.

    >>> forwards("hidden", 1000, 50), forwards("internal", 1000, 50)
    (2948, 1950)
    >>> forwards("mixed", 1000, 63, alpha=7)
    2683
    """
    ratio = Fraction(alpha)
    if t < 0 or m < 1 or ratio < 1:
        raise ValueError(f"t={t}, m={m}, alpha={alpha}: t ≥ 0, m ≥ 1 and alpha ≥ 1 are needed")
    if policy != "mixed":
        return _closed(policy, t, m)
    if t == 0:
        return 0
    cell, tape = ratio.denominator, ratio.numerator
    cells = min(m * cell, cell + tape * (t - 1))
    if not _fits(t, cells):
        raise ValueError(f"mixed: a table of {t} steps and {cells} cells is too large")
    return int(_table(cell, tape, cells).upto(t).cost[t, cells])


@dataclass(frozen=True)
class Schedule:
    """Tells, step by step, what exact BPTT keeps and repeats within a budget of memory.

    A hidden state is what one forward step needs, an internal state what the reverse of one step
    needs (sources, slopes and the state after it). `policy` hidden keeps hidden states alone
    (Revolve plus one internal state), internal keeps internal states beside h_0, and mixed takes
    the better at every split, with the sizes rounded up to a grid of cells, and never does worse
    than the other two. Where its table would have over CELLS entries or LONGEST steps, mixed is
    the better of those two. `forwards` has the recurrences.

    Gruslys et al. 2016, arXiv 1606.03401, on whose patent docs/rules/bptt.md has a word; Griewank
    & Walther 2000, Algorithm 799.

    `hidden`, `internal` and `budget` are bytes. Raises ValueError where budget < `least`.

    >>> schedule = Schedule(hidden=10, internal=70, budget=90)
    >>> schedule.plan(3).tolist()  # HOLD, 1, HOLD, 1, TAPE, BACK, RESTORE, TAPE, BACK, DROP, …
    [-1, 1, -1, 1, -2, -3, -4, -2, -3, -5, -4, -2, -3, -5]
    >>> schedule.forwards(3)
    5
    """

    hidden: int
    internal: int
    budget: int
    policy: POLICIES = "mixed"

    def __post_init__(self) -> None:
        if not 1 <= self.hidden <= self.internal:
            raise ValueError(f"1 ≤ hidden={self.hidden} ≤ internal={self.internal} does not hold")
        if self.budget < least(self.hidden, self.internal):
            needed = least(self.hidden, self.internal)
            raise ValueError(f"budget={self.budget} is under the least possible, {needed} bytes")

    def forwards(self, steps: int) -> int:
        """Returns the forward steps of the plan for a window, the first pass included."""
        return self._best(steps, self.budget - self.hidden).forwards

    def plan(self, steps: int) -> Plan:
        """Returns the instructions of a window, as int32 that cannot be written to.

        They begin with the HOLD of h_0 and end with its DROP. Every step is passed exactly once
        before the first BACK, so a window can be run while its data come in.
        """
        return _plan(self, steps)

    def closing(self, kept: Kept, steps: int) -> Plan:
        """Returns the instructions of a window that ends after `steps`, before its first BACK.

        `kept` is the stack, bottom first: the steps done when the state was pushed (for an
        internal state: after its step), and whether it is internal. The cursor is at `steps`.
        """
        return np.array(self._reverse(kept, steps, cursor=steps), np.int32)

    def holding(self, plan: Plan) -> "Schedule":
        """Returns the schedule with a budget in which `plan`, which may be another's, fits."""
        return replace(self, budget=max(self.budget, peak(plan, self.hidden, self.internal)))

    def _reverse(self, kept: Kept, steps: int, cursor: int) -> list[int]:
        """Returns the instructions that reverse all steps, and empty the stack."""
        if not kept or kept[0] != (0, False):
            raise ValueError("the stack of a window begins with its h_0, (0, False)")
        out: list[int] = []
        free = self.budget - stack_bytes(kept, self.hidden, self.internal)
        end = steps
        for start, taped in reversed(kept):
            if end > start:
                best = self._best(end - start, free)
                cursor = _emit(out, best, (start, end - start, best.slots), cursor)
            out.append(BACK if taped else DROP)
            free += self.internal if taped else self.hidden
            end = start - taped
        return out

    def _best(self, steps: int, free: int) -> Way:
        """Returns the way with the fewest forwards for a segment.

        `free` is the bytes left beside the state from which the segment starts.
        """
        if free < self.internal and steps > 0:
            raise ValueError(f"{free} bytes are left, and an internal state takes {self.internal}")
        tapes, holds = free // self.internal, 1 + (free - self.internal) // self.hidden
        ways = list[Way]()
        if self.policy != "hidden":
            ways.append(Way(_closed("internal", steps, tapes), _split_internal, tapes, (1, 1)))
        if self.policy != "internal":
            ways.append(Way(_closed("hidden", steps, holds), _split_hidden, holds, (1, 1)))
        # While a step is repeated once at most, no mixture is better than internal states alone.
        if self.policy == "mixed" and comb(tapes + 2, 2) <= steps:
            cell, tape, unit = _grid(self.hidden, self.internal)
            cells = cell + int((free - self.internal) // unit)
            most = cell + int((self.budget - self.hidden - self.internal) // unit)
            if _fits(steps, most):
                table = _table(cell, tape, most).upto(steps)
                found = int(table.cost[steps, cells])
                ways.append(Way(found, table.split, cells, (cell, tape)))
        return min(ways, key=lambda way: way.forwards)


@lru_cache(maxsize=32)
def _plan(schedule: Schedule, steps: int) -> Plan:
    plan = np.array([HOLD, *schedule._reverse(((0, False),), steps, cursor=0)], np.int32)
    plan.flags.writeable = False
    return plan


def _emit(out: list[int], way: Way, segment: tuple[int, int, int], cursor: int) -> int:
    """Adds the instructions of a segment (start, steps, slots); returns where the cursor ends."""
    pending: list[int | tuple[int, int, int]] = [segment]
    while pending:
        item = pending.pop()
        if isinstance(item, int):
            out.append(item)
            continue
        start, steps, slots = item
        if steps and cursor != start:
            out.append(RESTORE)
        while steps:
            ahead, taped = way.split(steps, slots)
            if not taped and ahead == steps - 1:
                ahead, taped = steps, True  # a hidden state here would not be used again
            pending.append((start, ahead - taped, slots))
            if ahead > taped:
                out.append(ahead - taped)
            out.append(TAPE if taped else HOLD)
            pending.append(BACK if taped else DROP)
            start, steps, slots = start + ahead, steps - ahead, slots - way.sizes[taped]
            cursor = start
    return cursor


# Closed forms. With β(m, r) = binom(m+r, r) and r least with β(m, r) ≥ t,
# C(t, m) = (r+1) t − binom(m+r, r−1), and D(t, m) = C(t+1, m) − (t+1) splits where C(t+1, m) does.


@lru_cache(maxsize=4096)
def _reaches(m: int, above: int) -> tuple[int, ...]:
    """Returns β(m, 0), β(m, 1), … up to the first ≥ `above`."""
    found = [1]
    while found[-1] < above:
        r = len(found)
        found.append(found[-1] * (m + r) // r)
    return tuple(found)


def _reach(m: int, t: int) -> tuple[tuple[int, ...], int]:
    """Returns β(m, ·) and the least r with β(m, r) ≥ t."""
    reaches = _reaches(m, 1 << t.bit_length())  # few entries of the cache
    return reaches, bisect_left(reaches, t)


def _closed(policy: POLICIES, t: int, m: int) -> int:
    if t == 0:
        return 0
    if m == 1:
        return t * (t + 1) // 2
    beyond = policy == "internal"
    _, r = _reach(m, t + beyond)
    lead = (r + 1) * t if not beyond else r * (t + 1)
    return lead - (comb(m + r, r - 1) if r else 0)


def _split(t: int, m: int) -> int:
    """Returns the largest y at which C(t, m) with t, m ≥ 2 attains its minimum."""
    reaches, r = _reach(m, t)
    # β(m−1, r−1) = β(m, r−1) − β(m, r−2)
    below = reaches[r - 1] - (reaches[r - 2] if r > 1 else 0)
    return min(reaches[r - 1], t - below)


def _split_hidden(t: int, m: int) -> tuple[int, bool]:
    return (t, True) if t == 1 or m == 1 else (_split(t, m), False)


def _split_internal(t: int, m: int) -> tuple[int, bool]:
    return (t, True) if m == 1 else (_split(t + 1, m), True)


@lru_cache(maxsize=64)
def _grid(hidden: int, internal: int) -> tuple[int, int, Fraction]:
    """Returns the cells of a hidden and of an internal state, and a cell's bytes.

    Both are rounded up; of the grids with up to FINEST cells a hidden state, the first that
    wastes least.
    """
    pairs = [
        (cell, tape)
        for cell in range(1, FINEST + 1)
        for tape in (cell * internal // hidden, -(-cell * internal // hidden))
    ]
    grids = [(q, i, max(Fraction(hidden, q), Fraction(internal, i))) for q, i in pairs]
    return min(grids, key=lambda of: max(of[0] * of[2] / hidden, of[1] * of[2] / internal))


class _Table:
    """The costs of mixed for t steps and m cells, and the split of each, negative if internal.

    The cost for m cells is linear in t but for bends. So the best split stays when t grows, moves
    on with it, or jumps to a bend of the first part's cost: no other is tried.
    """

    def __init__(self, cell: int, tape: int, cells: int) -> None:
        self.cell, self.tape, self.cells = cell, tape, cells
        self.cost = np.zeros((1, cells + 1), np.int64)
        self.splits = np.zeros((1, cells + 1), np.int32)
        many = min(cells + 1, FEW * tape)  # from here on there are few bends
        self.choices = [
            _Choice(size, np.arange(max(begin, first), end), taped)
            for size, first, taped in ((tape, cell + tape, 1), (cell, 2 * cell, 0))
            for begin, end in ((0, many), (many, cells + 1))
            if max(begin, first) < end
        ]
        self.bends = np.zeros((0, cells + 1), np.int64)  # of each m, 0 where there are fewer
        self.number = np.zeros(cells + 1, np.int64)

    def split(self, t: int, m: int) -> tuple[int, bool]:
        ahead = int(self.splits[t, m])
        return abs(ahead), ahead < 0

    def upto(self, steps: int) -> "_Table":
        """Returns the table with rows for 0 … `steps`."""
        known = len(self.cost)
        if steps < known:
            return self
        more = ((0, steps + 1 - known), (0, 0))
        self.cost, self.splits = np.pad(self.cost, more), np.pad(self.splits, more)
        for t in range(known, steps + 1):
            self.cost[t], self.splits[t] = t * (t + 1) // 2, -t
            self._add(t)
        return self

    def _add(self, t: int) -> None:
        cost = self.cost
        for choice in self.choices if t > 1 else ():
            rows = slice(choice.m[0], choice.m[-1] + 1)
            bends = self.bends[: self.number[rows].max(), rows]
            found, ahead = choice.best(cost, bends, t)
            better = found < cost[t, rows]
            cost[t, rows][better] = found[better]
            self.splits[t, rows][better] = (-ahead if choice.taped else ahead)[better]
        if t > 1:
            bend = cost[t] - 2 * cost[t - 1] + cost[t - 2] > 0
            bend[: self.cell + self.tape] = False
            (rows,) = bend.nonzero()
            if len(rows) and self.number[rows].max() == len(self.bends):
                self.bends = np.pad(self.bends, ((0, 8), (0, 0)))
            self.bends[self.number[rows], rows] = t - 1
            self.number[rows] += 1


class _Choice:
    """What is kept at the split of t steps with m cells, for some m, and the last t's best split.

    The cost is y + C(t−y, m−size) + C(y−taped, m).
    """

    def __init__(self, size: int, m: Costs, taped: int) -> None:
        self.size, self.m, self.taped = size, m, taped
        self.ahead = np.ones(len(m), np.int64)

    def best(self, cost: Costs, bends: Costs, t: int) -> tuple[Costs, Costs]:
        """Returns the least cost of t steps for each m, and where it splits."""
        y = np.concatenate([self.ahead[None], self.ahead[None] + 1, bends + self.taped])
        y = y.clip(1, t - 1 + self.taped)
        wide = cost.shape[1]  # one index is faster than two
        found = y + cost.take((t - y) * wide + self.m - self.size)
        found += cost.take((y - self.taped) * wide + self.m)
        best = found.argmin(0), np.arange(len(self.m))
        self.ahead = y[best]
        return found[best], self.ahead


def _fits(steps: int, cells: int) -> bool:
    return steps <= LONGEST and (steps + 1) * (cells + 1) <= CELLS


_table = lru_cache(maxsize=2)(_Table)
