"""The launchers of a sweep stand here because Hydra looks for launchers only in this package."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.config_store import ConfigStore
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, filter_overrides, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from snaprun import workers
from snaprun.checks import refuse
from snaprun.config import converted
from snaprun.explain import WRONG, explanation
from snaprun.jobs import Command, Session
from snaprun.outcome import Outcome, Status

# Otherwise Hydra would check conf/hydra/launcher/NAME.yaml against its own schema of that name.
for _name in ("basic", "joblib", "ray", "submitit_slurm"):
    ConfigStore.instance().repo.get("hydra", {}).get("launcher", {}).pop(f"{_name}.yaml", None)


class Share(NamedTuple):
    """One job of a sweep: its number, its name and its overrides."""

    number: int
    name: str
    words: Sequence[str]
    keys: Mapping[str, Any] = {}  # more keys, past the command line


class Spreader(Launcher):
    """Spreads the jobs over workers and tells the session how each job ended."""

    package: str | None = None  # the package that the workers need

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what Hydra hands over; raises UserError if a package is missing."""
        assert isinstance(task_function, Session)
        self._session = task_function
        self._context, self._config = hydra_context, config
        if self.package:
            workers.needed(self.package)  # before composing the configurations

    @abstractmethod
    def _workers(self) -> workers.Workers:
        """Return the workers that run the jobs; raises UserError for a wrong option."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run the jobs of an ordinary sweep."""
        names = _names(job_overrides)

        def rounds(width: int) -> Iterator[list[Share]]:
            self._session.begin(initial_job_idx + len(names))
            numbered = enumerate(zip(names, job_overrides, strict=True), initial_job_idx)
            yield [Share(number, *job) for number, job in numbered]

        self.spread(rounds)
        # Report success for all: Hydra would stop at the first failure, which the session knows.
        return [JobReturn(status=JobStatus.COMPLETED) for _ in names]

    def spread(self, rounds: Callable[[int], Iterator[Sequence[Share]]]) -> None:
        """Run the jobs of each round when those of the one before have ended and are recorded.

        `rounds` is called with the number of jobs that run side by side.
        """
        team = self._workers()
        following = rounds(team.width)
        command = replace(self._session.command, sweep=True)
        state = Singleton.get_state()
        given = list[Share]()
        folders: dict[int, Path | None] = {}

        def make(share: Share) -> workers.Job:
            words = list(share.words)
            try:
                config = self._context.config_loader.load_sweep_config(self._config, words)
            except WRONG as error:  # of a trial: Hydra checks the jobs of a sweep beforehand
                problem = explanation(error, command.name, words)
                return partial(Outcome, Status.REFUSED, problem=problem)
            with open_dict(config):
                config.hydra.job.num = share.number
                config.hydra.job.id = str(share.number)
                for key, value in share.keys.items():
                    OmegaConf.update(config, key, value)
            own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
            folders[share.number] = command.folder(own)
            return partial(_run, self._context, config, command, state)

        def more() -> list[partial[workers.Job]]:
            shares = next(following, ())
            given.extend(shares)
            return [partial(make, share) for share in shares]

        def record(index: int, outcome: Outcome) -> None:
            number, name, *_ = given[index]
            folder = folders.get(number)
            known = folder if folder and folder.is_dir() else None
            self._session.record(number, name, replace(outcome, folder=known))

        workers.dispatch(team, (), record, more)


def _names(job_overrides: Sequence[Sequence[str]]) -> list[str]:
    """Name each job by those of its overrides that not all jobs share."""
    words = [filter_overrides(overrides) for overrides in job_overrides]
    common = set.intersection(*map(set, words)) if len(words) > 1 else set()
    return [" ".join(word for word in own if word not in common) for own in words]


def _run(context: HydraContext, config: DictConfig, command: Command, state: Any) -> Outcome:
    """Run one job in the current process and return its outcome."""
    setup_globals()
    Singleton.set_state(state)
    try:
        returned = run_job(
            hydra_context=context,
            config=config,
            task_function=command,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
    except Exception as error:  # from Hydra's own configuration, such as its logging
        return Outcome(Status.REFUSED, problem=" ".join(str(error).split()))
    return returned.return_value


class Basic(Spreader):
    """hydra/launcher=basic runs one job after the other."""

    def _workers(self) -> workers.Here:
        return workers.Here()


class Joblib(Spreader):
    """hydra/launcher=joblib runs several jobs at once on this machine."""

    package = "joblib"

    def __init__(self, n_jobs: Any) -> None:
        self._n_jobs = n_jobs

    def _workers(self) -> workers.Joblib:
        return workers.Joblib(converted("hydra.launcher.n_jobs", self._n_jobs, int))


class Ray(Spreader):
    """hydra/launcher=ray runs the jobs on the nodes of a Ray cluster."""

    package = "ray"

    def __init__(self, address: Any, init: Any, remote: Any) -> None:
        self._address, self._init, self._remote = address, init, remote

    def _workers(self) -> workers.Ray:
        return workers.Ray(
            converted("hydra.launcher.address", self._address, str),
            _mapping("hydra.launcher.init", self._init),
            _mapping("hydra.launcher.remote", self._remote),
        )


class Slurm(Spreader):
    """hydra/launcher=submitit_slurm runs the jobs as SLURM jobs."""

    package = "submitit"

    def __init__(self, cluster: Any, folder: Any, parameters: Any) -> None:
        self._cluster, self._folder, self._parameters = cluster, folder, parameters

    def _workers(self) -> workers.Slurm:
        return workers.Slurm(
            converted("hydra.launcher.cluster", self._cluster, str),
            Path(converted("hydra.launcher.folder", self._folder, str)),
            _mapping("hydra.launcher.parameters", self._parameters),
        )


def _mapping(what: str, value: Any) -> dict[str, Any]:
    """Return the keyword arguments in `value` that are not null."""
    if not isinstance(value, DictConfig):
        refuse(what, value, f"keys under it: {what}.KEY=VALUE")
    plain: Any = OmegaConf.to_container(value, resolve=True)
    return {str(key): given for key, given in plain.items() if given is not None}
