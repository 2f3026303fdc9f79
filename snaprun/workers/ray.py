"""Workers on a Ray cluster, which starts a job again when its node dies."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from snaprun.checks import Stopped, UserError
from snaprun.outcome import Outcome, Status, unexpected
from snaprun.workers.base import PATIENCE, Job, Workers, needed

OWN = "local"  # Ray's word for a cluster that ends with this process
STORE = 80_000_000  # bytes for Ray's objects, about the least that Ray accepts: outcomes are small


class _Sessions(AbstractContextManager):
    """A context in which every forked process gets a session of its own.

    A signal to our process group, from a terminal or a batch system, does not reach such a process.
    A child of `subprocess` runs this hook only if it has a `preexec_fn`, which Ray's children have.
    """

    def __init__(self) -> None:
        self._within = self._registered = False

    def __enter__(self) -> None:
        if not self._registered:  # registering cannot be undone
            os.register_at_fork(after_in_child=self._leave)
        self._within = self._registered = True

    def __exit__(self, *exception: object) -> None:
        self._within = False

    def _leave(self) -> None:
        if self._within:
            os.setsid()


SESSIONS = _Sessions()


class Ray(Workers[Job]):
    """Hands all jobs to Ray at once; `init` goes to `ray.init`, `remote` to `ray.remote`.

    With `address` "local" Ray is started for the sweep and ends with it; a cluster that was running
    before is left as it is.
    """

    def __init__(self, address: str, init: Mapping[str, Any], remote: Mapping[str, Any]) -> None:
        self._ray: Any = needed("ray")
        own = {"include_dashboard": False, "object_store_memory": STORE} if address == OWN else {}
        ours = signal.getsignal(signal.SIGTERM)
        try:
            # Ray's shutdown() takes 8 s where a SIGTERM to our group has ended Ray's own processes.
            with SESSIONS:
                self._ray.init(address, **{**own, **init})
            self._remote = self._ray.remote(**remote, retry_exceptions=[Stopped])(_run)
        except Exception as error:  # a wrong option, network, token or version
            said = " ".join(str(error).split())
            raise UserError(f"hydra.launcher.address={address}: {said}") from error
        finally:
            signal.signal(signal.SIGTERM, ours)  # Ray's handler would exit
        cores = self._ray.cluster_resources().get("CPU", 1)
        self.width = max(1, int(cores // (remote.get("num_cpus") or 1)))
        self._running: dict[Any, int] = {}

    def submit(self, number: int, job: Job) -> None:
        """Hand `job` to Ray."""
        self._running[self._remote.remote(os.getcwd(), job)] = number

    def ended(self) -> Iterator[tuple[int, Outcome]]:
        """Yield the jobs that have an outcome or that Ray has given up."""
        done, _ = self._ray.wait(list(self._running), timeout=PATIENCE)
        for reference in done:
            number = self._running.pop(reference)
            try:
                outcome = self._ray.get(reference)
            except (
                self._ray.exceptions.TaskCancelledError
            ):  # one that runs says itself that it stops
                outcome = Outcome(Status.NOT_STARTED)
            except Exception as error:
                outcome = unexpected(getattr(error, "cause", None) or error)
            yield number, outcome

    def stop(self) -> None:
        """Cancel all jobs, which acts on each process that runs a job as SIGINT would."""
        for reference in self._running:
            self._ray.cancel(reference)

    def close(self) -> None:
        """Leave the cluster; a Ray that was started for the sweep ends."""
        self._ray.shutdown()


def _run(folder: str, job: Job) -> Outcome:
    """Run `job` on a node; raises Stopped on SIGTERM, so that Ray tries another node."""
    os.chdir(folder)
    outcome = job()
    if outcome.signum == signal.SIGTERM:
        raise Stopped(outcome.signum)
    return outcome
