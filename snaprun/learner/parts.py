"""The arguments of a learner are turned into the parts of a run, and into plain words and back."""

import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from snaprun import checks, rule_names
from snaprun.arguments import arguments, converted
from snaprun.cells import CELLS, Cell
from snaprun.engine.base import SEQUENCE
from snaprun.engine.optim import OPTIMISERS, Optimiser
from snaprun.losses import LOSSES, Loss, Measure
from snaprun.model.network import Architecture, stacked
from snaprun.registry import Registry
from snaprun.require import MOST
from snaprun.rules import RULES, LearningRule
from snaprun.run.machine import Machine
from snaprun.run.options import ReadoutOptions, TrainOptions
from snaprun.run.parts import Parts
from snaprun.sparsity import SPARSITIES, Dense, Sparsity, Uniform

T = TypeVar("T")

BY_NAME: dict[str, Registry[Any]] = {
    "cell": CELLS,
    "rule": RULES,
    "sparsity": SPARSITIES,
    "loss": LOSSES,
    "optim": OPTIMISERS,
}
ELSEWHERE = ("device", "engine", "threads")  # what a loaded learner may change
# A key of the command line, as the checks of the parts name it.
_KEY = re.compile(rf"(?<![\w./'\"])({'|'.join((*BY_NAME, 'readout', 'train'))})\.(\w+)")


@contextmanager
def naming_arguments(**named: str) -> Iterator[None]:
    """Let a UserError name arguments of Python where it names keys of the command line.

    That of `train.lanes` is `lanes`, of `rule.n` it is `n`, of `readout.name` it is `readout`;
    `named` are others.
    """
    try:
        yield
    except checks.UserError as error:
        names = {"name": r"\1"} | named
        said = _KEY.sub(lambda key: key.expand(names.get(key[2], r"\2")), str(error))
        error.args = (said,)
        raise


@dataclass
class Stream:
    """The data of a learner as a run counts a task's: one time step at a time, none held out."""

    inputs: int
    outputs: int
    loss: Loss
    one_hot: bool = False
    measures: tuple[Measure, ...] = ()
    held_out_lanes: int = 0
    length_key: str = ""

    def steps(self) -> int:
        """Return 1."""
        return 1


@naming_arguments()
def read(given: Mapping[str, Any]) -> Parts[Stream]:
    """Build the parts from the arguments of a Learner; raises UserError."""
    train = {key: given[key] for key in ("lanes", "average")} | {"tokens": MOST}  # without end
    rule, fixed = read_rule(given["rule"], given["rule_args"])
    every = given["update_every"]
    if fixed is not None and every not in (None, fixed):
        checks.refuse("update_every", every, f"{fixed} for rule={given['rule']}")
    if (every := every if fixed is None else fixed) is not None:
        train["update_every"] = every
    if rule.replays and every == SEQUENCE:
        remedy = "A bounded memory is planned before a window begins, and a stream tells no length."
        checks.refuse("update_every", every, "an integer beside memory", remedy)
    optim_args = _mapping("optim_args", given["optim_args"])
    rate = {} if given["lr"] is None else {"lr": given["lr"]}
    if rate and "lr" in optim_args:
        checks.refuse("lr", given["lr"], f"none beside optim_args={optim_args}")
    where = {key: given[key] for key in ("seed", "device", "dtype", "engine", "threads")}
    return Parts(
        task=Stream(
            count("inputs", given["inputs"]),
            count("outputs", given["outputs"]),
            _part("loss", Loss, given["loss"], {}),
        ),
        architecture=_architecture(given),
        rule=rule,
        optimiser=_part("optim", Optimiser, given["optim"], optim_args | rate),
        options=TrainOptions(**arguments("train", TrainOptions, train)),
        machine=Machine(**arguments("", Machine, where)),
    )


def _architecture(given: Mapping[str, Any]) -> Architecture:
    cell = read_cell(given["cell"], given["cell_args"])
    sparsity = read_sparsity(given["sparsity"], given["sparsity_args"])
    readout = {"name": given["readout"]}
    if given["hidden"] is not None or given["readout"] == "linear":
        readout["hidden"] = given["hidden"] or 0
    hidden = ReadoutOptions(**arguments("readout", ReadoutOptions, readout)).hidden
    units = converted("units", given["units"], int | list | tuple)
    layers = converted("layers", given["layers"], int)
    return Architecture(cell, stacked(units, layers), sparsity, hidden)


def read_cell(chosen: Any, args: Any) -> Cell:
    """Return a cell from its name or an object."""
    return _part("cell", Cell, chosen, _mapping("cell_args", args))


def read_rule(chosen: Any, args: Any) -> tuple[LearningRule[Any], int | None]:
    """Return a rule from its word, name or object, and the `update_every` that a word fixes."""
    own, every = _mapping("rule_args", args), None
    if isinstance(chosen, str):
        said: dict[str, Any] = (
            {"rule.name": chosen} if chosen in RULES else rule_names.choices(chosen)
        )
        every, chosen = said.pop("train.update_every", None), said.pop("rule.name")
        fixed = {key.removeprefix("rule."): value for key, value in said.items()}
        for key in fixed.keys() & own.keys():
            if own[key] != fixed[key]:
                checks.refuse(key, own[key], f"{fixed[key]}, as the rule's word says")
        own |= fixed
    return _part("rule", LearningRule, chosen, own), every


def read_sparsity(chosen: Any, args: Any) -> Sparsity:
    """Return a sparsity from the share of dead weights, its name or an object."""
    own = _mapping("sparsity_args", args)
    if isinstance(chosen, int | float) and not isinstance(chosen, bool):
        if not chosen and not own:
            return Dense()
        with naming_arguments(level="sparsity"):
            return Uniform(**arguments("sparsity", Uniform, {"level": chosen} | own))
    return _part("sparsity", Sparsity, chosen, own)


def count(what: str, value: Any) -> int:
    """Return `value` as an integer of at least 1."""
    return checks.at_least(what, converted(what, value, int), 1)


@naming_arguments()
def _part(what: str, base: type[T], chosen: Any, args: Mapping[str, Any]) -> T:
    """Return the object that `chosen` names in its registry, or `chosen` if it is an object."""
    registry = BY_NAME[what]
    if isinstance(chosen, str):
        kind = registry[checks.one_of(what, chosen, list(registry))]
        return kind(**arguments(what, kind, args))
    if not isinstance(chosen, base):
        checks.refuse(what, chosen, f"one of {', '.join(registry)}, or a {base.__name__}")
    if args:
        checks.refuse(f"arguments of {what}", dict(args), "none beside an object")
    return chosen


def _mapping(what: str, args: Any) -> dict[str, Any]:
    if args is not None and not isinstance(args, Mapping):
        checks.refuse(what, args, "a dict of arguments by name")
    return dict(args or {})


def words(given: Mapping[str, Any], parts: Parts[Stream]) -> dict[str, Any]:
    """Return the arguments as strings, numbers and dicts; None for an object without a name."""
    said = dict(given)
    made = {
        "cell": parts.architecture.cell,
        "rule": parts.rule,
        "sparsity": parts.architecture.sparsity,
        "loss": parts.task.loss,
        "optim": parts.optimiser,
    }
    for what in BY_NAME:
        if not isinstance(said[what], str | int | float):
            name, args = _named(what, made[what])
            said[what] = name or None
            if args:
                said[f"{what}_args"] = args
    return said


def _named(what: str, made: Any) -> tuple[str, dict[str, Any]]:
    """Return a name and arguments that make the same object again, or an empty name."""
    name = BY_NAME[what].name_of(made)
    keys = inspect.signature(type(made)).parameters
    args = {key: getattr(made, key) for key in keys if hasattr(made, key)}
    plain = all(isinstance(value, str | int | float | None) for value in args.values())
    if name and plain and vars(type(made)(**args)) == vars(made):
        return name, args
    return "", {}


def merged(said: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Return saved `words` with `others` in their places; raises UserError."""
    lost = [what for what in BY_NAME if what in said and said[what] is None]
    for key in others:
        checks.one_of("load", key, (*lost, *ELSEWHERE))
    for what in lost:
        if what not in others:
            remedy = f"Learner.load(path, {what}=…) with the object that it was made with"
            raise checks.UserError(f"{what} is not in the file: expected {remedy}.")
    return {**said, **others}
