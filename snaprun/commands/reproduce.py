"""snaprun reproduce runs the experiments behind the claims."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from snaprun import checks, config, hardware, studies
from snaprun.commands.base import FlatKeys
from snaprun.outcome import Outcome, Status
from snaprun.terminal import note, say


@dataclass(frozen=True)
class Keys(FlatKeys):
    """The keys of conf/reproduce.yaml."""

    panel: dict | None
    budget: str
    results: str
    jobs: int | None
    dry: bool
    choose: bool
    derive: bool


def run(keys: Keys) -> Outcome:
    """Run one panel, or all, and write tables and figures; the outcome is FAILED if a run fails."""
    at_once = hardware.cores() if keys.jobs is None else keys.jobs
    checks.at_least("jobs", at_once, 1, most=4096)
    results = Path(keys.results)
    problems = []
    for planner in _planners(keys):
        if keys.derive:
            print(*studies.derive(planner, results), sep="\n")
            continue
        if keys.dry:
            left = studies.left(planner, results)
            for job in left.now:
                say(shlex.join(["snaprun", "train", *job.words]))
            note(f"{planner.name}: {left}")
            continue
        files, failed = studies.reproduce(planner, results, at_once, keys.choose)
        for file in files:
            say(file)
        if failed:
            problems.append(f"{len(failed)} runs of {planner.name} failed")
    return Outcome(Status.FAILED if problems else Status.DONE, problem="; ".join(problems))


def _planners(keys: Keys) -> list[studies.Planner]:
    """Return the planners of the chosen panel, or of all.

    All panels are read before any runs, so a mistake in one is reported at once.
    """
    if keys.panel is None:
        names = config.choices("panel")
        chosen = [config.composed("reproduce", [f"panel={name}"])["panel"] for name in names]
    else:
        chosen = [keys.panel]
    common = [f"results={config.quoted(keys.results)}", *config.search_path()]
    return [
        studies.Planner(
            config.panel(group, keys.budget),
            keys.budget,
            common,
            compose=lambda overrides: config.composed("train", overrides),
            place=config.run_folder,
        )
        for group in chosen
    ]
