"""The outcome of a job has a report, a problem and an exit code; a sweep prints a table of them."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from snaprun.terminal import complain, table

USER_MISTAKE = 2


class Status(StrEnum):
    """How a job ended, or that it never began."""

    DONE = "done"
    SKIPPED = "skipped"  # it was done before
    PRUNED = "pruned"  # ended early by a search
    DIVERGED = "diverged"
    FAILED = "failed"  # by a mistake in snaprun, or its process died
    REFUSED = "refused"  # by a user's mistake
    STOPPED = "stopped"  # by a signal
    NOT_STARTED = "not started"


_CODES = {
    Status.DONE: 0,
    Status.SKIPPED: 0,
    Status.PRUNED: 0,
    Status.DIVERGED: 1,
    Status.FAILED: 1,
    Status.REFUSED: USER_MISTAKE,
}


class Score(NamedTuple):
    """The value by which the runs of a sweep are compared."""

    key: str  # of the metric
    value: float
    better: int  # 1: larger values are better; -1: smaller values


@dataclass(frozen=True)
class Outcome:
    """How a job ended; other processes and nodes send it back."""

    status: Status = Status.DONE
    report: str = ""  # what the job achieved, for stdout
    problem: str = ""  # what went wrong, one line
    folder: Path | None = None  # the run's folder, if there is one
    trace: str = ""  # the trace of an unexpected exception
    signum: int = 0  # the signal that stopped the job
    score: Score | None = None

    @property
    def code(self) -> int:
        """The exit code of a process that runs this job alone."""
        return 128 + self.signum if self.signum else _CODES.get(self.status, 0)


def refused(line: str) -> int:
    """Print one line about a user's mistake and return its exit code."""
    complain(line)
    return USER_MISTAKE


def unexpected(error: BaseException, trace: str = "") -> Outcome:
    """Return the outcome of a job that ended with an unexpected `error`, or whose worker died."""
    said = " ".join(str(error).split())
    return Outcome(Status.FAILED, problem=f"{type(error).__name__}: {said}"[:300], trace=trace)


def as_lines(
    outcomes: Sequence[tuple[str, Outcome]], noun: str = "job", normal: Collection[Status] = ()
) -> str:
    """Return a line for each named job that did not end well, then the count of every status.

    An end in `normal` is well, too.
    """
    ended = [(job, o) for job, o in outcomes if o.status not in normal]
    bad = [(job, o) for job, o in ended if o.code or o.status is Status.STOPPED]
    lines = [(o.status, job, (f"{o.folder}: " if o.folder else "") + o.problem) for job, o in bad]
    found = Counter(outcome.status for _, outcome in outcomes)
    always = (Status.DONE, Status.SKIPPED, Status.DIVERGED, Status.FAILED)
    counts = [f"{found[status]} {status}" for status in Status if status in always or found[status]]
    total = f"{len(outcomes)} {noun}{'s' * (len(outcomes) != 1)}: {', '.join(counts)}"
    return "\n".join([*table(lines), total])


def best(outcomes: Sequence[tuple[str, Outcome]]) -> str:
    """Return in words which of several jobs is best; "" if they are not to be compared.

    >>> ends = [(f"seed={n}", Outcome(score=Score("bpc", n / 4, -1))) for n in (2, 1)]
    >>> best(ends)
    'best: bpc 0.25, seed=1'
    """
    scored = [(job, one.score) for job, one in outcomes if one.score]
    if len(scored) < 2 or len({score.key for _, score in scored}) > 1:
        return ""
    job, score = max(scored, key=lambda scored: scored[1].value * scored[1].better)
    return f"best: {score.key} {score.value:.4g}, {job}"
