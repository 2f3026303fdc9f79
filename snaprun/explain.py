"""What Hydra and OmegaConf say in paragraphs about a configuration, in one line with a remedy."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from snaprun import checks
from snaprun.arguments import no_key
from snaprun.keys import NAME
from snaprun.manual import Manual
from snaprun.paths import conf_dir

WRONG = (HydraException, OmegaConfBaseException)  # raised by a wrong configuration


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
    words = [word for word in overrides if word.partition("=")[0] != key]
    group, _, last = key.rpartition(".")
    accepted, remedy = list[str](), ""
    with contextlib.suppress(*WRONG), _composing():
        others = _of_job(words, group, last, command)
        composed = compose(command, others)
        keys = OmegaConf.select(composed, group) if group else composed
        if keys is None:
            return no_key(key, [], _meant_group(key, composed, command))
        if not OmegaConf.is_dict(keys):
            return f"{group}={keys} is not accepted: its keys are set as {group}.KEY=VALUE."
        names = [*keys, *(name for name in _groups(command) if name not in keys and not group)]
        prefix = f"{group}." if group else ""
        accepted = [f"{prefix}{name}" for name in names]
        if meant := [f"{prefix}{name}.{last}" for name in keys if _holds(keys, name, last)]:
            return no_key(key, accepted, f"Did you mean {' or '.join(meant)}?")
        remedy = _owners(key, command, others)
        if chosen := [
            word for word in others if word.startswith(f"{group}=") and word not in words
        ]:
            remedy = f"{chosen[0]} has no {key}. {remedy}".rstrip()
        elsewhere = [f"{name}.{last}" for name in composed if _holds(composed, name, last)]
        elsewhere += [last] if last in composed else []
        if not remedy and elsewhere and last != NAME:
            remedy = f"Did you mean {' or '.join(elsewhere)}?"
    return no_key(key, accepted, remedy)


def _groups(command: str) -> list[str]:
    """Return the groups that a command chooses from, also those of which it takes none."""
    return [group.path for group in Manual([conf_dir()], {}).page(command).groups]


def _of_job(words: Sequence[str], group: str, last: str, command: str) -> list[str]:
    """Return the words of a sweep's first job whose choice of the group lacks a key."""
    others = [word for word in words if not _several(word)]
    for word in words:
        if group and word.startswith(f"{group}=") and _several(word):
            values = OverridesParser.create().parse_override(word).sweep_string_iterator()
            for value in values:
                job = [*others, f"{group}={value}"]
                if last not in compose(command, job)[group]:
                    return job
    return others


def _owners(key: str, command: str, others: Sequence[str]) -> str:
    """Return the sentence that names the choices of the key's group that have the key, or ""."""
    group, _, last = key.rpartition(".")
    free = [word for word in others if not word.startswith((f"{group}=", f"{group}."))]
    owners = [
        f"{group}={name}"
        for name in (choices(group) if group else [])
        if last in compose(command, [*free, f"{group}={name}"])[group]
    ]
    return f"It belongs to {' and '.join(owners)}." if owners else ""


def _meant_group(key: str, composed: DictConfig, command: str) -> str:
    """Return what to write in place of a key whose group is not there, or ""."""
    of, _, rest = key.partition(".")
    if (choice := rest.partition(".")[0]) in choices(of):  # of a group with several at once
        return f"It belongs to {of}={choice}."
    meant = [f"{name}.{rest}" for name in composed if _takes(composed, f"{name}.{rest}")]
    return checks.near(key, meant) or checks.near(of, _groups(command))


def _takes(composed: DictConfig, key: str) -> bool:
    """Return whether a dotted key is there, or may be added to its group."""
    group, _, last = key.rpartition(".")
    with contextlib.suppress(OmegaConfBaseException):  # a value is there instead of a group
        under = OmegaConf.select(composed, group) if group else composed
        return OmegaConf.is_dict(under) and (last in under or not OmegaConf.is_struct(under))
    return False


def refuse_deletions(command: str, overrides: Sequence[str]) -> None:
    """Raise UserError for `~KEY` if the choices have the key, whose default would fill its place.

    A key that only an experiment adds, and keys of panels, which hold more than arguments, may go.
    """
    deletions = [w for w in overrides if w.startswith("~") and not w.startswith("~panel")]
    if not deletions:
        return
    others = [w for w in overrides if not w.startswith(("~", "experiment=")) and not _several(w)]
    composed = DictConfig({}, flags={"struct": True})
    with contextlib.suppress(*WRONG), _composing():
        composed = compose(command, others)
    for word in deletions:
        key = word[1:].partition("=")[0]
        if key in _groups(command) or _takes(composed, key):
            raise checks.UserError(
                f"{word} is not accepted: keys are set, not deleted: {key}=VALUE."
            )


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
