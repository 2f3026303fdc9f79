"""The runs of a panel: which there are, and those not done yet as processes on all cores."""

import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from snaprun.checks import Stopped, refuse
from snaprun.panels.panel import Panel
from snaprun.store import read_summary
from snaprun.train.stopping import StopSignals

SELECTION, FINAL = "selection", "final"
_POLL = 0.05  # seconds between looks at the processes
_PATIENCE = 15.0  # seconds that a stopped run has to save its checkpoint


@dataclass(frozen=True, eq=False)
class Job:
    """One run of an arm: the overrides of `snaprun train` and the configuration they compose."""

    arm: str
    phase: Literal["selection", "final"]
    seed: int
    lr: float
    words: tuple[str, ...]
    config: Mapping[str, Any]
    folder: Path

    @property
    def tokens(self) -> int:
        """The data-time that the run is to reach."""
        return self.config["train"]["tokens"]

    @property
    def log(self) -> Path:
        """What the run says on stderr, kept where it fails."""
        return Path(f"{self.folder}.log")

    @property
    def done(self) -> bool:
        """Whether the run lies on disk, finished or diverged; UserError if it is damaged."""
        summary = read_summary(self.folder)
        return summary is not None and summary.complete(self.tokens)

    def __str__(self) -> str:
        return f"{self.arm}, lr={self.lr:g}, seed={self.seed}"


@dataclass(frozen=True)
class Planner:
    """From a panel to its jobs.

    `compose` turns overrides of `snaprun train` into its configuration, `place` that into the
    folder of the run; `common` are overrides of every job.
    """

    panel: Panel
    name: str  # of the folder of the final runs under the results
    common: Sequence[str]
    compose: Callable[[Sequence[str]], dict[str, Any]]
    place: Callable[[Mapping[str, Any]], Path]

    def check(self) -> None:
        """Raise UserError where an override is wrong or two arms would share their runs."""
        arms: dict[Path, str] = {}
        for job in self.final(dict.fromkeys(self.panel.arms, 1.0)):
            if job.seed == 0 and (other := arms.setdefault(job.folder, job.arm)) != job.arm:
                remedy = "How far they go is no difference."
                refuse("panel.arms", f"{other} and {job.arm}", "arms that differ", remedy)

    def selection(self) -> list[Job]:
        """The runs that choose the learning rates, of those arms that have a choice."""
        panel = self.panel
        return [
            job
            for arm, rates in panel.rates.items()
            if len(rates) > 1
            for job in self._jobs(arm, SELECTION, rates, panel.trials[arm], panel.trial_overrides)
        ]

    def final(self, rates: Mapping[str, float]) -> list[Job]:
        """The fresh seeds of every arm that has a learning rate."""
        return [
            job
            for arm in self.panel.arms
            if arm in rates
            for job in self._jobs(arm, FINAL, (rates[arm],), range(self.panel.seeds[arm]), ())
        ]

    def _jobs(
        self,
        arm: str,
        phase: Literal["selection", "final"],
        rates: Sequence[float],
        seeds: Sequence[int],
        overrides: Sequence[str],
    ) -> Iterator[Job]:
        panel = self.panel
        words = [f"name={self.name}{'_rates' if phase == SELECTION else ''}", *self.common]
        if panel.experiment:
            words.insert(0, f"experiment={panel.experiment}")
        words += [*panel.overrides, *panel.arms[arm], *overrides]
        # Composing takes a tenth of a second: once for all rates and seeds.
        config = self.compose(words)
        for lr in rates:
            for seed in seeds:
                own = {**config, "seed": seed, "optim": {**config["optim"], "lr": lr}}
                yield Job(
                    arm,
                    phase,
                    seed,
                    lr,
                    (*words, f"optim.lr={lr!r}", f"seed={seed}"),
                    own,
                    self.place(own),
                )


def run(jobs: Sequence[Job], at_once: int, label: str) -> list[Job]:
    """Run those jobs that are not done, `at_once` side by side; the jobs that failed.

    What a failed job said is kept in `job.log`, its last line told. A SIGINT or SIGTERM is passed
    on to the runs and raises Stopped when they have ended; another SIGINT kills them.
    """
    waiting = deque(job for job in jobs if not job.done)
    running: dict[Job, subprocess.Popen] = {}
    failed: list[Job] = []
    done = len(jobs) - len(waiting)
    # disable=None: silent where stderr is not a terminal.
    bar = tqdm(total=len(jobs), initial=done, desc=label, unit="run", disable=None)
    try:
        with bar, StopSignals() as stop:
            while waiting or running:
                stop.check()
                while waiting and len(running) < at_once:
                    job = waiting.popleft()
                    running[job] = _start(job)
                time.sleep(_POLL)
                for job in [job for job, process in running.items() if process.poll() is not None]:
                    del running[job]
                    if job.done:
                        job.log.unlink()
                    else:
                        failed.append(job)
                        bar.write(f"failed: {job}: {_last_words(job)}", file=sys.stderr)
                    bar.update()
    except Stopped as stopped:
        _stop(running.values(), stopped.signum)
        raise
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    return failed


def _start(job: Job) -> subprocess.Popen:
    # hydra.mode: an experiment that sweeps by itself is one run here.
    command = [sys.executable, "-m", "snaprun", "train", *job.words, "hydra.mode=RUN"]
    try:
        job.log.parent.mkdir(parents=True, exist_ok=True)
        with open(job.log, "wb") as log:
            # In a session of its own it gets the one signal that `_stop` sends, and not the
            # terminal's too.
            return subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True
            )
    except OSError as error:
        refuse("results", str(job.folder.parent), f"a folder that can be written ({error})")


def _last_words(job: Job) -> str:
    lines = job.log.read_text(errors="replace").splitlines()
    return f"{lines[-1] if lines else 'it said nothing'} ({job.log})"


def _stop(running: Collection[subprocess.Popen], signum: int) -> None:
    """Give what runs a while to end by itself."""
    for process in running:
        process.send_signal(signum)
    deadline = time.monotonic() + _PATIENCE
    while any(process.poll() is None for process in running) and time.monotonic() < deadline:
        time.sleep(_POLL)
