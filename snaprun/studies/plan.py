"""The runs of a panel: which there are, and which are done."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from snaprun.checks import refuse
from snaprun.store import read_summary
from snaprun.store.panel import FINAL
from snaprun.studies.panel import Panel

SELECTION = "selection"  # the phase of the runs that choose the rates; FINAL compares
SMALL = "small"  # the budget whose results are committed


@dataclass(frozen=True, eq=False)
class PlannedRun:
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
    budget: str
    common: Sequence[str]
    compose: Callable[[Sequence[str]], dict[str, Any]]
    place: Callable[[Mapping[str, Any]], Path]
    _composed: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the folder of the compared runs under the results."""
        return self.panel.name if self.budget == SMALL else f"{self.panel.name}_{self.budget}"

    def check(self) -> None:
        """Raise UserError where an override is wrong or two arms would share their runs."""
        arms: dict[Path, str] = {}
        for job in self.final(dict.fromkeys(self.panel.arms, 1.0)):
            if (other := arms.setdefault(job.folder, job.arm)) != job.arm:
                remedy = "How far they go is no difference."
                refuse("panel.arms", f"{other} and {job.arm}", "arms that differ", remedy)

    def selection(self) -> list[PlannedRun]:
        """The runs that choose the learning rates, of those arms that have a choice."""
        panel = self.panel
        return [
            job
            for arm, rates in panel.rates.items()
            if len(rates) > 1
            for job in self._jobs(arm, SELECTION, rates, panel.trials[arm], panel.trial_overrides)
        ]

    def final(self, rates: Mapping[str, float]) -> list[PlannedRun]:
        """The fresh seeds of every arm that has a learning rate."""
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
        # Composing takes a tenth of a second: once for all rates and seeds.
        if words not in self._composed:
            self._composed[words] = self.compose(words)
        config = self._composed[words]
        name = f"{self.name}_rates" if phase == SELECTION else self.name
        for lr in rates:
            for seed in seeds:
                optim = {**config["optim"], "lr": lr}
                own = {**config, "name": name, "seed": seed, "optim": optim}
                # hydra.mode: an experiment that sweeps by itself is one run here.
                last = (f"name={name}", f"optim.lr={lr!r}", f"seed={seed}", "hydra.mode=RUN")
                yield PlannedRun(arm, phase, seed, lr, (*words, *last), own, self.place(own))
