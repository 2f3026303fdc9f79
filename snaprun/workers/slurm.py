"""Workers that are jobs of the SLURM workload manager, through submitit."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from snaprun.checks import UserError
from snaprun.outcome import Outcome, Status
from snaprun.workers.base import PATIENCE, Job, Workers, needed


class Slurm(Workers[Job]):
    """Submits all jobs as one SLURM array.

    submitit writes its files to `folder`, which the nodes must share. `parameters` go to
    `submitit.AutoExecutor.update_parameters`.
    """

    def __init__(self, cluster: str, folder: Path, parameters: Mapping[str, Any]) -> None:
        submitit: Any = needed("submitit")
        try:
            self._executor = submitit.AutoExecutor(folder.absolute(), cluster=cluster)
            self._executor.update_parameters(**parameters)
        except Exception as error:  # a wrong option, or no SLURM
            said = " ".join(str(error).split())
            raise UserError(f"hydra.launcher.cluster={cluster}: {said}") from error
        self._kept: list[tuple[int, Job]] = []
        self._running: dict[int, Any] = {}

    def submit(self, number: int, job: Job) -> None:
        """Keep `job` for the array that the next call of `ended` submits."""
        self._kept.append((number, job))

    def ended(self) -> Iterator[tuple[int, Outcome]]:
        """Submit the kept jobs; yield the jobs that have an outcome or that SLURM has ended."""
        if self.stopping:
            yield from ((number, Outcome(Status.NOT_STARTED)) for number, _ in self._kept)
        elif self._kept:
            numbers, jobs = zip(*self._kept, strict=True)
            array = self._executor.map_array(_Requeued(), jobs)
            self._running.update(zip(numbers, array, strict=True))
        self._kept.clear()
        time.sleep(PATIENCE)
        for number, job in [(n, job) for n, job in self._running.items() if job.done()]:
            del self._running[number]
            yield number, self._outcome(job)

    def stop(self) -> None:
        """Cancel all jobs; SLURM sends SIGTERM to the running ones."""
        for job in self._running.values():
            job.cancel()

    def _outcome(self, job: Any) -> Outcome:
        try:
            return job.result()
        except Exception:
            if self.stopping:
                return Outcome(Status.STOPPED)
            said = f"job {job.job_id} ended without an outcome; its log is {job.paths.stderr}"
            return Outcome(Status.FAILED, problem=said)


class _Requeued:
    """A job that submitit queues again when SLURM preempts it or its time limit is reached."""

    def __call__(self, job: Job) -> Outcome:
        return job()

    def checkpoint(self, job: Job) -> Any:
        return needed("submitit").helpers.DelayedSubmission(self, job)
