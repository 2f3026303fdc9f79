"""A panel's README: what was compared, by which command, on what hardware, with what result."""

from collections.abc import Mapping, Sequence

import pandas as pd

from snaprun.figures.stats import band_name, over_seeds
from snaprun.metrics import Metric
from snaprun.store import DIVERGED, FAILED, Run, declared
from snaprun.store.panel import FINAL
from snaprun.studies.metric import LATE, final
from snaprun.studies.panel import Panel
from snaprun.studies.plan import SELECTION


def readme(
    panel: Panel,
    budget: str,
    rates: Mapping[str, float],
    summary: pd.DataFrame,
    arms: Mapping[str, Mapping[int, Run]],
) -> str:
    """Write five paragraphs under a title; `rates` lacks the arms without a learning rate."""
    claims = f" ({', '.join(panel.claims)})" if panel.claims else ""
    lines = [
        f"# {panel.name}{claims}, budget {budget}",
        f"What: {panel.about.strip().removesuffix('.')}. {_tokens(summary)}",
        f"Command: `snaprun reproduce panel={panel.name} budget={budget}`",
        f"Learning rates: {_rates(panel.metric, rates, summary)}",
        f"Hardware: {_hardware(summary)}",
        f"Result: {_result(panel, arms)}{_missing(arms, summary)}",
    ]
    return "\n\n".join(lines) + "\n"


def _tokens(summary: pd.DataFrame) -> str:
    """Return the tokens of a run in each phase; the largest, as runs end with a whole batch."""
    most = summary.dropna(subset="tokens").groupby("phase")["tokens"].agg("max") / 1e6
    chosen = f", {most[SELECTION]:.3g} M to choose rates" if SELECTION in most else ""
    return f"{most[FINAL]:.3g} M tokens a run{chosen}."


def _rates(metric: Metric, rates: Mapping[str, float], summary: pd.DataFrame) -> str:
    """Describe how the learning rates were chosen, from the table of the runs that chose them."""
    text = ", ".join(f"{arm} {lr:g}" for arm, lr in rates.items()) + "."
    tried = summary.loc[summary["phase"] == SELECTION].groupby("arm", sort=False)
    if len(tried):
        better = "largest" if metric.better > 0 else "smallest"
        grids = {str(arm): sorted(set(runs["lr"]), reverse=True) for arm, runs in tried}
        trials = {str(arm): sorted(set(runs["seed"])) for arm, runs in tried}
        text += (
            f" Each arm takes the one with the {better} {metric.key}, mean over the last "
            f"{LATE:.0%} of the tokens, on seeds of their own: {_grouped(trials)}; of equals "
            f"the one with the better mean over all tokens, then the smaller. The grid: "
            f"{_grouped(grids)}."
        )
        ends = {arm: (min(grid), max(grid)) for arm, grid in grids.items() if arm in rates}
        if at_edge := [arm for arm, edges in ends.items() if rates[arm] in edges]:
            text += f" At the edge of the grid: {', '.join(at_edge)}."
    if without := [arm for arm in dict.fromkeys(summary["arm"]) if arm not in rates]:
        text += f" No rate finished on all seeds for {', '.join(without)}."
    return text


def _grouped(arms: Mapping[str, Sequence[float]]) -> str:
    """List the numbers of each arm; the numbers that most arms share come once, at the end."""
    groups: dict[tuple[float, ...], list[str]] = {}
    for arm, numbers in arms.items():
        groups.setdefault(tuple(numbers), []).append(arm)
    texts = {numbers: ", ".join(f"{number:g}" for number in numbers) for numbers in groups}
    if len(groups) == 1:
        return "".join(texts.values())
    most = max(groups, key=lambda numbers: len(groups[numbers]))
    few = (f"{', '.join(groups[key])} {text}" for key, text in texts.items() if key != most)
    return f"{'; '.join(few)}; the others {texts[most]}"


def _hardware(summary: pd.DataFrame) -> str:
    """List the processors and devices of the runs; runs of snaprun 0.1.0 record no processor."""
    hours = summary["seconds"].sum() / 3600 if "seconds" in summary else 0.0
    named = [summary[name].dropna() for name in ("cpu", "device") if name in summary]
    machines = sorted({name for names in named for name in names} - {"cpu"})
    spent = f"{len(summary)} runs, {hours:.3g} hours of one core."
    return "; ".join([*filter(None, [", ".join(machines)]), spent])


def _result(panel: Panel, arms: Mapping[str, Mapping[int, Run]]) -> str:
    """Write one sentence per metric with what each arm reached, the best arm first."""
    columns = {name for runs in arms.values() for run in runs.values() for name in run.metrics}
    known = declared(run for runs in arms.values() for run in runs.values())
    metrics = [panel.metric, *(known[key] for key in panel.metric.beside if key in known)]
    return " ".join(_reached(metric, arms) for metric in metrics if metric.key in columns)


def _reached(metric: Metric, arms: Mapping[str, Mapping[int, Run]]) -> str:
    spreads = {
        arm: over_seeds([final(run, metric) for run in runs.values()]) for arm, runs in arms.items()
    }
    order = sorted(spreads, key=lambda arm: -metric.better * spreads[arm].median)
    parts = []
    for arm in order:
        one = spreads[arm]
        band = f" [{one.low:.3g}, {one.high:.3g}]" if band_name(one.seeds) else ""
        parts.append(f"{arm} {one.median:.3g}{band} ({one.seeds})")
    bands = {band_name(one.seeds) for one in spreads.values()} - {""}
    return (
        f"{metric.key}, median over seeds [{' or '.join(sorted(bands)) or 'one seed'}] "
        f"(seeds): {', '.join(parts)}."
    )


def _missing(arms: Mapping[str, Mapping[int, Run]], summary: pd.DataFrame) -> str:
    text = ""
    diverged = [
        f"{arm} seed {seed}"
        for arm, runs in arms.items()
        for seed, run in runs.items()
        if run.status == DIVERGED
    ]
    if diverged:
        text += f" Diverged, counted as worst: {', '.join(diverged)}."
    failed = summary.loc[summary["status"] == FAILED].to_dict("records")
    if failed:
        runs = (f"{run['arm']}, lr={run['lr']:g}, seed={run['seed']:g}" for run in failed)
        text += f" Failed, not counted: {'; '.join(runs)}."
    return text
