"""Configurations in words: rules, networks, and the settings that tell two series apart."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snaprun import rule_names
from snaprun.figures.style import DEGREES, LOOKS

CELLS = {"vanilla": "vanilla", "gru": "GRU", "lstm": "LSTM", "lif": "LIF", "alif": "ALIF"}
FED_BACK = {"rflo": "RFLO", "eprop": "e-prop"}  # rules that may have another feedback
SNAP1_OVER_BPTT = "SnAp-1 / BPTT, both once a sequence"  # a ratio of the bench
# The kinds of rows of the bench's budgets, beside the policies.
FULL_TAPE, SEGMENTS, CHECKPOINT, THEORY = "full tape", "√T segments", "checkpoint", "theory"
CEILING_NOT_REACHED = "ceiling not reached by its own measurement"  # likewise
PER_PANEL = " | "  # between values of a key that differ from panel to panel
LEVELS = {"uniform": "{:.4g} % sparse", "magnitude": "pruned to {:.4g} %"}


@dataclass(frozen=True)
class NetworkWords:
    """A network in words, and the configuration keys that these words express."""

    text: str
    told: frozenset[str]


@dataclass(frozen=True)
class RuleWords:
    """A learning rule in words, the keys that these words express, its look and its order."""

    text: str
    told: frozenset[str]
    family: str  # the key of style.LOOKS
    degree: int  # the T or n that its look shows, or 0
    order: tuple[Any, ...]


def rule(choices: Mapping[str, Any]) -> RuleWords:
    """Return the rule of a configuration in dotted keys: `SnAp-1`, `TBPTT(8)`, `RTRL`, …"""
    name = choices["rule.name"]
    told, number = {"rule.name"}, 0
    if name == "snap":
        told.add("rule.n")
        number = choices.get("rule.n", 1)
        text = f"SnAp-{number}"
        family = text if text in LOOKS else "SnAp-n"
    elif name == "bptt":
        told |= {"train.update_every", "rule.memory", "rule.truncate"}
        every = choices.get("train.update_every", "sequence")
        memory, cut = choices.get("rule.memory"), choices.get("rule.truncate")
        truncated = every != "sequence"
        number = every if truncated else 0
        text, family = (f"TBPTT({every})", "TBPTT") if truncated else ("BPTT", "BPTT")
        if cut is not None:
            text, family, number = f"{text} cut every {cut}", "BPTT, cut", cut
        if memory is not None:
            told.add("rule.policy")
            text += _of_the_tape(memory, choices.get("rule.policy", "mixed"))
        if memory is not None and cut is None:
            family, number = "BPTT, bounded", 0 if isinstance(memory, str) else round(1 / memory)
    elif name in FED_BACK:
        told.add("rule.feedback")
        feedback = choices.get("rule.feedback", "readout")
        text = FED_BACK[name] + (f" ({feedback} feedback)" if feedback != "readout" else "")
        family = text
    elif name == "sab":
        told.add("rule.detach")
        text = family = "SAB (detached bank)" if choices.get("rule.detach") else "SAB"
    else:
        text = name.upper() if name.upper() in LOOKS else name
        family = text if text in LOOKS else "other"
    degree = number if family in DEGREES else 0
    order = (list(LOOKS).index(family), sortable(number), text)
    return RuleWords(text, frozenset(told), family, degree, order)


def _of_the_tape(memory: Any, policy: str) -> str:
    """Return `, 5 % of the tape` or `, 64MB of the tape`, with the policy unless it is mixed."""
    size = memory if isinstance(memory, str) else f"{100 * memory:.3g} %"
    return f", {size} of the tape" + (f" ({policy})" if policy != "mixed" else "")


def called(word: str) -> RuleWords:
    """Return the rule that snaprun.rule_names calls `word`, such as `snap2` or `rtrl`."""
    return rule(rule_names.choices(word))


def network(choices: Mapping[str, Any]) -> NetworkWords:
    """Return the network of a configuration in dotted keys: `GRU-128, 75 % sparse`."""
    told = {
        "task.name",
        "cell.name",
        "cell.units",
        "cell.layers",
        "sparsity.name",
        "sparsity.share_slots",
    }
    name = choices["cell.name"]
    units, layers = choices["cell.units"], choices.get("cell.layers", 1)
    times = f" × {layers}" if layers != 1 and isinstance(units, int) else ""  # a list tells them
    text = f"{CELLS.get(name, name)}-{units}{times}, "
    if choices["sparsity.name"] in LEVELS and "sparsity.level" in choices:
        told.add("sparsity.level")
        text += LEVELS[choices["sparsity.name"]].format(100 * choices["sparsity.level"])
    else:
        text += choices["sparsity.name"]
    if choices.get("sparsity.share_slots"):
        text += ", slots share one mask"
    return NetworkWords(text, frozenset(told))


def benched(name: str) -> str:
    """Return a network of the bench in words: `gru-128@0.75` as `GRU-128 at 75 %`."""
    units, _, level = name.partition("-")[2].partition("@")
    return f"{benched_cell(name)}-{units} at {100 * float(level):.4g} %"


def benched_cell(name: str) -> str:
    """Return the cell of a network of the bench in words."""
    cell = name.partition("-")[0]
    return CELLS.get(cell, cell)


def of_lanes(count: object) -> str:
    """Return a number of lanes in words."""
    return f"{count} lane{'s' * (int(str(count)) > 1)}"


def facet_order(choices: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return a sort key: by cell, units, layers, sparsity, then everything else."""
    cells = list(CELLS)
    name = choices["cell.name"]
    return (
        cells.index(name) if name in cells else len(cells),
        name,
        sortable(choices["cell.units"]),
        sortable(choices.get("cell.layers", 1)),
        sortable(choices.get("sparsity.level", 0)),
        [(key, sortable(value)) for key, value in sorted(choices.items())],
    )


def settings(choices: Mapping[str, Any]) -> list[str]:
    """Return settings with short keys where these are unique: `lr=0.001`, `optim=adam`, …"""
    tails = [key.rsplit(".")[-1] for key in choices]
    texts = []
    for key, tail in zip(choices, tails, strict=True):
        group = key.split(".")[0]
        short = group if tail == "name" else tail if tails.count(tail) == 1 else key
        texts.append(f"{short}={_value(choices[key])}")
    return texts


def sortable(value: Any) -> tuple[Any, ...]:
    """Return a sort key for values of any type: numbers by size, then the rest as text."""
    if isinstance(value, int | float):
        return (0, value, "")
    return (1, 0, str(value))


def _value(value: Any) -> str:
    if isinstance(value, tuple):  # a value a facet
        return PER_PANEL.join(map(_value, value)) if len(value) < 4 else "various"
    if isinstance(value, float):
        return f"{value:g}"
    text = "none" if value is None else str(value)
    return short(text.lower() if isinstance(value, bool) else text, 20)


def short(text: str, most: int = 40) -> str:
    """Return a text, or only its end if it is too long for a figure."""
    return text if len(text) <= most else "…" + text[1 - most :]
