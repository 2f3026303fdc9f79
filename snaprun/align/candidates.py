"""The rules that are compared, by their names in `align.rules`."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from snaprun.rules import BPTT, Frozen, LearningRule, SnAp


class Candidate(NamedTuple):
    """A rule, and how many steps apart its gradients are taken: those of BPTT depend on it."""

    rule: LearningRule
    every: int | None = None  # None: the whole sequence


def candidates(
    words: Sequence[str], rule_of: Callable[[str], LearningRule]
) -> dict[str, Candidate]:
    """The candidates called `words`: tbpttT is BPTT cut every T steps, the rest are `rule_of`'s."""
    found: dict[str, Candidate] = {}
    for word in words:
        cut = re.fullmatch(r"tbptt([1-9]\d*)", word)
        found[word] = Candidate(BPTT(), int(cut[1])) if cut else Candidate(rule_of(word))
    return found


def own(name: str, rule: LearningRule, update_every: int | str) -> dict[str, Candidate]:
    """The rule that trains, `name` in YAML, as a candidate by its word; none for a frozen core."""
    if isinstance(rule, Frozen):
        return {}
    if isinstance(rule, BPTT) and isinstance(update_every, int):
        return {f"tbptt{update_every}": Candidate(rule, update_every)}
    number = rule.n if isinstance(rule, SnAp) and rule.n else ""
    return {f"{name}{number}": Candidate(rule)}
