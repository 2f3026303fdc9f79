"""A default is the same in the YAML files and in the code that they configure."""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir

from snaprun import Learner, commands, config, status, studies
from snaprun.identity import WHEREABOUTS
from snaprun.paths import conf_dir

# Those that the code calls as they are called; snap2 or adam_decay are others under a new name.
CHOICES = [
    (group, file.stem)
    for group in config.GROUPS
    for file in sorted((conf_dir() / group).glob("*.yaml"))
    if yaml.safe_load(file.read_text()).get("name") == file.stem
]


class Seen(Exception):
    """The command has taken its own keys, and what is under test is over."""


def shown(command: str, *overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return config.resolve(compose(command, list(overrides)))


@pytest.fixture
def taken(monkeypatch) -> list[tuple[str, Any, dict[str, Any]]]:
    """The group, the target and the values of every call that takes them from a configuration."""
    found: list[tuple[str, Any, dict[str, Any]]] = []
    arguments = config.arguments

    def watched(where: str, target: Any, values: Any, *rest: Any, **beside: Any) -> Any:
        found.append((where, target, dict(values)))
        return arguments(where, target, values, *rest, **beside)

    monkeypatch.setattr(config, "arguments", watched)
    return found


def differences(taken: list[tuple[str, Any, dict[str, Any]]]) -> Iterator[str]:
    """Each keyword whose default is not the value of its key in YAML."""
    for where, target, values in taken:
        for name, value in values.items():
            default = inspect.signature(target).parameters[name].default
            if default is not inspect.Parameter.empty and (
                value != default or isinstance(value, bool) != isinstance(default, bool)
            ):
                yield f"{where}.{name} is {value} in YAML and {default} in {target}"


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_a_groups_file_holds_the_defaults_of_its_class(group, choice, taken):
    config.parts(shown("train", f"{group}={choice}"))
    ((_, target, _),) = own = [call for call in taken if call[0] == group]
    kinds = inspect.signature(target).parameters
    # One class has a file for each of its names, and the defaults of one of them.
    other = "name" in kinds and kinds["name"].default != choice
    assert bool(list(differences(own))) == other


def test_the_page_of_train_holds_the_defaults_of_its_keys(taken):
    plain = shown("train")
    config.parts(plain)
    assert {where for where, *_ in taken} == {"", *config.GROUPS}
    assert not list(differences(taken))
    # What run_folder takes for an absent one.
    assert not any(plain[key] for key, kind in WHEREABOUTS.items() if kind is bool)


@pytest.mark.parametrize("command", commands.COMMANDS)
def test_the_page_of_a_command_holds_the_defaults_of_its_keys(command, taken, monkeypatch, here):
    plain = shown(command, *["run=none"] * (command in ("sample", "evaluate", "export")))
    watched, own = config.arguments, {"", command} & {"", *plain}

    def until_all_are_taken(where: str, *rest: Any, **beside: Any) -> Any:
        made = watched(where, *rest, **beside)
        if own <= {where for where, *_ in taken}:
            raise Seen
        return made

    monkeypatch.setattr(config, "arguments", until_all_are_taken)
    with pytest.raises(Seen):
        commands.run(command, plain, False)
    assert not list(differences([call for call in taken if call[0] in own]))


@pytest.mark.parametrize(
    ("command", "key", "function", "keyword"),
    [
        ("status", "state", status.Question, "state"),
        ("status", "where", status.Question, "where"),
        ("status", "columns", status.Question, "columns"),
        ("status", "format", status.Question, "form"),
        ("reproduce", "choose", studies.reproduce, "choose"),
    ],
)
def test_what_a_command_calls_has_its_default(command, key, function, keyword):
    assert inspect.signature(function).parameters[keyword].default == shown(command)[key]


def test_a_learner_has_the_defaults_of_train():
    parts = config.parts(shown("train"))
    own = Learner(parts.task.inputs, parts.task.outputs)._parts
    assert own.architecture.units == parts.architecture.units
    assert own.architecture.hidden == parts.architecture.hidden
    for name in ("cell", "sparsity"):
        assert same(getattr(own.architecture, name), getattr(parts.architecture, name))
    assert same(own.rule, parts.rule)
    assert same(own.optimiser, parts.optimiser)
    assert same(own.machine, parts.machine)
    assert own.options.update_every == parts.options.update_every
    assert own.options.average == parts.options.average
    assert own.options.lanes == 1  # one stream, while a run has a minibatch


def same(one: object, other: object) -> bool:
    return type(one) is type(other) and vars(one) == vars(other)
