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
from snaprun.core import RecurrentCore, Sizes
from snaprun.costs.memory import in_units, predict
from snaprun.engine.native import lacks
from snaprun.engine.optim import OPTIMISERS, Optimiser
from snaprun.hardware import available_bytes
from snaprun.losses import LOSSES, Loss
from snaprun.model.network import Architecture, stacked
from snaprun.registry import Registry
from snaprun.rules import RULES, LearningRule
from snaprun.run.machine import Machine, takes_native
from snaprun.run.memory import LEAST
from snaprun.run.options import ReadoutOptions, TrainOptions
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


@dataclass(frozen=True)
class Parts:
    """The plain objects that make up a learner."""

    inputs: int
    outputs: int
    architecture: Architecture
    rule: LearningRule[Any]
    loss: Loss
    optim: Optimiser
    options: TrainOptions
    machine: Machine


@naming_arguments()
def read(given: Mapping[str, Any]) -> Parts:
    """Build the parts from the arguments of a Learner; raises UserError."""
    train = {key: given[key] for key in ("lanes", "average")}
    rule, fixed = read_rule(given["rule"], given["rule_args"])
    every = given["update_every"]
    if fixed is not None and every not in (None, fixed):
        checks.refuse("update_every", every, f"{fixed} for rule={given['rule']}")
    if (every := every if fixed is None else fixed) is not None:
        train["update_every"] = every
    optim_args = _mapping("optim_args", given["optim_args"])
    rate = {} if given["lr"] is None else {"lr": given["lr"]}
    if rate and "lr" in optim_args:
        checks.refuse("lr", given["lr"], f"none beside optim_args={optim_args}")
    where = {key: given[key] for key in ("seed", "device", "dtype", "engine", "threads")}
    return Parts(
        inputs=count("inputs", given["inputs"]),
        outputs=count("outputs", given["outputs"]),
        architecture=_architecture(given),
        rule=rule,
        loss=_part("loss", Loss, given["loss"], {}),
        optim=_part("optim", Optimiser, given["optim"], optim_args | rate),
        options=TrainOptions(**arguments("train", TrainOptions, train)),
        machine=Machine(**arguments("", Machine, where)),
    )


@naming_arguments()
def require_memory(parts: Parts, core: RecurrentCore | None = None) -> None:
    """Raise UserError if the learner cannot fit into memory, counted from its `core` once drawn."""
    architecture, options, machine = parts.architecture, parts.options, parts.machine
    others = {
        "lanes": options.lanes,
        "window": options.update_every if isinstance(options.update_every, int) else 1,
        "outputs": parts.outputs,
        "hidden": architecture.hidden,
        "itemsize": machine.dtype.itemsize,
        "threads": machine.threads,
    }
    cell, sparsity = architecture.cell, architecture.sparsity
    if core is None:
        counts = Sizes.before(cell, sparsity, architecture.units, parts.inputs, **others)
    else:
        counts = Sizes.of(core, **others)
    chosen = cell, machine.device, machine.dtype, parts.rule, parts.optim, parts.loss
    needed = predict(
        counts,
        parts.rule,
        None if takes_native(machine, lacks(*chosen)) else machine.backend,
        moments=len(parts.optim.moments),
        copies=int(options.average is not None),
        batch_steps=1,
        held_out_lanes=0,
        prunes=sparsity.prunes,
    )
    left, bound = available_bytes()
    # Before the mask is drawn, the count may be too large (run/memory.py says by how much).
    if needed.total > left * (1 if core else LEAST):
        raise checks.UserError(
            f"{architecture.choice}, readout.hidden={architecture.hidden}, lanes={options.lanes}, "
            f"rule={type(parts.rule).__name__}: this needs about "
            f"{in_units(needed.total)} of memory, and {in_units(left)} is left {bound}. "
            f"Take {parts.rule.lighter or 'fewer units'}, a smaller readout.hidden or fewer lanes."
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


def words(given: Mapping[str, Any], parts: Parts) -> dict[str, Any]:
    """Return the arguments as strings, numbers and dicts; None for an object without a name."""
    said = dict(given)
    made = {"sparsity": parts.architecture.sparsity, "cell": parts.architecture.cell}
    for what in BY_NAME:
        if not isinstance(said[what], str | int | float):
            name, args = _named(what, made.get(what) or getattr(parts, what))
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
