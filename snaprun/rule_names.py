"""The words for learning rules: `snap2`, `tbptt8`, `bptt_cut5`, or a rule's own name."""

import re
from collections.abc import Mapping
from typing import Any

FED_BACK = {  # words for a rule and its rule.feedback
    "rflo_random": ("rflo", "random"),
    "eprop_random": ("eprop", "random"),
    "eprop_adaptive": ("eprop", "adaptive"),
}
BPTT = (
    r"(?:bptt|tbptt([1-9]\d*))"
    r"(?:_m(\d+(?:\.\d+)?(?:e-\d+|[kMGT]?i?B)?)(?:_(hidden|internal))?)?"
    r"(?:_cut([1-9]\d*))?"
)


def choices(word: str) -> dict[str, Any]:
    """Returns the choices, in dotted keys, that a word for a learning rule stands for.

    snapN is SnAp-N, tbpttT is BPTT with an update every T steps, and rflo_random, eprop_random and
    eprop_adaptive are rules with another feedback than the readout's. After bptt or tbpttT may
    follow _mM for rule.memory, _hidden or _internal for rule.policy, and _cutK for rule.truncate.
    Any other word is taken as the name of a rule.

    >>> choices("snap2")
    {'rule.name': 'snap', 'rule.n': 2}
    >>> choices("tbptt8")
    {'rule.name': 'bptt', 'train.update_every': 8}
    >>> choices("bptt_m0.05")
    {'rule.name': 'bptt', 'rule.memory': 0.05}
    >>> choices("uoro")
    {'rule.name': 'uoro'}
    """
    if word in FED_BACK:
        return dict(zip(("rule.name", "rule.feedback"), FED_BACK[word], strict=True))
    if found := re.fullmatch(r"snap(\d+)", word):
        return {"rule.name": "snap", "rule.n": int(found[1])}
    if found := re.fullmatch(BPTT, word):
        every, memory, policy, truncate = found.groups()
        chosen: dict[str, Any] = {"rule.name": "bptt"}
        if every:
            chosen["train.update_every"] = int(every)
        if memory:
            chosen["rule.memory"] = memory if memory.endswith("B") else float(memory)
        if policy:
            chosen["rule.policy"] = policy
        if truncate:
            chosen["rule.truncate"] = int(truncate)
        if _bptt(chosen) == word:
            return chosen
    return {"rule.name": word}


def word(choices: Mapping[str, Any]) -> str:
    """Returns the word for the rule of a configuration with these choices, in dotted keys.

    >>> word({"rule.name": "snap", "rule.n": 2})
    'snap2'
    """
    name = choices["rule.name"]
    if name == "bptt":
        return _bptt(choices)
    if (fed_back := f"{name}_{choices.get('rule.feedback')}") in FED_BACK:
        return fed_back
    return f"snap{choices.get('rule.n', '')}" if name == "snap" else name


def _bptt(choices: Mapping[str, Any]) -> str:
    every, memory = choices.get("train.update_every"), choices.get("rule.memory")
    policy, truncate = choices.get("rule.policy", "mixed"), choices.get("rule.truncate")
    found = f"tbptt{every}" if isinstance(every, int) else "bptt"
    if memory is not None:
        found += f"_m{memory.replace(' ', '') if isinstance(memory, str) else f'{memory:g}'}"
        found += f"_{policy}" if policy != "mixed" else ""
    return found if truncate is None else f"{found}_cut{truncate}"
