"""Runs as processes beside each other."""

import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Collection, Sequence

from tqdm import tqdm

from snaprun.checks import Stopped, UserError, refuse
from snaprun.files import Folder
from snaprun.outcome import USER_MISTAKE
from snaprun.panels.plan import Job
from snaprun.terminal import visible
from snaprun.train.stopping import StopSignals

_POLL = 0.05  # seconds between looks at the processes
_PATIENCE = 15.0  # seconds that a stopped run has to save its checkpoint


def run(jobs: Sequence[Job], at_once: int, label: str) -> list[Job]:
    """Run those jobs that are not done, `at_once` side by side; the jobs that failed.

    What a failed job said is kept in `job.log`, its last line told. A SIGINT or SIGTERM is passed
    on to the runs and raises Stopped when they have ended; another SIGINT kills them. A mistake of
    the user's in the first run that ends raises UserError, since the others will share it.
    """
    waiting = deque(job for job in jobs if not job.done)
    for job in set(jobs) - set(waiting):  # a log may have outlived a reproduction that was killed
        job.log.unlink(missing_ok=True)
    running: dict[Job, subprocess.Popen] = {}
    failed: list[Job] = []
    done = len(jobs) - len(waiting)
    # disable=None: silent where stderr is not a terminal.
    bar = tqdm(total=len(jobs), initial=done, desc=visible(label), unit="run", disable=None)
    try:
        with bar, StopSignals() as stop:
            while waiting or running:
                stop.check()
                while waiting and len(running) < at_once:
                    job = waiting.popleft()
                    running[job] = _start(job)
                time.sleep(_POLL)
                for job in [job for job, process in running.items() if process.poll() is not None]:
                    code = running.pop(job).returncode
                    if code == USER_MISTAKE and not done + len(failed):
                        raise UserError(_last_words(job))
                    if job.done:
                        done += 1
                        job.log.unlink()
                    else:
                        failed.append(job)
                        words = visible(f"failed: {job}: {_last_words(job)}")
                        bar.write(words, file=sys.stderr)
                    bar.update()
    except Stopped as stopped:
        _stop(running.values(), stopped.signum)
        raise
    except UserError:
        _stop(running.values(), signal.SIGTERM)
        raise
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    return failed


def _start(job: Job) -> subprocess.Popen:
    command = [sys.executable, "-m", "snaprun", "train", *job.words]
    try:
        with Folder.make(job.log.parent) as folder:
            folder.remove(job.log.name)
            log = folder.file(job.log.name, "xb")
        with log:
            # In a session of its own it gets the one signal that `_stop` sends, and not the
            # terminal's too.
            return subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True
            )
    except OSError as error:
        refuse("results", str(job.folder.parent), f"a folder that can be written ({error})")


def _last_words(job: Job) -> str:
    lines = job.log.read_text(errors="replace").splitlines()
    said = lines[-1].removeprefix("snaprun: ") if lines else "it said nothing"
    return f"{said} ({job.log})"


def _stop(running: Collection[subprocess.Popen], signum: int) -> None:
    """Give what runs a while to end by itself."""
    for process in running:
        process.send_signal(signum)
    deadline = time.monotonic() + _PATIENCE
    while any(process.poll() is None for process in running) and time.monotonic() < deadline:
        time.sleep(_POLL)
