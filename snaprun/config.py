"""A composed configuration is checked here and turned into plain objects and a run's folder.

The keys of a group are the keyword arguments of the class that the group configures, so a new
cell, rule or task brings its own schema. Hydra refuses keys that no YAML file lists; `arguments`
refuses keys that the class does not take, including those added past Hydra by `+key=`. torch is
imported only where objects are built.
"""

import contextlib
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from snaprun import checks, registry, rule_names
from snaprun.arguments import arguments, converted, no_key
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

WRONG = (HydraException, OmegaConfBaseException)  # raised by a wrong configuration
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
    try:
        return resolve(compose(command, list(overrides)))
    except WRONG as error:
        why = explanation(error, command, overrides)
        raise checks.UserError(f"snaprun {command} {' '.join(overrides)}: {why}") from error


def explanation(error: Exception, command: str, overrides: Sequence[str]) -> str:
    """Return in one line what Hydra and OmegaConf say in paragraphs about a configuration."""
    said = " ".join(str(error).split())
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override!r} cannot be read: expected KEY=VALUE. "
            "Quote a value that holds blanks, brackets or commas: KEY='\"…\"'."
        )
    if found := re.match(r"(?:Ambiguous value for argument|Sweep parameters) '(.+?)'", said):
        if found[1].startswith("logger="):
            together = f"logger=[{found[1].removeprefix('logger=')}]"
            return f"{found[1]} has several values: several trackers at once are {together}."
        return f"{found[1]} has several values: add -m to sweep over them, or quote the value."
    if "group override must be a string" in said and "logger=null" in overrides:
        return "logger=null is not accepted: no tracker is logger=[]."
    if "group override must be a string" in said:
        how = "keys of a group are set as GROUP.KEY=VALUE, and logger=[] is none"
        return f"{said}: expected GROUP=CHOICE; {how}."
    if found := re.match(r"Could not override '(.+?)'", said):
        return _unknown_key(found[1], command, overrides)
    if found := re.search(
        r"Could not find '(.+?)/([^/]*?)' Available options in '.+?': (.+)", said
    ):
        group, choice = found[1], found[2]
        options = found[3].partition(" Config search path")[0].split()
        return _no_choice(group, choice, options)
    if found := re.match(r"In '.+?': Could not load '(.+?)/([^/]*?)'", said):  # one of a list
        with _composing():
            return _no_choice(found[1], found[2], choices(found[1]))
    return f"{said} (HYDRA_FULL_ERROR=1 shows the trace.)"


def _no_choice(group: str, choice: str, options: Sequence[str]) -> str:
    said = f"{group}={choice} is not accepted: expected one of {checks.listed(options)}."
    return f"{said} {checks.near(choice, options)}".rstrip()


@contextlib.contextmanager
def _composing() -> Iterator[None]:
    """Let Hydra find the YAML files inside the block, also before the first job."""
    with contextlib.ExitStack() as stack:
        if not GlobalHydra.instance().is_initialized():
            stack.enter_context(initialize_config_dir(str(conf_dir()), version_base="1.3"))
        yield


def _unknown_key(key: str, command: str, overrides: Sequence[str]) -> str:
    """Return one line that names the accepted keys beside an unknown key."""
    others = [w for w in overrides if w.partition("=")[0] != key and not _several(w)]
    group = key.rpartition(".")[0]
    accepted, owners = list[str](), list[str]()
    with contextlib.suppress(*WRONG), _composing():
        composed = compose(command, others)
        keys = OmegaConf.select(composed, group) if group else composed
        if keys is None:
            of, _, choice = group.partition(".")
            if choice in choices(of):  # of a group with several choices at once
                return no_key(key, [], f"It belongs to {of}={choice}.")
            groups = [
                str(k) for k in composed if OmegaConf.is_dict(OmegaConf.select(composed, str(k)))
            ]
            meant = [".".join([group, *key.split(".")[1:]]) for group in groups]
            near = checks.near(key, meant)
            return f"{no_key(key, [])} {near}".rstrip()
        if not OmegaConf.is_dict(keys):
            return f"{group}={keys} is not accepted: its keys are set as {group}.KEY=VALUE."
        prefix, last = (f"{group}.", key.removeprefix(f"{group}.")) if group else ("", key)
        accepted = [f"{prefix}{name}" for name in keys]
        if meant := [f"{prefix}{name}.{last}" for name in keys if _holds(keys, name, last)]:
            return no_key(key, accepted, f"Did you mean {' or '.join(meant)}?")
        others = [word for word in others if not word.startswith((f"{group}=", f"{group}."))]
        owners = [
            f"{group}={name}"
            for name in (choices(group) if group else [])
            if key.rpartition(".")[2] in compose(command, [*others, f"{group}={name}"])[group]
        ]
    return no_key(key, accepted, f"It belongs to {' and '.join(owners)}." if owners else "")


def _several(word: str) -> bool:
    """Return whether an override gives its key several values."""
    with contextlib.suppress(HydraException):
        return OverridesParser.create().parse_override(word).is_sweep_override()
    return False


def _holds(keys: DictConfig, name: Any, key: str) -> bool:
    under = OmegaConf.select(keys, str(name))
    return OmegaConf.is_dict(under) and key in under


def choices(group: str) -> list[str]:
    """Return the names of a group's YAML files, the user's own included; only inside a command."""
    return GlobalHydra.instance().config_loader().get_group_options(group)


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
