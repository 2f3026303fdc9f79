"""The simplest schedule in use, for comparison: equal segments, of which one is taped at a time."""

from dataclasses import dataclass

import numpy as np

from snaprun.rules import BPTT
from snaprun.rules.schedule import BACK, DROP, HOLD, RESTORE, TAPE, Plan, Schedule, count, peak


@dataclass(frozen=True)
class Segments(Schedule):
    """Holds the state before each segment of `length` steps; the reverse pass tapes one by one.

    >>> Segments(hidden=10, internal=70, budget=160, length=2).plan(3).tolist()
    [-1, 2, -1, -2, -3, -5, -4, -2, -2, -3, -3, -5]
    """

    length: int = 1

    def forwards(self, steps: int) -> int:
        """Returns the forward steps of a window: all but the last segment's are made twice."""
        return count(self.plan(steps))

    def plan(self, steps: int) -> Plan:
        """Returns the instructions of a window."""
        sizes = [min(self.length, steps - start) for start in range(0, steps, self.length)]
        out = [HOLD]
        for size in sizes[:-1]:
            out += [size, HOLD]
        for number, size in enumerate(reversed(sizes)):
            out += [RESTORE] * (number > 0) + [TAPE] * size + [BACK] * size + [DROP]
        return np.array(out, np.int32)


def in_segments(length: int) -> BPTT:
    """Returns BPTT that replays segments of `length` steps."""

    def schedule(steps: int, hidden: int, internal: int) -> Segments:
        plan = Segments(hidden, internal, hidden + internal, length=length).plan(steps)
        return Segments(hidden, internal, peak(plan, hidden, internal), length=length)

    rule = BPTT(memory=1.0)
    vars(rule)["schedule"] = schedule  # not a subclass: the engines know BPTT itself
    return rule
