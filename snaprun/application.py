"""A command as a Hydra application; cli imports it late, because importing Hydra takes long."""

import argparse
import atexit
import contextlib
import functools
import io
import os
import shutil
import sys
import tempfile
from argparse import Namespace

import hydra
from hydra._internal.utils import get_args_parser
from omegaconf import OmegaConf

from snaprun import explain
from snaprun.checks import Stopped, UserError
from snaprun.jobs import Command, Session, interruptible, stopped, tell
from snaprun.outcome import refused
from snaprun.paths import conf_dir
from snaprun.terminal import hush

if sys.version_info >= (3, 14):
    # argparse now wants every help text to be a str; one of Hydra 1.3's is an object of its own.
    setattr(argparse.ArgumentParser, "_check_help", lambda parser, action: None)  # noqa: B010

_ACTIONS = ("run", "multirun", "cfg", "info", "hydra_help")  # flags of which Hydra takes only one


def run(command: str, arguments: list[str]) -> int:
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
            parsed = _parsed(arguments)
            overrides = parsed.overrides
            explain.refuse_deletions(command, overrides)
            flags = [word for word in arguments if word not in overrides]
            if command == "search" and not any(getattr(parsed, one) for one in _ACTIONS):
                flags.append("--multirun")
            sys.argv[1:] = [*flags, *overrides]  # Hydra takes no flag behind an override
            main = hydra.main(config_path=str(conf_dir()), config_name=command, version_base="1.3")
            main(session)()
    except Stopped as error:  # from a sweep: session.close prints its table
        code = stopped(error).code
    except KeyboardInterrupt as error:
        tell(stopped(error))
        code = stopped(error).code
    except UserError as error:
        code = refused(str(error))
    except BrokenPipeError:  # the reader of Hydra's help has exited
        if session.started:
            raise
        hush()
    except Exception as error:
        # Before the first job only the user's configuration can be wrong.
        if session.started or wants_trace:
            raise
        code = refused(explain.explanation(error, command, overrides))
    finally:
        os.environ["HYDRA_FULL_ERROR"] = full_error
    session.close()
    return code or session.code


def _parsed(arguments: list[str]) -> Namespace:
    """Return what Hydra reads in the words; raises UserError for a flag that it does not know."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return get_args_parser().parse_intermixed_args(arguments)
    except SystemExit as error:
        reason = said.getvalue().splitlines()[-1].partition("error: ")[2]
        raise UserError(f"{reason}; --hydra-help lists the flags, --help the keys.") from error


def complete(words: list[str], command: str) -> None:
    """Let Hydra answer its shell completion, in `words`, for the keys of a command."""
    sys.argv = ["snaprun", *words]
    app = hydra.main(config_path=str(conf_dir()), config_name=command, version_base="1.3")
    app(lambda cfg: None)()


@functools.cache
def _scratch() -> str:
    """Make a temporary folder for the files that Hydra writes in a sweep; removed at exit."""
    folder = tempfile.mkdtemp(prefix="snaprun-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


OmegaConf.register_new_resolver("snaprun_scratch", _scratch, replace=True)
