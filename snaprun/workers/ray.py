"""Processes on the nodes of a Ray cluster, which launches a job again when its node dies."""

import os
import signal
from collections.abc import Iterator, Mapping
from typing import Any

from snaprun.checks import Stopped, UserError
from snaprun.outcome import Outcome, Status, unexpected
from snaprun.workers.base import PATIENCE, Job, Workers, needed

OWN = "local"  # Ray's word for one that ends with this process
STORE = 80_000_000  # bytes for Ray's objects, about the least that it takes: outcomes are small


class Ray(Workers):
    """Hands all jobs to Ray at once; `init` goes to `ray.init`, `remote` to `ray.remote`.

    A Ray of our own ends with the sweep; a cluster that was there before stays as it is.
    """

    def __init__(self, address: str, init: Mapping[str, Any], remote: Mapping[str, Any]) -> None:
        self._ray: Any = needed("ray")
        own = {"include_dashboard": False, "object_store_memory": STORE} if address == OWN else {}
        ours = signal.getsignal(signal.SIGTERM)
        try:
            self._ray.init(address, **{**own, **init})
            self._remote = self._ray.remote(**remote, retry_exceptions=[Stopped])(_run)
        except Exception as error:  # an option, the network, the token, the version
            said = " ".join(str(error).split())
            raise UserError(f"hydra.launcher.address={address}: {said}") from error
        finally:
            signal.signal(signal.SIGTERM, ours)  # Ray's handler exits
        self._running: dict[Any, int] = {}

    def free(self) -> bool:
        """Always: Ray keeps jobs until there is room."""
        return True

    def submit(self, number: int, job: Job) -> None:
        """Hand `job` to Ray."""
        self._running[self._remote.remote(os.getcwd(), job)] = number

    def ended(self) -> Iterator[tuple[int, Outcome]]:
        """The jobs whose outcome is there, or that Ray has given up."""
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
        """SIGINT, as it were, to each process that runs a job."""
        for reference in self._running:
            self._ray.cancel(reference)

    def close(self) -> None:
        """Leave the cluster; end a Ray of our own."""
        self._ray.shutdown()


def _run(folder: str, job: Job) -> Outcome:
    """Run `job` on a node; raises Stopped where the node goes, so that Ray takes another one."""
    os.chdir(folder)
    outcome = job()
    if outcome.signum == signal.SIGTERM:
        raise Stopped(outcome.signum)
    return outcome
