"""The choices in the comments of the YAML files are those that the commands accept."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from snaprun.bench import PARTS
from snaprun.cli import _main
from snaprun.paths import conf_dir

CONF = conf_dir()
WRONG = "neither"


def keys(node: yaml.Node, path: tuple[str, ...] = ()) -> Iterator[tuple[int, str]]:
    """The line and the dotted key of every scalar in a mapping; of defaults the group alone."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from keys(value, (*path, key.value))
    elif isinstance(node, yaml.SequenceNode) and path == ("defaults",):
        for entry in node.value:
            yield from keys(entry)
    elif isinstance(node, yaml.ScalarNode) or not node.value:
        yield node.start_mark.line, ".".join(path)


def listed(comment: str) -> set[str]:
    """The words of `about: one | two (in short) | three; more`; what is no one word is prose.

    A list that ends with … leaves room for what is added later, or by a plug-in.
    """
    plain = re.sub(r"\(.*?\)", "", comment).partition(";")[0].rpartition(":")[2]
    return {word.strip() for word in plain.split("|") if " " not in word.strip()}


def command(file: Path, key: str) -> list[str]:
    """The words that give a key of a YAML file a value that nothing accepts."""
    *groups, page = file.relative_to(CONF).with_suffix("").parts
    match groups:
        case []:
            kind = [f"kind={key.partition('.')[0]}"] * (page == "plot" and "." in key)
            return [page, *kind, f"{key}={WRONG}"]
        case ["panel", *_]:
            return ["reproduce", "panel=copy_gru128", f"panel.{key}={WRONG}"]
    stands = re.match(r"# @package (?!_global_)(\S+)", file.read_text())
    return ["train", f"{groups[0]}={page}", f"{stands[1] if stands else groups[0]}.{key}={WRONG}"]


LISTS = [
    pytest.param(file, key, comment, id=f"{file.relative_to(CONF)}-{key}")
    for file in sorted({*CONF.rglob("*.yaml")} - {*CONF.glob("hydra/**/*.yaml")})  # of others' keys
    for lines in [file.read_text().splitlines()]
    for line, key in keys(yaml.compose(file.read_text()))
    for comment in [lines[line].partition(" # ")[2]]
    if " | " in comment
]


def test_there_are_lists():
    assert len(LISTS) >= 20


@pytest.mark.parametrize(("file", "key", "comment"), LISTS)
def test_a_comment_lists_what_is_accepted(file, key, comment, here, capfd):
    assert _main(command(file, key)) == 2
    said = capfd.readouterr().err
    accepted = re.search(r"is not accepted: expected (?:one of )?(.+?)\.\s", said)
    assert accepted, said
    words = re.split(r", | or ", accepted[1])
    known, named = {word for word in words if " " not in word}, listed(comment)
    assert named - {"…"} <= known if "…" in named else named == known


def test_the_page_of_the_bench_explains_every_part():
    (line,) = re.findall(r"^  parts: \[(.*?)\] +# (.*)$", (CONF / "bench.yaml").read_text(), re.M)
    by_name = ["budget"]  # takes minutes
    assert line[0].split(", ") + by_name == re.findall(r"(\w+): ", line[1]) == list(PARTS)
