"""snaprun reproduce runs the experiments behind the claims."""

import shlex
from pathlib import Path

from snaprun import checks, config, explain, hardware, studies
from snaprun.outcome import Outcome, Status
from snaprun.terminal import note, say


def run(
    panel: dict | None,
    budget: str,
    results: str,
    jobs: int | None,
    dry: bool,
    choose: bool,
    derive: bool,
    plugins: list | None = None,
) -> Outcome:
    """Run one panel, or all, and write tables and figures; the outcome is FAILED if a run fails."""
    at_once = hardware.cores() if jobs is None else jobs
    checks.at_least("jobs", at_once, 1, most=4096)
    folder = Path(results)
    problems = []
    for planner in _planners(panel, budget, results, plugins or []):
        if derive:
            print(*studies.derive(planner, folder), sep="\n")
            continue
        if dry:
            left = studies.left(planner, folder)
            for job in left.now:
                say(shlex.join(["snaprun", "train", *job.words]))
            note(f"{planner.name}: {left}")
            continue
        files, failed = studies.reproduce(planner, folder, at_once, choose)
        for file in files:
            say(file)
        if failed:
            problems.append(f"{len(failed)} runs of {planner.name} failed")
    return Outcome(Status.FAILED if problems else Status.DONE, problem="; ".join(problems))


def _planners(
    panel: dict | None, budget: str, results: str, plugins: list
) -> list[studies.Planner]:
    """Return the planners of the chosen `panel`, or of all.

    All panels are read before any runs, so a mistake in one is reported at once.
    """
    if panel is None:
        names = explain.choices("panel")
        chosen = [config.composed("reproduce", [f"panel={name}"])["panel"] for name in names]
    else:
        chosen = [panel]
    common = [f"results={config.quoted(results)}", *config.search_path()]
    if plugins:
        common.append(f"{config.PLUGINS}=[{','.join(plugins)}]")
    return [
        studies.Planner(
            config.panel(group, budget),
            budget,
            common,
            compose=lambda overrides: config.composed("train", overrides),
            place=config.run_folder,
        )
        for group in chosen
    ]
