"""The words for learning rules: `snap2`, `tbptt8`, `rflo_random`, or a rule's own name."""

import re
from collections.abc import Mapping
from typing import Any

RANDOM_FEEDBACK = "rflo_random"


def choices(word: str) -> dict[str, Any]:
    """Returns the choices, in dotted keys, that a word for a learning rule stands for.

    snapN is SnAp-N, tbpttT is BPTT with an update every T steps, and rflo_random is RFLO with
    random feedback. Any other word is taken as the name of a rule.

    >>> choices("snap2")
    {'rule.name': 'snap', 'rule.n': 2}
    >>> choices("tbptt8")
    {'rule.name': 'bptt', 'train.update_every': 8}
    >>> choices("uoro")
    {'rule.name': 'uoro'}
    """
    if word == RANDOM_FEEDBACK:
        return {"rule.name": "rflo", "rule.feedback": "random"}
    if found := re.fullmatch(r"snap(\d+)", word):
        return {"rule.name": "snap", "rule.n": int(found[1])}
    if found := re.fullmatch(r"tbptt([1-9]\d*)", word):
        return {"rule.name": "bptt", "train.update_every": int(found[1])}
    return {"rule.name": word}


def word(choices: Mapping[str, Any]) -> str:
    """Returns the word for the rule of a configuration with these choices, in dotted keys.

    >>> word({"rule.name": "snap", "rule.n": 2})
    'snap2'
    """
    name, every = choices["rule.name"], choices.get("train.update_every")
    if name == "bptt" and isinstance(every, int):
        return f"tbptt{every}"
    if name == "rflo" and choices.get("rule.feedback") == "random":
        return RANDOM_FEEDBACK
    return f"snap{choices.get('rule.n', '')}" if name == "snap" else name
