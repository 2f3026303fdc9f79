"""From a composed configuration to plain objects: keys, types, ranges, and the folder of a run.

The keys of a group are the keyword arguments of the class that it configures, so a new cell,
rule or task brings its schema with it. Hydra refuses keys that stand in no YAML file;
`arguments` refuses those that the class does not take, also where `+key=` went round Hydra.
torch is imported only where objects are built.
"""

import contextlib
import inspect
import re
import types
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from snaprun import checks, registry, rule_names
from snaprun.identity import WHEREABOUTS, canonical, run_id
from snaprun.paths import conf_dir

if TYPE_CHECKING:
    from snaprun.cells import Cell
    from snaprun.panels import Panel
    from snaprun.rules import LearningRule
    from snaprun.train.machine import Machine
    from snaprun.train.network import Architecture, Network
    from snaprun.train.options import TrainOptions
    from snaprun.train.run import Parts

T = TypeVar("T")

_WRONG = (HydraException, OmegaConfBaseException)  # what a wrong configuration raises
PLUGINS = "plugins"  # the key of the modules from outside
GROUPS = ("task", "cell", "sparsity", "rule", "readout", "optim", "train")


def resolve(config: DictConfig) -> dict[str, Any]:
    """The configuration as plain nested dicts with every interpolation resolved.

    The plug-ins that it names are imported. Where it names none the key is left out.
    """
    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        key = error.full_key
        raise checks.UserError(
            f"{key} has no value: write {key}=VALUE; --help shows it."
        ) from error
    except OmegaConfBaseException as error:
        raise checks.UserError(" ".join(str(error).split())) from error
    plain = canonical(plain)
    if plugins := plain.pop(PLUGINS, None):
        registry.load(plugins)
        plain[PLUGINS] = plugins
    return plain


def composed(command: str, overrides: Sequence[str]) -> dict[str, Any]:
    """The resolved configuration of `snaprun command overrides…`; within a command, UserError."""
    try:
        return resolve(compose(command, list(overrides)))
    except _WRONG as error:
        why = explanation(error, command, overrides)
        raise checks.UserError(f"snaprun {command} {' '.join(overrides)}: {why}") from error


def explanation(error: Exception, command: str, overrides: Sequence[str]) -> str:
    """What Hydra and OmegaConf say in paragraphs about a configuration, as one line."""
    said = " ".join(str(error).split())
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override!r} cannot be read: expected KEY=VALUE. "
            "Quote a value that holds blanks, brackets or commas: KEY='\"…\"'."
        )
    if found := re.match(r"Ambiguous value for argument '(.+?)'", said):
        return f"{found[1]} has several values: add -m to sweep over them, or quote the value."
    if "group override must be a string" in said:
        return f"{said}: expected GROUP=CHOICE; keys of a group are set as GROUP.KEY=VALUE."
    if found := re.match(r"Could not override '(.+?)'", said):
        return _unknown_key(found[1], command, overrides)
    if found := re.search(
        r"Could not find '(.+?)/([^/]*?)' Available options in '.+?': (.+)", said
    ):
        group, choice = found[1], found[2]
        options = found[3].partition(" Config search path")[0].split()
        said = f"{group}={choice} is not accepted: expected one of {', '.join(options)}."
        return f"{said} {checks.near(choice, options)}".rstrip()
    return f"{said} (HYDRA_FULL_ERROR=1 shows the trace.)"


def _unknown_key(key: str, command: str, overrides: Sequence[str]) -> str:
    """One line that names the keys that stand beside an unknown one."""
    others = [word for word in overrides if word.partition("=")[0] != key]
    group = key.rpartition(".")[0]
    accepted: list[str] = []
    with contextlib.suppress(*_WRONG), contextlib.ExitStack() as stack:
        if not GlobalHydra.instance().is_initialized():  # before the first job
            stack.enter_context(initialize_config_dir(str(conf_dir()), version_base="1.3"))
        composed = compose(command, others)
        keys = OmegaConf.select(composed, group) if group else composed
        if keys is None:
            meant = [".".join([str(name), *key.split(".")[1:]]) for name in composed]
            near = checks.near(key, meant)
            return f"{_no_key(key, [])} {near}".rstrip()
        if not OmegaConf.is_dict(keys):
            return f"{group}={keys} is not accepted: its keys are set as {group}.KEY=VALUE."
        accepted = [f"{group}.{name}" if group else str(name) for name in keys]
    return _no_key(key, accepted)


def _no_key(key: str, accepted: Sequence[str]) -> str:
    listed = f": accepted are {', '.join(accepted)}" if accepted else ""
    return f"{key} is not a key here{listed}. {checks.near(key, accepted)}".rstrip()


def choices(group: str) -> list[str]:
    """The names of a group's files, also of those in folders of the user's; within a command."""
    return GlobalHydra.instance().config_loader().get_group_options(group)


def search_path() -> list[str]:
    """The overrides by which another command finds the user's own folders of YAML files."""
    folders = [
        f"{source.schema}://{source.path}"
        for source in HydraConfig.get().runtime.config_sources
        if "command-line" in source.provider
    ]
    return [f"hydra.searchpath=[{','.join(map(quoted, folders))}]"] if folders else []


def quoted(text: str) -> str:
    """`text` as a string on the command line, whatever it holds; as it is where that will do."""
    plain = r"(?!(null|true|false|nan|inf)$)[a-z/][\w/.-]*"  # the others are no strings
    if re.fullmatch(plain, text, re.ASCII | re.IGNORECASE):
        return text
    # Backslashes count only before a quote, and at the end, where ours comes.
    escaped = re.sub(
        r"(\\*)('|$)", lambda found: 2 * found[1] + "\\" * bool(found[2]) + found[2], text
    )
    return f"'{escaped}'"


def parts(plain: Mapping[str, Any]) -> "Parts":
    """The plain objects of a training run from a resolved configuration; raises UserError."""
    from snaprun.rules import RULES
    from snaprun.tasks import TASKS
    from snaprun.train.optim import OPTIMISERS
    from snaprun.train.run import Parts

    return Parts(
        machine=machine(plain, WHEREABOUTS),
        architecture=architecture(plain),
        rule=construct("rule", RULES, plain),
        optimiser=construct("optim", OPTIMISERS, plain),
        options=options(plain),
        task=construct("task", TASKS, plain),  # last: it may read or fetch a text
    )


def options(plain: Mapping[str, Any]) -> "TrainOptions":
    """The keys under `train`."""
    from snaprun.train.options import TrainOptions

    return TrainOptions(**arguments("train", TrainOptions, plain["train"]))


def machine(plain: Mapping[str, Any], apart: Collection[str] = ()) -> "Machine":
    """The keys at the top that are neither groups nor plug-ins nor in `apart`."""
    from snaprun.train.machine import Machine

    others = (*GROUPS, *apart, PLUGINS)
    here = {key: value for key, value in plain.items() if key not in others}
    return Machine(**arguments("", Machine, here, beside=others))


def architecture(plain: Mapping[str, Any]) -> "Architecture":
    """Cell, units, sparsity and readout."""
    from snaprun.sparsity import SPARSITIES
    from snaprun.train.network import Architecture
    from snaprun.train.options import ReadoutOptions

    built_cell, units = cell(plain)
    readout = ReadoutOptions(**arguments("readout", ReadoutOptions, plain["readout"]))
    return Architecture(built_cell, units, construct("sparsity", SPARSITIES, plain), readout.hidden)


def cell(plain: Mapping[str, Any]) -> "tuple[Cell, int]":
    """The cell and its number of units, which is a key of the group but not the cell's own."""
    from snaprun.cells import CELLS

    group = {key: value for key, value in plain["cell"].items() if key != "units"}
    units = converted("cell.units", plain["cell"].get("units"), int)
    return construct("cell", CELLS, {"cell": group}), checks.at_least("cell.units", units, 1)


def rule(chosen: Mapping[str, Any]) -> "LearningRule":
    """The rule that a word of snaprun.rule_names has chosen, in dotted keys."""
    from snaprun.rules import RULES

    keys = {key.removeprefix("rule."): chosen[key] for key in chosen if key.startswith("rule.")}
    return construct("rule", RULES, {"rule": keys})


def counted(word: str) -> "LearningRule":
    """The rule called `word`: a name of the registry, or snapN for SnAp-N."""
    chosen = rule_names.choices(word)
    return rule(chosen if chosen.keys() <= {"rule.name", "rule.n"} else {"rule.name": word})


def panel(keys: Any, budget: str) -> "Panel":
    """The panel of a configuration group under a budget."""
    from snaprun import panels

    if not isinstance(keys, Mapping):
        checks.refuse("panel", keys, "a group of keys, as in conf/panel")
    keys = panels.under(keys, budget)
    selection = keys.get("selection")
    if not isinstance(selection, Mapping):
        checks.refuse("panel.selection", selection, "keys under it: seeds and overrides")
    keys["selection"] = panels.Selection(
        **arguments("panel.selection", panels.Selection, selection)
    )
    return panels.Panel(**arguments("panel", panels.Panel, keys))


def untrained(plain: Mapping[str, Any]) -> "Network":
    """The network of a run's configuration before training, on the CPU."""
    from snaprun.tasks import TASKS
    from snaprun.train.machine import DTYPES

    task = TASKS[checks.one_of("task.name", plain["task"]["name"], list(TASKS))]
    dtype = DTYPES[checks.one_of("dtype", plain["dtype"], list(DTYPES))]
    return architecture(plain).build(task.inputs, task.outputs, plain["seed"], dtype)


def construct(group: str, registry: Mapping[str, type[T]], plain: Mapping[str, Any]) -> T:
    """The object that `plain[group]` configures: `name` is its class, the rest its arguments."""
    values = plain[group]
    if not isinstance(values, Mapping) or "name" not in values:
        checks.refuse(group, values, f"a group with a name, one of {', '.join(registry)}")
    target = registry[checks.one_of(f"{group}.name", values["name"], list(registry))]
    rest = {key: value for key, value in values.items() if key != "name"}
    return target(**arguments(group, target, rest))


def arguments(
    where: str, target: Any, values: Mapping[str, Any], beside: Collection[str] = ()
) -> dict[str, Any]:
    """`values` checked against the names and annotated types of `target`'s keyword arguments.

    `where` is the group that holds them, "" at the top, where other keys may stand `beside` them.
    Raises UserError for an unknown or missing key or a wrong type.
    """
    parameters = inspect.signature(target).parameters
    prefix = f"{where}." if where else ""
    for key in values:
        if key not in parameters:
            accepted = [prefix + name for name in (*beside, *parameters)] or ["none"]
            raise checks.UserError(_no_key(prefix + key, accepted))
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in values:
            raise checks.UserError(f"{prefix}{name} is missing: expected a value.")
    return {
        key: converted(prefix + key, value, parameters[key].annotation)
        for key, value in values.items()
    }


def converted(what: str, value: Any, annotation: Any) -> Any:
    """`value` as the annotated type; an integral float (1e6) passes for an int."""
    union = get_origin(annotation) in (Union, types.UnionType)
    options = get_args(annotation) if union else (annotation,)
    for option in options:
        if get_origin(option) is Literal and value in get_args(option):
            return value
        kind = isinstance(option, type) and option not in (int, float)
        if kind and isinstance(value, option):
            return value
        number = isinstance(value, int | float) and not isinstance(value, bool)
        whole = isinstance(value, int) or (number and value.is_integer())
        if number and (option is float or (option is int and whole)):
            with contextlib.suppress(OverflowError):  # an integer beyond all floats
                return option(value)
    checks.refuse(what, value, " or ".join(map(_described, options)))


def _described(option: Any) -> str:
    words: dict[Any, str] = {
        int: "an integer",
        float: "a number",
        bool: "true or false",
        str: "a string",
        list: "a list",
        dict: "a mapping",
        type(None): "null",
    }
    if get_origin(option) is Literal:
        return "one of " + ", ".join(map(str, get_args(option)))
    return words.get(option, str(option))


def run_folder(plain: Mapping[str, Any]) -> Path:
    """`results`/`name`/run_id, where the run of this configuration lies; raises UserError."""
    for group in GROUPS:
        values = plain.get(group)
        if not isinstance(values, Mapping) or (group != "train" and "name" not in values):
            checks.refuse(group, values, f"a group of keys with a name, as in conf/{group}")
    for key, kind in WHEREABOUTS.items():
        converted(key, plain.get(key, False) if kind is bool else plain[key], kind)
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", plain["name"]):
        checks.refuse("name", plain["name"], "1 to 100 letters, digits, '_', '-' and '.'")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in plain["results"]):
        checks.refuse("results", plain["results"], "a path without control characters")
    return Path(plain["results"]) / plain["name"] / run_id(plain)


def require_named(folder: Path, plain: Mapping[str, Any]) -> None:
    """UserError unless the run of this configuration would lie in a folder of this name."""
    try:
        name = run_id(plain)
    except (LookupError, TypeError, AttributeError):
        name = "no run"
    if name != folder.name:
        remedy = "Give the folder its own name back, or start the run afresh with restart=true."
        checks.refuse("configuration in", str(folder), f"that of this run, not of {name}", remedy)
