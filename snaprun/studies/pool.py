"""The runs of a panel, beside each other."""

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
    """Run those jobs that are not done, `at_once` side by side; the jobs that failed.

    What a failed job said is kept in `job.log`, its last line told. A mistake of the user's in the
    first run that ends raises UserError, since the others will share it.
    """
    left = [job for job in jobs if not job.done]
    ended, failed = set(jobs) - set(left), list[PlannedRun]()
    for job in ended:  # a log may have outlived a reproduction that was killed
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
            # In a session of its own it gets the one signal of `stop`, and not the terminal's too.
            return Popen(command, stdout=DEVNULL, stderr=log, start_new_session=True)
    except OSError as error:
        refuse("results", str(job.folder.parent), f"a folder that can be written ({error})")


def _last_words(job: PlannedRun) -> str:
    lines = job.log.read_text(errors="replace").splitlines()
    said = lines[-1].removeprefix("snaprun: ") if lines else "it said nothing"
    return f"{said} ({job.log})"
