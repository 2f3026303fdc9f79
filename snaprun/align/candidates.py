"""The rules that are compared, by their names in `align.rules`."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from snaprun import checks
from snaprun.rules import BPTT, RFLO, Frozen, LearningRule, SnAp

RANDOM_FEEDBACK = "rflo_random"


class Candidate(NamedTuple):
    """A rule, and how many steps apart its gradients are taken: those of BPTT depend on it."""

    rule: LearningRule
    every: int | None = None  # None: the whole sequence


def candidates(
    words: Sequence[str], rule_of: Callable[[str], LearningRule]
) -> dict[str, Candidate]:
    """The candidates called `words`.

    tbpttT is BPTT cut every T steps, rflo_random RFLO with random feedback, any other `rule_of`'s.
    Raises UserError.
    """
    found: dict[str, Candidate] = {}
    for word in words:
        cut = re.fullmatch(r"tbptt([1-9]\d*)", word)
        if cut:
            found[word] = Candidate(BPTT(), int(cut[1]))
        else:
            try:
                rule = RFLO("random") if word == RANDOM_FEEDBACK else rule_of(word)
            except checks.UserError as error:
                accepted = f"snapN, tbpttT, {RANDOM_FEEDBACK} or the name of a rule"
                checks.refuse("align.rules", word, accepted, str(error))
            found[word] = Candidate(rule)
    return found


def own(name: str, rule: LearningRule, update_every: int | str) -> dict[str, Candidate]:
    """The rule that trains, `name` in YAML, as a candidate by its word; none for a frozen core."""
    if isinstance(rule, Frozen):
        return {}
    if isinstance(rule, BPTT) and isinstance(update_every, int):
        return {f"tbptt{update_every}": Candidate(rule, update_every)}
    if isinstance(rule, RFLO) and rule.feedback == "random":
        return {RANDOM_FEEDBACK: Candidate(rule)}
    number = rule.n if isinstance(rule, SnAp) and rule.n else ""
    return {f"{name}{number}": Candidate(rule)}
