"""The subcommands: each is a Hydra application with its own conf/<command>.yaml."""

import atexit
import logging
import os
import re
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from snaprun import __version__, commands
from snaprun.checks import UserError
from snaprun.config import resolve
from snaprun.paths import conf_dir

log = logging.getLogger(__name__)

USER_MISTAKE, FAILED, INTERRUPTED = 2, 1, 130

USAGE = f"""snaprun {__version__}: online training of recurrent networks

  snaprun train    train one run, or a sweep with -m
  snaprun plot     figures from the metrics of runs
  snaprun cost     what each rule costs: multiply-adds and bytes, counted
  snaprun verify   check gradients against independent computations
  snaprun sample   text from a trained character model

snaprun COMMAND --help lists a command's keys, --cfg job shows its configuration.
eval "$(snaprun -sc install=bash)" completes commands and keys (also zsh, fish).
"""


def main() -> None:
    """Run the command in `sys.argv` and exit: 0, 1 where a run failed, 2 for a user's mistake."""
    sys.exit(_main(sys.argv[1:]))


def _main(argv: list[str]) -> int:
    if any(word in ("-sc", "--shell-completion") for word in argv):
        return _complete(argv)
    match argv:
        case [] | ["-h" | "--help" | "help", *_]:
            print(USAGE, end="")
            return 0
        case ["--version" | "-V", *_]:
            print(f"snaprun {__version__}")
            return 0
        case [command, *rest] if command in commands.COMMANDS:
            return _run(command, rest)
        case [command, *_]:
            return _refused(
                f"{command!r} is not a command: expected one of {', '.join(commands.COMMANDS)}. "
                "See snaprun --help."
            )
    raise AssertionError(argv)


def _run(command: str, arguments: list[str]) -> int:
    """Run one command under Hydra; every mistake of the user's ends in one line."""
    wants_trace = os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0")
    # Makes Hydra raise what went wrong instead of printing it and exiting.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = [f"snaprun {command}", *arguments]
    codes: list[int] = []
    job = _job(commands.COMMANDS[command], codes, wants_trace)
    try:
        hydra.main(config_path=str(conf_dir()), config_name=command, version_base="1.3")(job)()
    except (UserError, HydraException, OmegaConfBaseException) as error:
        if wants_trace:
            raise
        return _refused(one_line(error, command))
    except KeyboardInterrupt:
        print("snaprun: interrupted", file=sys.stderr)
        return INTERRUPTED
    return max(codes, default=0)


def _job(
    command: Callable[[dict[str, Any], bool], int], codes: list[int], wants_trace: bool
) -> Callable[[DictConfig], None]:
    """The function that Hydra calls for every job; exit codes are gathered in `codes`."""
    here = os.getpid()

    def job(cfg: DictConfig) -> None:
        sweep = HydraConfig.get().mode == RunMode.MULTIRUN
        try:
            codes.append(command(resolve(cfg), sweep))
        except UserError as error:
            # A launcher of other processes must see the failure; in this one the sweep goes on.
            if wants_trace or os.getpid() != here:
                raise
            where = f"job {HydraConfig.get().job.override_dirname}: " if sweep else ""
            codes.append(_refused(f"{where}{error}"))

    return job


def _refused(line: str) -> int:
    print(f"snaprun: {line}", file=sys.stderr)
    return USER_MISTAKE


def one_line(error: Exception, command: str) -> str:
    """What Hydra and OmegaConf say in paragraphs, as one line with a remedy."""
    said = " ".join(str(error).split())
    if found := re.match(r"Could not override '(.+?)'", said):
        cause = f" {error.__cause__}" if error.__cause__ else ""
        if "not in struct" in said + cause or "not in" in cause:
            return (
                f"{found[1]} is not a key of this configuration. "
                f"snaprun {command} --cfg job lists the keys."
            )
    if found := re.match(r"In '.+?': Could not find '(.+?)/(.+?)' Available options in '.+?': (.+?)(?: Config search path|$)", said):
        group, choice, options = found.groups()
        return f"{group}={choice} is not accepted: expected one of {', '.join(options.split())}."
    return said


def _complete(argv: list[str]) -> int:
    """Shell completion: the first word is a command, the rest is Hydra's."""
    words = os.environ.get("COMP_LINE", "").split(" ")
    command = next((word for word in words[1:] if word in commands.COMMANDS), None)
    if command is None and any(word.startswith("query=") for word in argv):
        print(" ".join(commands.COMMANDS))
        return 0
    if command is not None:
        words.remove(command)
        os.environ["COMP_LINE"] = " ".join(words)
    sys.argv = ["snaprun", *argv]
    app = hydra.main(config_path=str(conf_dir()), config_name=command or "train", version_base="1.3")
    app(lambda cfg: None)()
    return 0


def _scratch() -> str:
    """A folder for what Hydra writes of a sweep, gone at the end."""
    folder = tempfile.TemporaryDirectory(prefix="snaprun-")
    atexit.register(folder.cleanup)
    return folder.name


OmegaConf.register_new_resolver("snaprun_scratch", _scratch, use_cache=True, replace=True)
