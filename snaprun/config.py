"""A composed configuration is checked here and turned into plain objects and a run's folder.

The keys of a group are the keyword arguments of the class that the group configures, so a new
cell, rule or task brings its own schema. Hydra refuses keys that no YAML file lists; `arguments`
refuses keys that the class does not take, including those added past Hydra by `+key=`. torch is
imported only where objects are built.
"""

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hydra import compose
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from snaprun import checks, explain, registry, rule_names
from snaprun.arguments import arguments, converted
from snaprun.identity import WHEREABOUTS, canonical, run_id, stack
from snaprun.keys import read
from snaprun.paths import conf_dir

if TYPE_CHECKING:
    from snaprun.cells import Cell
    from snaprun.model.network import Architecture
    from snaprun.rules import LearningRule
    from snaprun.run.machine import Machine
    from snaprun.run.options import TrainOptions
    from snaprun.run.parts import Parts
    from snaprun.search import Options as SearchOptions
    from snaprun.studies import Panel
    from snaprun.trackers import Trackers

T = TypeVar("T")

PLUGINS = "plugins"  # the key that lists the user's own modules
GROUPS = ("task", "cell", "sparsity", "rule", "readout", "optim", "train")
# conf/evaluate.yaml composes a task that takes any key, because only the run knows its keys.
ConfigStore.instance().store(
    "open_task", DictConfig({"task": DictConfig({}, flags={"struct": False})})
)


def resolve(config: DictConfig) -> dict[str, Any]:
    """Return the configuration as plain nested dicts with every interpolation resolved.

    The plug-ins named in the configuration are imported; without any, their key is left out.
    Raises UserError if a value is missing or cannot be resolved.
    """
    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise checks.UserError(_without_value(str(error.full_key))) from error
    except OmegaConfBaseException as error:
        raise checks.UserError(" ".join(str(error).split())) from error
    if isinstance(plain, dict) and isinstance(under := plain.get("experiment"), dict):
        raise checks.UserError(
            "the experiment's YAML file must begin with the line '# @package _global_'; without it "
            f"its keys ({', '.join(map(str, under))}) are not those of the run."
        )
    plain = canonical(plain)
    if isinstance(cell := plain.get("cell"), dict):
        plain["cell"] = stack(cell)
    if plugins := plain.pop(PLUGINS, None):
        registry.load(plugins)
        plain[PLUGINS] = plugins
    return plain


def _without_value(key: str) -> str:
    """Return one line about a key that must be set, with its comment."""
    said = ""
    if HydraConfig.initialized():
        command = HydraConfig.get().job.config_name
        said = next(
            (k.comment for k in read(conf_dir() / f"{command}.yaml").keys if k.path == key), ""
        )
    return f"{key} has no value: write {key}=VALUE" + (f", {said}." if said else ".")


def composed(command: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Return the resolved configuration of `snaprun command overrides…`.

    Works only inside a command, where Hydra is initialised. Raises UserError if it is wrong.
    """
    explain.refuse_deletions(command, overrides)
    try:
        return resolve(compose(command, list(overrides)))
    except explain.WRONG as error:
        why = explain.explanation(error, command, overrides)
        raise checks.UserError(f"snaprun {command} {' '.join(overrides)}: {why}") from error


def search_path() -> list[str]:
    """Return the overrides that make another command find the user's own folders of YAML files."""
    folders = [
        f"{source.schema}://{source.path}"
        for source in HydraConfig.get().runtime.config_sources
        if "command-line" in source.provider
    ]
    return [f"hydra.searchpath=[{','.join(map(quoted, folders))}]"] if folders else []


def quoted(text: str) -> str:
    """Return `text` quoted for Hydra's command line, or unchanged if it needs no quotes."""
    plain = r"(?!(null|true|false|nan|inf)$)[a-z/][\w/.-]*"  # the excluded words are no strings
    if re.fullmatch(plain, text, re.ASCII | re.IGNORECASE):
        return text
    # Hydra reads backslashes as escapes only before a quote, the closing one included.
    escaped = re.sub(
        r"(\\*)('|$)", lambda found: 2 * found[1] + "\\" * bool(found[2]) + found[2], text
    )
    return f"'{escaped}'"


def parts(plain: Mapping[str, Any]) -> "Parts":
    """Build the objects of a training run from a resolved configuration; raises UserError."""
    from snaprun.engine.optim import OPTIMISERS
    from snaprun.rules import RULES
    from snaprun.run.parts import Parts
    from snaprun.tasks import TASKS

    chosen = construct("rule", RULES, plain)
    return Parts(
        machine=machine(plain, WHEREABOUTS),
        architecture=architecture(plain, chosen),
        rule=chosen,
        optimiser=construct("optim", OPTIMISERS, plain),
        options=options(plain),
        task=construct("task", TASKS, plain),  # last, because it may read or fetch a text
    )


def trackers(plain: Mapping[str, Any]) -> "Trackers":
    """Build the trackers under `logger`, and TensorBoard's if `tensorboard` is true."""
    from snaprun.trackers import TRACKERS, Trackers

    groups = dict(converted("logger", plain.get("logger", {}), dict))
    if plain["tensorboard"]:
        groups.setdefault("tensorboard", {})
    made = {}
    for name, keys in groups.items():
        target = TRACKERS[checks.one_of("logger", name, list(TRACKERS))]
        keys = converted(f"logger.{name}", keys, dict)
        made[name] = target(**arguments(f"logger.{name}", target, keys))
    return Trackers(made)


def options(plain: Mapping[str, Any]) -> "TrainOptions":
    """Return the options under `train`."""
    from snaprun.run.options import TrainOptions

    return TrainOptions(**arguments("train", TrainOptions, plain["train"]))


def machine(plain: Mapping[str, Any], apart: Collection[str] = ()) -> "Machine":
    """Build the machine from the top-level keys other than groups, plug-ins and `apart`."""
    from snaprun.run.machine import Machine

    others = (*GROUPS, *apart, PLUGINS)
    here = {key: value for key, value in plain.items() if key not in others}
    return Machine(**arguments("", Machine, here, beside=others))


def architecture(plain: Mapping[str, Any], rule: "LearningRule | None" = None) -> "Architecture":
    """Build the architecture from cell, units, sparsity and readout, and what the rule adds.

    `rule` is that of the configuration, if it is built already.
    """
    from snaprun.model.network import Architecture
    from snaprun.rules import RULES
    from snaprun.run.options import ReadoutOptions
    from snaprun.sparsity import SPARSITIES

    built_cell, units = cell(plain)
    readout = ReadoutOptions(**arguments("readout", ReadoutOptions, plain["readout"]))
    sparsity = construct("sparsity", SPARSITIES, plain)
    if rule is None and plain["rule"].get("name") in RULES:  # else one of a plug-in, not named here
        rule = construct("rule", RULES, plain)
    reminder = rule and rule.reminder
    return Architecture(built_cell, units, sparsity, readout.hidden, reminder)


def cell(plain: Mapping[str, Any]) -> "tuple[Cell, int | list[int]]":
    """Return the cell and the units of its layers, one number or several."""
    from snaprun.cells import CELLS
    from snaprun.model.network import stacked

    group = {key: value for key, value in plain["cell"].items() if key not in ("units", "layers")}
    units = converted("cell.units", plain["cell"].get("units"), int | list)
    layers = converted("cell.layers", plain["cell"].get("layers", 1), int)
    return construct("cell", CELLS, {"cell": group}), stacked(
        units, layers, ("cell.units", "cell.layers")
    )


def rule(chosen: Mapping[str, Any]) -> "LearningRule":
    """Build the rule from dotted keys `rule.…`, as snaprun.rule_names.choices returns them."""
    from snaprun.rules import RULES

    keys = {key.removeprefix("rule."): chosen[key] for key in chosen if key.startswith("rule.")}
    return construct("rule", RULES, {"rule": keys})


def counted(word: str) -> "LearningRule":
    """Build the rule called `word`: a name in the registry, snapN, or BPTT with its own keys."""
    chosen = rule_names.choices(word)
    named = {"rule.name", "rule.n", "rule.memory", "rule.policy", "rule.truncate"}
    return rule(chosen if chosen.keys() <= named else {"rule.name": word})


def panel(keys: Any, budget: str) -> "Panel":
    """Build the panel of a configuration group under a budget."""
    from snaprun import studies

    if not isinstance(keys, Mapping):
        checks.refuse("panel", keys, "a group of keys, as in conf/panel")
    keys = studies.under(keys, budget)
    selection = keys.get("selection")
    if not isinstance(selection, Mapping):
        checks.refuse("panel.selection", selection, "keys under it: seeds and overrides")
    keys["selection"] = studies.Selection(
        **arguments("panel.selection", studies.Selection, selection)
    )
    return studies.Panel(**arguments("panel", studies.Panel, keys))


def construct(group: str, registry: Mapping[str, type[T]], plain: Mapping[str, Any]) -> T:
    """Build the object of `plain[group]`: `name` chooses the class, other keys are arguments."""
    values = plain[group]
    if not isinstance(values, Mapping) or "name" not in values:
        checks.refuse(group, values, f"a group with a name, one of {', '.join(registry)}")
    target = registry[checks.one_of(f"{group}.name", values["name"], list(registry))]
    rest = {key: value for key, value in values.items() if key != "name"}
    return target(**arguments(group, target, rest))


def of_run(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a trial that are those of its run: all but those of the search."""
    return {key: value for key, value in plain.items() if key != "search"}


def search(plain: Mapping[str, Any]) -> "SearchOptions":
    """Return the options under `search`."""
    from snaprun.search import Options

    group = plain.get("search")
    if not isinstance(group, Mapping):
        checks.refuse("search", group, "keys under it, as in conf/search.yaml")
    return Options(**arguments("search", Options, group))


def run_folder(plain: Mapping[str, Any]) -> Path:
    """Return the folder of this configuration's run, `results`/`name`/run_id; raises UserError."""
    for group in GROUPS:
        values = plain.get(group)
        if not isinstance(values, Mapping) or (group != "train" and "name" not in values):
            checks.refuse(group, values, f"a group of keys with a name, as in conf/{group}")
    for key, kind in WHEREABOUTS.items():
        if key in plain:
            converted(key, plain[key], kind)
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", plain["name"]):
        checks.refuse("name", plain["name"], "1 to 100 letters, digits, '_', '-' and '.'")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in plain["results"]):
        checks.refuse("results", plain["results"], "a path without control characters")
    return Path(plain["results"]) / plain["name"] / run_id(plain)


def require_named(folder: Path, plain: Mapping[str, Any]) -> None:
    """Raise UserError unless the run of this configuration belongs in a folder of this name."""
    try:
        name = run_id(plain)
    except (LookupError, TypeError, AttributeError):
        name = "no run"
    if name != folder.name:
        remedy = "Give the folder its own name back, or start the run afresh with restart=true."
        checks.refuse("configuration in", str(folder), f"that of this run, not of {name}", remedy)
