"""The runs that a panel consists of, and which of them are done."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from snaprun.arguments import arguments
from snaprun.checks import refuse
from snaprun.run.options import TrainOptions
from snaprun.store import read_summary
from snaprun.store.panel import FINAL
from snaprun.studies.panel import Panel

SELECTION = "selection"  # the phase that chooses the learning rates; the phase FINAL compares
SMALL = "small"  # the budget whose results are committed


@dataclass(frozen=True, eq=False)
class PlannedRun:
    """One run of an arm: its overrides of `snaprun train` and the resulting configuration."""

    arm: str
    phase: Literal["selection", "final"]
    seed: int
    lr: float
    words: tuple[str, ...]
    config: Mapping[str, Any]
    folder: Path

    @property
    def tokens(self) -> int:
        """The number of tokens after which the run is done."""
        return self.config["train"]["tokens"]

    @property
    def log(self) -> Path:
        """The file with the stderr of the run, kept if the run fails."""
        return Path(f"{self.folder}.log")

    @property
    def done(self) -> bool:
        """Whether the run is on disk, finished or diverged; raises UserError if it is damaged."""
        summary = read_summary(self.folder)
        options = TrainOptions(**arguments("train", TrainOptions, self.config["train"]))
        return summary is not None and summary.complete(options.extent)

    def __str__(self) -> str:
        return f"{self.arm}, lr={self.lr:g}, seed={self.seed}"


@dataclass(frozen=True)
class Planner:
    """Turns a panel into its runs.

    `compose` turns overrides of `snaprun train` into a configuration, and `place` turns a
    configuration into the folder of the run. The overrides `common` apply to every run.
    """

    panel: Panel
    budget: str
    common: Sequence[str]
    compose: Callable[[Sequence[str]], dict[str, Any]]
    place: Callable[[Mapping[str, Any]], Path]
    _composed: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the panel's folder of compared runs, under the results."""
        return self.panel.name if self.budget == SMALL else f"{self.panel.name}_{self.budget}"

    def check(self) -> None:
        """Raise UserError if an override is wrong or two arms have the same runs."""
        arms: dict[Path, str] = {}
        for job in self.final(dict.fromkeys(self.panel.arms, 1.0)):
            if (other := arms.setdefault(job.folder, job.arm)) != job.arm:
                remedy = "How far they go is no difference."
                refuse("panel.arms", f"{other} and {job.arm}", "arms that differ", remedy)

    def selection(self) -> list[PlannedRun]:
        """Return the runs that choose the learning rates, for arms with more than one rate."""
        panel = self.panel
        return [
            job
            for arm, rates in panel.rates.items()
            if len(rates) > 1
            for job in self._jobs(arm, SELECTION, rates, panel.trials[arm], panel.trial_overrides)
        ]

    def final(self, rates: Mapping[str, float]) -> list[PlannedRun]:
        """Return the runs on fresh seeds of every arm that has a learning rate in `rates`."""
        return [
            job
            for arm in self.panel.arms
            if arm in rates
            for job in self._jobs(arm, FINAL, (rates[arm],), self.panel.seeds[arm], ())
        ]

    def _jobs(
        self,
        arm: str,
        phase: Literal["selection", "final"],
        rates: Sequence[float],
        seeds: Sequence[int],
        overrides: Sequence[str],
    ) -> Iterator[PlannedRun]:
        panel = self.panel
        experiment = [f"experiment={panel.experiment}"] if panel.experiment else []
        words = (*experiment, *self.common, *panel.overrides, *panel.arms[arm], *overrides)
        # Composing takes a tenth of a second, so it is done once for all rates and seeds.
        config = self._composed.get(words) or self.compose(words)
        self._composed[words] = config
        name = f"{self.name}_rates" if phase == SELECTION else self.name
        for lr in rates:
            for seed in seeds:
                optim = {**config["optim"], "lr": lr}
                own = {**config, "name": name, "seed": seed, "optim": optim}
                # hydra.mode=RUN makes one run even of an experiment that is itself a sweep.
                last = (f"name={name}", f"optim.lr={lr!r}", f"seed={seed}", "hydra.mode=RUN")
                yield PlannedRun(arm, phase, seed, lr, (*words, *last), own, self.place(own))
