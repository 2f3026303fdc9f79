"""The words for learning rules: `snap2`, `tbptt8`, `rflo_random`, or a rule's own name."""

import re
from collections.abc import Mapping
from typing import Any

RANDOM_FEEDBACK = "rflo_random"


def choices(word: str) -> dict[str, Any]:
    """The choices, in dotted keys, that a word stands for.

    snapN is SnAp-N, tbpttT is BPTT with an update every T steps, rflo_random is RFLO with random
    feedback; any other word is taken for the name of a rule.
    """
    if word == RANDOM_FEEDBACK:
        return {"rule.name": "rflo", "rule.feedback": "random"}
    if found := re.fullmatch(r"snap(\d+)", word):
        return {"rule.name": "snap", "rule.n": int(found[1])}
    if found := re.fullmatch(r"tbptt([1-9]\d*)", word):
        return {"rule.name": "bptt", "train.update_every": int(found[1])}
    return {"rule.name": word}


def word(choices: Mapping[str, Any]) -> str:
    """The word for a configuration's rule, whose choices it has in dotted keys."""
    name, every = choices["rule.name"], choices.get("train.update_every")
    if name == "bptt" and isinstance(every, int):
        return f"tbptt{every}"
    if name == "rflo" and choices.get("rule.feedback") == "random":
        return RANDOM_FEEDBACK
    return f"snap{choices.get('rule.n', '')}" if name == "snap" else name
