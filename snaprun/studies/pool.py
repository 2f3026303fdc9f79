"""Makes the runs of a panel, several at once."""

import sys
from collections.abc import Sequence
from functools import partial
from subprocess import DEVNULL, Popen

from tqdm import tqdm

from snaprun.checks import UserError, refuse
from snaprun.files import Folder
from snaprun.outcome import Outcome, Status
from snaprun.studies.plan import PlannedRun
from snaprun.terminal import visible
from snaprun.workers import Processes, dispatch


def run(jobs: Sequence[PlannedRun], at_once: int, label: str) -> list[PlannedRun]:
    """Run the jobs that are not done, `at_once` side by side, and return the jobs that failed.

    The stderr of a failed job stays in `job.log`, and its last line is printed. If the first run
    that ends was refused for a mistake of the user, raises UserError: the other runs share it.
    """
    left = [job for job in jobs if not job.done]
    ended, failed = set(jobs) - set(left), list[PlannedRun]()
    for job in ended:  # a `reproduce` that was killed may have left its log
        job.log.unlink(missing_ok=True)
    # disable=None: silent where stderr is not a terminal.
    bar = tqdm(total=len(jobs), initial=len(ended), desc=visible(label), unit="run", disable=None)

    def record(number: int, outcome: Outcome) -> None:
        job = left[number]
        if outcome.status in (Status.STOPPED, Status.NOT_STARTED):
            return
        if outcome.status is Status.REFUSED and not ended:
            raise UserError(_last_words(job))
        ended.add(job)
        if job.done:
            job.log.unlink()
        else:
            failed.append(job)
            bar.write(visible(f"failed: {job}: {_last_words(job)}"), file=sys.stderr)
        bar.update()

    with bar:
        dispatch(Processes(at_once), [partial(_start, job) for job in left], record)
    return failed


def _start(job: PlannedRun) -> Popen:
    command = [sys.executable, "-m", "snaprun", "train", *job.words]
    try:
        with Folder.make(job.log.parent) as folder:
            folder.remove(job.log.name)
            log = folder.file(job.log.name, "xb")
        with log:
            # A session of its own: the run gets the signal of `stop` only, not also the terminal's.
            return Popen(command, stdout=DEVNULL, stderr=log, start_new_session=True)
    except OSError as error:
        refuse("results", str(job.folder.parent), f"a folder that can be written ({error})")


def _last_words(job: PlannedRun) -> str:
    lines = job.log.read_text(errors="replace").splitlines()
    said = lines[-1].removeprefix("snaprun: ") if lines else "it said nothing"
    return f"{said} ({job.log})"
