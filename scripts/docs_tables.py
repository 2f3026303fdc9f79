"""What the site says from the code: keys of the YAML files, costs of rules, classes by registry."""

from collections.abc import Iterator, Sequence
from functools import cache

import yaml

from snaprun import config, costs
from snaprun.cells import CELLS
from snaprun.commands import COMMANDS
from snaprun.costs.memory import in_units
from snaprun.engine.optim import OPTIMISERS
from snaprun.keys import Key, Page
from snaprun.losses import LOSSES
from snaprun.manual import Manual
from snaprun.paths import conf_dir
from snaprun.rules import RULES
from snaprun.seeding import stream
from snaprun.sparsity import SPARSITIES
from snaprun.tasks import TASKS
from snaprun.trackers import TRACKERS

MANUAL = Manual([conf_dir()], COMMANDS)
LISTS = ("experiment", "panel")  # groups whose files set keys of others, and have none of their own
LAUNCHER = "hydra/launcher"
REGISTRIES = {
    "cells": CELLS,
    "losses": LOSSES,
    "optimisers": OPTIMISERS,
    "rules": RULES,
    "sparsities": SPARSITIES,
    "tasks": TASKS,
    "trackers": TRACKERS,
}


def groups() -> list[str]:
    """Return the groups of all commands, and that of the launchers."""
    named = {group.path for name in COMMANDS for group in MANUAL.page(name).groups}
    return [*sorted(named), LAUNCHER]


def pages() -> Iterator[tuple[str, str]]:
    """Yield the name and the Markdown of a page for every command and for every group."""
    for name in COMMANDS:
        yield f"snaprun-{name}", _command(name)
    for group in groups():
        yield group.replace("/", "-"), _group(group)


def keys_of(choice: str) -> str:
    """Return a table of the keys of a choice such as rule=snap.

    >>> print(keys_of("rule=snap").splitlines()[2][:30])
    | `rule.n` | `1` | keep the en
    """
    group, name = choice.split("=")
    return _keys(MANUAL.chosen(group, name).keys) or "It has no keys.\n"


def costs_of(rules: Sequence[str], cell: str = "gru", layers: int = 1) -> str:
    """Return tables of the counted costs of rules on networks of the sizes in conf/cost.yaml.

    >>> print(costs_of(["frozen"]).splitlines()[2])
    | `frozen` | gru-128, 75 % | 15,360 | 0.35 | 0 B |
    """
    counts = [
        "| rule | network, sparsity | multiply-adds a step | × BPTT | kept, a lane |",
        "|---|---|--:|--:|--:|",
    ]
    orders = ["| rule | memory grows as | time grows as |", "|---|---|---|"]
    for rule in rules:
        counted = _counted(rule, cell, layers)
        for row in counted.itertuples():
            network = f"{cell}-{row.units}, {100 * row.sparsity:g} %"
            kept = in_units(row.state_bytes)
            counts.append(
                f"| `{rule}` | {network} | {row.macs:,} | {row.macs_to_bptt:.2f} | {kept} |"
            )
        first = counted.iloc[0]
        orders.append(f"| `{rule}` | {first.memory_order} | {first.time_order} |")
    return "\n".join([*counts, "", *orders]) + "\n"


@cache
def _counted(rule: str, cell: str, layers: int):
    """Return the costs of a rule under the defaults of `snaprun cost`, in a frame."""
    keys = {key.path: key.default for key in MANUAL.page("cost").keys}
    return costs.count(
        {cell: CELLS[cell]()},
        [costs.Size.read(size) for size in yaml.safe_load(keys["sizes"])],
        {rule: config.counted(rule)},
        layers=layers,
        inputs=int(keys["inputs"]),
        horizon=int(keys["horizon"]),
        lanes=1,
        moments=int(keys["moments"]),
        bytes_per_number=4,
        generator=stream(int(keys["seed"]), "mask"),
    )


def classes_of(kind: str) -> str:
    """Return a line for mkdocstrings for every class of a registry, such as cells."""
    made = {f"{found.__module__}.{found.__name__}" for found in REGISTRIES[kind].values()}
    shown = "    options:\n      heading_level: 3\n      members: false\n"
    return "\n".join(f"::: {path}\n{shown}" for path in sorted(made))


def expanded(directive: str) -> str:
    """Return what replaces `<!-- keys rule=snap -->`, `cost snap1` or `api cells`."""
    what, *words = directive.split()
    if what == "keys":
        return keys_of(*words)
    if what == "api":
        return classes_of(*words)
    options = dict(word.split("=") for word in words if "=" in word)
    rules = [word for word in words if "=" not in word]
    return costs_of(rules, options.get("cell", "gru"), int(options.get("layers", 1)))


def _command(name: str) -> str:
    page = MANUAL.page(name)
    groups = {group.path for group in page.groups}
    own = [key for key in page.keys if key.path not in groups]
    lines = [f"# snaprun {name}", "", f"`snaprun {name}`: {COMMANDS[name]}.", ""]
    lines += [*(f"    {line}" for line in page.examples), ""]
    if page.groups:
        lines += ["## Groups", "", "| group | default | what it chooses |", "|---|---|---|"]
        for group in page.groups:
            shown = group.path.replace("/", "-")
            about = _cell(group.comment.partition(":")[0])
            lines.append(f"| [`{group.path}=`]({shown}.md) | `{group.default}` | {about} |")
        lines.append("")
    return "\n".join([*lines, "## Keys", "", _keys(own)])


def _group(group: str) -> str:
    lines = [f"# {group}", ""]
    if group in LISTS:
        lines += ["| choice | what it is |", "|---|---|"]
        for name in MANUAL.choices(group):
            lines.append(f"| `{group}={name}` | {_cell(MANUAL.chosen(group, name).title)} |")
        return "\n".join(lines) + "\n"
    for name in MANUAL.choices(group):
        page = MANUAL.chosen(group, name)
        if group == LAUNCHER:
            page = _of_launcher(page)
        lines += [f"## {group}={name}", "", f"{_prose(page)}", "", _keys(page.keys), ""]
    return "\n".join(lines)


def _of_launcher(page: Page) -> Page:
    """Return the page with the user's keys, as they are typed, such as hydra.launcher.n_jobs."""
    own = [key for key in page.keys if not key.path.endswith("._target_")]
    return Page(page.head, [key._replace(path=key.path.replace("/", ".")) for key in own])


def _prose(page: Page) -> str:
    """Return the first comment of a file without its examples."""
    return _cell(" ".join(line for line in page.head if line.strip() not in page.examples))


def _keys(keys: Sequence[Key]) -> str:
    if not keys:
        return ""
    rows = (f"| `{key.path}` | `{key.default}` | {_cell(key.comment)} |" for key in keys)
    return "\n".join(["| key | default | meaning |", "|---|---|---|", *rows]) + "\n"


def _cell(text: str) -> str:
    """Return a text that may stand in a table."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
