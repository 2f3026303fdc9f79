"""The keys of the command line with their defaults and comments, as the YAML files write them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import yaml
from yaml.nodes import MappingNode, Node

HYDRAS = ("defaults", "hydra")  # keys that speak to Hydra
PACKAGE = "# @package "  # begins the line that says where a file's keys stand
GLOBAL = "_global_"  # the package of a file whose keys stand at the top, such as an experiment's
EXAMPLE = r" *snaprun \w+( |$)"
NAME = "name"  # of the class that a group configures; its file's name says as much


class Key(NamedTuple):
    """A key: its path, such as train.lanes, its default and its comment."""

    path: str
    default: str
    comment: str


@dataclass(frozen=True)
class Page:
    """What one YAML file says: its first comment, its choices of groups, and its keys."""

    head: list[str]
    keys: list[Key]
    groups: list[Key] = field(default_factory=list)  # path: the group, default: its choice
    bases: list[str] = field(default_factory=list)  # files whose keys it has, too

    @property
    def title(self) -> str:
        """The first sentence of the first comment, without its examples."""
        said = (line for line in self.head if not re.match(EXAMPLE, line))
        return re.split(r"(?<! al)\.(?: |$)|:$", " ".join(said), maxsplit=1)[0]

    @property
    def examples(self) -> list[str]:
        """The commands in the first comment."""
        return [line.strip() for line in self.head if re.match(EXAMPLE, line)]


def read(file: Path, group: str = "") -> Page:
    """Return what a YAML file says; the keys of a group's file are `group.key`.

    >>> from snaprun.paths import conf_dir
    >>> page = read(conf_dir() / "rule" / "snap.yaml", "rule")
    >>> page.title, page.keys[0].path, page.keys[0].default
    ('SnAp-n for any n: rule=snap rule.n=4', 'rule.n', '1')
    """
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines()
    root = yaml.compose(text)
    if lines[0].startswith(PACKAGE):
        group = lines[0].removeprefix(PACKAGE).strip().removeprefix(GLOBAL)
    page = Page(_head(lines), [], [], [])
    if not isinstance(root, MappingNode):
        return page
    for name, node in root.value:
        if name.value == "defaults":
            page.groups.extend(_groups(node, lines))
            page.bases.extend(x.value for x in node.value if isinstance(x.value, str))
        elif name.value not in HYDRAS and not (group and name.value == NAME):
            prefix = f"{group}." if group else ""
            page.keys.extend(_keys(f"{prefix}{name.value}", node, lines))
    return replace(page, bases=[base for base in page.bases if base != "_self_"])


def _head(lines: Sequence[str]) -> list[str]:
    head = []
    for line in lines:
        if not line.startswith("#"):
            break
        if not line.startswith(PACKAGE):
            head.append(line[1:].removeprefix(" "))
    return head


def _groups(node: Node, lines: Sequence[str]) -> Iterator[Key]:
    for item in node.value:
        if isinstance(item, MappingNode):
            ((group, choice),) = item.value
            if " " not in group.value:  # not `override hydra/…`
                yield Key(group.value, _written(choice, lines), _comment(choice, lines))


def _keys(path: str, node: Node, lines: Sequence[str]) -> Iterator[Key]:
    if isinstance(node, MappingNode) and node.value and not node.flow_style:
        for name, below in node.value:
            yield from _keys(f"{path}.{name.value}", below, lines)
    else:
        yield Key(path, _written(node, lines), _comment(node, lines))


def _written(node: Node, lines: Sequence[str]) -> str:
    """Return a value as the file writes it, in one line."""
    start, end = node.start_mark, node.end_mark
    rows = list(lines[start.line : end.line + 1])
    rows[-1] = rows[-1][: end.column]
    rows[0] = rows[0][start.column :]
    return " ".join(" ".join(rows).split())


def _comment(node: Node, lines: Sequence[str]) -> str:
    """Return the comment behind a value, on its last line."""
    rest = lines[node.end_mark.line][node.end_mark.column :]
    return rest.partition("#")[2].strip()
