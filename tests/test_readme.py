"""What README.md shows is what a newcomer sees."""

import re
import shlex
from pathlib import Path

import pytest

from snaprun.cli import _main
from snaprun.learner import Learner

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
CONSOLE = re.findall(r"^```console\n(.*?)^```", README, re.M | re.S)
FEW = "train.tokens=2000"  # instead of the tokens of the tutorial


def sessions():
    """Yield each command of the tutorial in words, with the lines that it prints."""
    for block in CONSOLE:
        for session in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, *printed = session.splitlines()
            yield shlex.split(command), printed


def shape(line):
    """A line without what depends on the machine and on the number of tokens."""
    return re.sub(r"\s+", " ", re.sub(r"rule=\w+|\d[\d.,]*", "#", line)).strip()


def test_the_tutorial_prints_what_it_shows(here, capfd):
    commands = 0
    for words, shown in sessions():
        few = [FEW] if words[1] == "train" else []
        assert _main([*words[1:], *few]) == 0
        printed = [shape(line) for line in capfd.readouterr().out.splitlines()]
        wanted = [shape(line) for line in shown if line != "..."]
        if words[1] == "status":  # the order of the rules is that of what they learned
            printed, wanted = sorted(printed), sorted(wanted)
        if shown[0] == "...":
            printed = printed[-len(wanted) :]
        if shown[-1] == "...":
            assert len(printed) > len(wanted)
            printed = printed[: len(wanted)]
        assert printed == wanted, words
        commands += 1
    assert commands == 4


def test_the_python_of_the_readme_runs():
    (code,) = re.findall(r"^```python\n(.*?)^```", README, re.M | re.S)
    scope = {"stream": [([0.1, 0.2, 0.3], [0.5])] * 2}
    exec(code, scope)
    assert isinstance(scope["learner"], Learner)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_a_link_of_the_readme_leads_to_a_file(link):
    assert (Path(__file__).parents[1] / link).exists()
