"""A job is one command on one configuration; Hydra calls it, and it always ends in an outcome."""

import signal
import time
import traceback
from collections.abc import Collection
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from snaprun import checks, commands
from snaprun.checks import Stopped, UserError
from snaprun.config import of_run, resolve, run_folder
from snaprun.files import Folder
from snaprun.outcome import USER_MISTAKE, Outcome, Status, as_lines, best, unexpected
from snaprun.run.signals import handled
from snaprun.terminal import complain, duration, hush, note, say


class Terminated(KeyboardInterrupt):
    """Raised on SIGTERM outside the training loop, which handles the signal itself."""


def interruptible() -> AbstractContextManager[None]:
    """Inside the block SIGTERM raises Terminated and SIGINT KeyboardInterrupt, unless ignored."""
    return handled({signal.SIGTERM: _terminate, signal.SIGINT: signal.default_int_handler})


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def stopped(error: Stopped | KeyboardInterrupt) -> Outcome:
    """Return the outcome of a job, or of a whole sweep, that a signal ended."""
    if isinstance(error, Stopped):
        signum, rest = error.signum, "; the same command goes on from the checkpoint"
    else:
        signum, rest = signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT, ""
    name = signal.Signals(signum).name
    return Outcome(Status.STOPPED, problem=f"stopped by {name}{rest}", signum=signum)


@dataclass(frozen=True)
class Command:
    """Runs the command called `name`, in this process or another."""

    name: str
    traces: bool  # whether to show a trace even for a user's mistake
    sweep: bool = False  # whether the command is a job of a sweep

    def __call__(self, config: DictConfig) -> Outcome:
        """Run the command and return its outcome.

        In a single run an unexpected exception propagates; in a sweep it becomes the outcome.
        """
        try:
            with interruptible():
                return commands.run(self.name, resolve(config), self.sweep)
        except (Stopped, KeyboardInterrupt) as error:
            return stopped(error)
        except BrokenPipeError:  # the reader of the output has exited, as `head` does
            hush()
            return Outcome(Status.STOPPED, signum=getattr(signal, "SIGPIPE", 13))
        except UserError as error:
            trace = traceback.format_exc() if self.traces else ""
            return Outcome(Status.REFUSED, problem=str(error), trace=trace)
        except Exception as error:
            if not self.sweep:
                raise
            return unexpected(error, traceback.format_exc())

    def folder(self, config: DictConfig) -> Path | None:
        """Return the folder of this configuration's run; None for other commands and mistakes."""
        with suppress(UserError):
            if self.name in ("train", "search"):
                return run_folder(of_run(resolve(config)))
        return None


class Session:
    """The task function that Hydra calls; it collects the outcomes of all jobs."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.started = False  # whether Hydra has composed the configuration
        self.sweep = False
        self.outcomes: dict[int, tuple[str, Outcome]] = {}
        self.end = ""  # what is to be said after all
        self._noun, self._normal = "job", frozenset[Status]()
        self._jobs, self._worked, self._began = 0, 0, 0.0

    def begin(self, jobs: int, noun: str = "job", normal: Collection[Status] = ()) -> None:
        """Begin a sweep of so many jobs, each called `noun`; an end in `normal` is no failure."""
        self.started = self.sweep = True
        self._noun, self._normal = noun, frozenset(normal)
        self._jobs, self._worked, self._began = jobs, 0, time.monotonic()

    def __call__(self, config: DictConfig) -> None:
        """Run a single job. In a sweep snaprun's launchers run the jobs and call `record`."""
        hydra = HydraConfig.get()
        if hydra.mode == RunMode.MULTIRUN:
            checks.refuse("hydra.launcher", hydra.launcher._target_, "one of snaprun's own")
        self.started = True
        self.outcomes[0] = "", self.command(config)

    def record(self, number: int, job: str, outcome: Outcome) -> None:
        """Record and print how the `job` of a sweep ended."""
        if outcome.status is Status.FAILED and outcome.folder and not _logged(outcome.folder):
            # The process died, or the job failed before the run began: neither wrote a trace.
            _log(outcome.folder, outcome.trace or f"{outcome.problem}\n")
        if outcome.trace and _logged(outcome.folder):
            problem = f"{outcome.problem} (the trace is in failure.log)"
            outcome = replace(outcome, problem=problem, trace="")
        self.outcomes[number] = job, outcome
        self._worked += outcome.status is not Status.SKIPPED
        if outcome.status is not Status.NOT_STARTED:
            say(self._progress(job))
        tell(outcome, f"{self._noun} {job}: ")

    def _progress(self, job: str) -> str:
        """Return a line about the sweep as a whole, when one more job has ended."""
        left, worked = self._jobs - len(self.outcomes), self._worked
        seconds = (time.monotonic() - self._began) / worked * left if worked else None
        said = [f"{self._noun} {len(self.outcomes)}/{self._jobs}", job]
        if left and seconds is not None:
            said.append(f"{duration(seconds)} left")
        return "  ".join([*filter(None, said), *filter(None, [best([*self.outcomes.values()])])])

    @property
    def code(self) -> int:
        """The gravest exit code: a signal outranks a user's mistake, which outranks a failure."""
        if self.sweep and not self.outcomes:
            return USER_MISTAKE
        ends = [outcome for _, outcome in self.outcomes.values()]
        return max((end.code for end in ends if end.status not in self._normal), default=0)

    def close(self) -> None:
        """Print how the single run, or the sweep as a whole, ended."""
        if self.sweep and not self.outcomes:
            complain("The sweep has no job: one of the lists or ranges is empty.")
        elif self.sweep:
            ends = [self.outcomes[number] for number in sorted(self.outcomes)]
            lines = [as_lines(ends, self._noun, self._normal)]
            lines = [*lines, self.end] if self.end else [best(ends), *lines]
            say("\n".join(filter(None, lines)))
        else:
            for _, outcome in self.outcomes.values():
                tell(outcome)


def _logged(folder: Path | None) -> bool:
    """Return whether the run in `folder` has left a trace there."""
    from snaprun.store.schema import FAILURE

    return folder is not None and (folder / FAILURE).is_file()


def _log(folder: Path, trace: str) -> None:
    from snaprun.store.schema import FAILURE

    # If the disk is full or the folder is a link, the sweep's own message must suffice.
    with suppress(UserError, OSError), Folder.open(folder) as opened:
        opened.write(FAILURE, trace)


def tell(outcome: Outcome, job: str = "") -> None:
    """Print the report on stdout, and the trace and the problem on stderr."""
    if outcome.report:
        say(outcome.report)
    if outcome.trace:
        note(outcome.trace, end="")
    if outcome.problem:
        complain(f"{job}{outcome.problem}")
