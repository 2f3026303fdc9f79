"""The command line; every command is a Hydra application with its own conf/<command>.yaml."""

import os
import re
import sys
import traceback
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from snaprun import __version__, commands
from snaprun.checks import UserError
from snaprun.manual import Manual
from snaprun.outcome import refused
from snaprun.paths import conf_dir
from snaprun.terminal import note, say

_LISTED = "\n".join(f"  snaprun {name:<9}  {said}" for name, said in commands.COMMANDS.items())
USAGE = f"""snaprun {__version__}: online training of recurrent networks

{_LISTED}

snaprun COMMAND --help shows a command's keys, snaprun help KEY tells of one of them.
eval "$(snaprun -sc install=bash)" completes commands and keys (also zsh, fish).
"""
HELP = ("-h", "--help")


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
        case [] | ["-h" | "--help" | "help"]:
            say(USAGE, end="")
            return 0
        case ["help", name, *rest]:
            return _help(name, rest)
        case ["--version" | "-V", *_] | [_, "--version"]:
            say(f"snaprun {__version__}")
            return 0
        case [command, *rest] if command in commands.COMMANDS:
            if any(word in HELP for word in rest):
                return _help(command, rest)
            from snaprun import application

            return application.run(command, rest)
        case [first, *rest] if named := [word for word in rest if word in commands.COMMANDS]:
            return refused(f"the command comes first: snaprun {named[0]} {first} …")
        case [command, *_]:
            return refused(
                f"{command!r} is not a command: expected one of {', '.join(commands.COMMANDS)}. "
                "See snaprun --help."
            )
    raise AssertionError(argv)


def _help(name: str, words: Sequence[str]) -> int:
    """Print the help of a command with the choices in `words`, or of a key."""
    parser = ArgumentParser(add_help=False)
    parser.add_argument("-cd", "--config-dir", type=Path, default=conf_dir())
    own = parser.parse_known_args(words)[0].config_dir
    manual = Manual([conf_dir(), own], commands.COMMANDS)
    try:
        say(manual.command(name, words) if name in commands.COMMANDS else manual.key(name))
    except UserError as error:
        return refused(str(error))
    return 0


def _complete(argv: list[str]) -> int:
    """Complete a command's name here, and let Hydra complete its keys."""
    words = os.environ.get("COMP_LINE", "").split(" ")
    command = next((word for word in words[1:] if word in commands.COMMANDS), None)
    if not any(re.fullmatch(r"(install|uninstall|query)=(bash|zsh|fish)", word) for word in argv):
        return refused("completion needs install=, uninstall= or query= and bash, zsh or fish.")
    if command is None and any(word.startswith("query=") for word in argv):
        say(" ".join(commands.COMMANDS))
        return 0
    if command is not None:
        words.remove(command)
        os.environ["COMP_LINE"] = " ".join(words)
    from snaprun import application

    application.complete(argv, command or "train")
    return 0
