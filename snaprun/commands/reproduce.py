"""snaprun reproduce: the experiments behind the claims."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from snaprun import checks, config, hardware, panels
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
    """Run a panel, or all of them, and write their tables and figures; FAILED where a run did."""
    at_once = hardware.cores() if keys.jobs is None else keys.jobs
    checks.at_least("jobs", at_once, 1, most=4096)
    results = Path(keys.results)
    problems = []
    for planner in _planners(keys):
        if keys.derive:
            print(*panels.derive(planner, results), sep="\n")
            continue
        if keys.dry:
            left = panels.left(planner, results)
            for job in left.now:
                say(shlex.join(["snaprun", "train", *job.words]))
            note(f"{planner.name}: {left}")
            continue
        files, failed = panels.reproduce(planner, results, at_once, keys.choose)
        for file in files:
            say(file)
        if failed:
            problems.append(f"{len(failed)} runs of {planner.name} failed")
    return Outcome(Status.FAILED if problems else Status.DONE, problem="; ".join(problems))


def _planners(keys: Keys) -> list[panels.Planner]:
    """Those of the panel that is chosen, or of all; a mistake in one is told before any runs."""
    if keys.panel is None:
        names = config.choices("panel")
        chosen = [config.composed("reproduce", [f"panel={name}"])["panel"] for name in names]
    else:
        chosen = [keys.panel]
    common = [f"results={config.quoted(keys.results)}", *config.search_path()]
    return [
        panels.Planner(
            config.panel(group, keys.budget),
            keys.budget,
            common,
            compose=lambda overrides: config.composed("train", overrides),
            place=config.run_folder,
        )
        for group in chosen
    ]
