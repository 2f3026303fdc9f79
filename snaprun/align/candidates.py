"""The rules that are compared, by their names in `align.rules`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from snaprun import checks, rule_names
from snaprun.rules import BPTT, Frozen, LearningRule


class Candidate(NamedTuple):
    """A rule, and the number of steps between its gradients, on which truncated BPTT depends."""

    rule: LearningRule
    every: int | None = None  # None: the whole sequence


def candidates(
    words: Sequence[str], rule_of: Callable[[Mapping[str, Any]], LearningRule]
) -> dict[str, Candidate]:
    """Build the candidates that `words`, in the notation of snaprun.rule_names, stand for.

    `rule_of` builds a rule from the configuration keys of a word. Raises UserError if a word is
    unknown.
    """
    found: dict[str, Candidate] = {}
    for word in words:
        chosen = rule_names.choices(word)
        try:
            found[word] = Candidate(rule_of(chosen), chosen.get("train.update_every"))
        except checks.UserError as error:
            fed_back = ", ".join(rule_names.FED_BACK)
            accepted = f"snapN, tbpttT, bptt_cutK, {fed_back} or the name of a rule"
            checks.refuse("align.rules", word, accepted, str(error))
    return found


def own(name: str, rule: LearningRule, update_every: int | str) -> dict[str, Candidate]:
    """Return the rule that trains (`name` in YAML) as a candidate; {} if the core is frozen."""
    if isinstance(rule, Frozen):
        return {}
    chosen = {f"rule.{key}": value for key, value in vars(rule).items()}
    chosen |= {"rule.name": name, "train.update_every": update_every}
    every = update_every if isinstance(rule, BPTT) and isinstance(update_every, int) else None
    return {rule_names.word(chosen): Candidate(rule, every)}
