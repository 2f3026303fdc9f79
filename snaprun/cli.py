"""The subcommands: each is a Hydra application with its own conf/<command>.yaml."""

import atexit
import contextlib
import functools
import io
import os
import re
import shutil
import sys
import tempfile
from difflib import get_close_matches

import hydra
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.errors import OverrideParseException
from omegaconf import OmegaConf

from snaprun import __version__, commands
from snaprun.checks import Stopped, UserError
from snaprun.jobs import Command, Session, interruptible, stopped, tell
from snaprun.outcome import USER_MISTAKE
from snaprun.paths import conf_dir

USAGE = f"""snaprun {__version__}: online training of recurrent networks

  snaprun train      train one run, or a sweep with -m
  snaprun align      rules' gradients beside the exact one along a training run
  snaprun status     how the runs under a folder stand, also while they run
  snaprun plot       figures from the metrics of runs
  snaprun cost       what each rule costs: multiply-adds and bytes, counted
  snaprun verify     check gradients against independent computations
  snaprun bench      how fast this machine takes a step, by backend, engine and rule
  snaprun sample     text from a trained character model
  snaprun reproduce  the experiments behind the claims, from nothing to tables and figures

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
        case ["--version" | "-V", *_] | [_, "--version"]:
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
    full_error = os.environ.get("HYDRA_FULL_ERROR", "0")
    wants_trace = full_error not in ("", "0")
    # Makes Hydra raise what went wrong instead of printing it and exiting.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = [f"snaprun {command}", *arguments]
    overrides: list[str] = []
    session = Session(Command(command, wants_trace))
    code = 0
    try:
        with interruptible():
            overrides = _overrides(arguments)
            main = hydra.main(config_path=str(conf_dir()), config_name=command, version_base="1.3")
            main(session)()
    except Stopped as error:  # a sweep, whose table will tell
        code = stopped(error).code
    except KeyboardInterrupt as error:
        tell(stopped(error))
        code = stopped(error).code
    except UserError as error:
        code = _refused(str(error))
    except Exception as error:
        # Before the first job there is only the user's own configuration to go wrong.
        if session.started or wants_trace:
            raise
        code = _refused(explanation(error, command, overrides))
    finally:
        os.environ["HYDRA_FULL_ERROR"] = full_error
    session.close()
    return code or session.code


def _overrides(arguments: list[str]) -> list[str]:
    """The KEY=VALUE words; UserError for a flag that Hydra does not know."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return get_args_parser().parse_args(arguments).overrides
    except SystemExit as error:
        reason = said.getvalue().splitlines()[-1].partition("error: ")[2]
        raise UserError(f"{reason}; --hydra-help lists the flags, --help the keys.") from error


def _refused(line: str) -> int:
    print(f"snaprun: {line}", file=sys.stderr)
    return USER_MISTAKE


def explanation(error: Exception, command: str, overrides: list[str]) -> str:
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
        near = get_close_matches(choice, options, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        accepted = ", ".join(options)
        return f"{group}={choice} is not accepted: expected one of {accepted}.{hint}"
    return f"{said} (HYDRA_FULL_ERROR=1 shows the trace.)"


def _unknown_key(key: str, command: str, overrides: list[str]) -> str:
    """One line that names the keys that stand beside an unknown one."""
    others = [word for word in overrides if word.partition("=")[0] != key]
    group = key.rpartition(".")[0]
    accepted: list[str] = []
    with contextlib.suppress(Exception), initialize_config_dir(str(conf_dir()), version_base="1.3"):
        composed = compose(command, others)
        keys = OmegaConf.select(composed, group) if group else composed
        accepted = [f"{group}.{name}" if group else str(name) for name in keys or ()]
    near = get_close_matches(key, accepted, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    listed = f": accepted are {', '.join(accepted)}" if accepted else ""
    return f"{key} is not a key here{listed}.{hint}"


def _complete(argv: list[str]) -> int:
    """Shell completion: the first word is a command, the rest is Hydra's."""
    words = os.environ.get("COMP_LINE", "").split(" ")
    command = next((word for word in words[1:] if word in commands.COMMANDS), None)
    if not any(re.fullmatch(r"(install|uninstall|query)=(bash|zsh|fish)", word) for word in argv):
        return _refused("completion needs install=, uninstall= or query= and bash, zsh or fish.")
    if command is None and any(word.startswith("query=") for word in argv):
        print(" ".join(commands.COMMANDS))
        return 0
    if command is not None:
        words.remove(command)
        os.environ["COMP_LINE"] = " ".join(words)
    sys.argv = ["snaprun", *argv]
    app = hydra.main(
        config_path=str(conf_dir()), config_name=command or "train", version_base="1.3"
    )
    app(lambda cfg: None)()
    return 0


@functools.cache
def _scratch() -> str:
    """The name of a folder that Hydra makes for what it writes of a sweep, gone at the end."""
    folder = os.path.join(tempfile.gettempdir(), f"snaprun-{os.getpid()}")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


OmegaConf.register_new_resolver("snaprun_scratch", _scratch, replace=True)
