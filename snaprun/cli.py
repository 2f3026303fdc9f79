"""The command line; every subcommand is a Hydra application with its own conf/<command>.yaml."""

import atexit
import contextlib
import functools
import io
import os
import re
import shutil
import sys
import tempfile
import traceback
from types import TracebackType

import hydra
from hydra._internal.utils import get_args_parser
from omegaconf import OmegaConf

from snaprun import __version__, commands, config
from snaprun.checks import Stopped, UserError
from snaprun.jobs import Command, Session, interruptible, stopped, tell
from snaprun.outcome import USER_MISTAKE
from snaprun.paths import conf_dir
from snaprun.terminal import complain, hush, note

_LISTED = "\n".join(f"  snaprun {name:<9}  {said}" for name, said in commands.COMMANDS.items())
USAGE = f"""snaprun {__version__}: online training of recurrent networks

{_LISTED}

snaprun COMMAND --help lists a command's keys, --cfg job shows its configuration.
eval "$(snaprun -sc install=bash)" completes commands and keys (also zsh, fish).
"""


def main() -> None:
    """Run the command in `sys.argv` and exit: 0, 1 if a run failed, 2 for a user's mistake."""
    sys.excepthook = _trace
    sys.exit(_main(sys.argv[1:]))


def _trace(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    note("".join(traceback.format_exception(kind, error, trace)), end="")


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
    """Run one command under Hydra; print one line for a user's mistake."""
    full_error = os.environ.get("HYDRA_FULL_ERROR", "0")
    wants_trace = full_error not in ("", "0")
    # With this, Hydra raises an exception instead of printing it and exiting.
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
    except Stopped as error:  # from a sweep: session.close prints its table
        code = stopped(error).code
    except KeyboardInterrupt as error:
        tell(stopped(error))
        code = stopped(error).code
    except UserError as error:
        code = _refused(str(error))
    except BrokenPipeError:  # the reader of Hydra's help has exited
        if session.started:
            raise
        hush()
    except Exception as error:
        # Before the first job only the user's configuration can be wrong.
        if session.started or wants_trace:
            raise
        code = _refused(config.explanation(error, command, overrides))
    finally:
        os.environ["HYDRA_FULL_ERROR"] = full_error
    session.close()
    return code or session.code


def _overrides(arguments: list[str]) -> list[str]:
    """Return the KEY=VALUE words; raises UserError for a flag that Hydra does not know."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return get_args_parser().parse_args(arguments).overrides
    except SystemExit as error:
        reason = said.getvalue().splitlines()[-1].partition("error: ")[2]
        raise UserError(f"{reason}; --hydra-help lists the flags, --help the keys.") from error


def _refused(line: str) -> int:
    complain(line)
    return USER_MISTAKE


def _complete(argv: list[str]) -> int:
    """Complete a command's name here, and let Hydra complete its keys."""
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
    """Make a temporary folder for the files that Hydra writes in a sweep; removed at exit."""
    folder = tempfile.mkdtemp(prefix="snaprun-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


OmegaConf.register_new_resolver("snaprun_scratch", _scratch, replace=True)
