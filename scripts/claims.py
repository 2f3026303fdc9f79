"""Writes results/README.md and parts of other pages from templates and the tables in results/."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import costed
import jinja2
import pandas as pd
import yaml
from committed import RESULTS, ROOT, table

from snaprun.figures.stats import over_seeds
from snaprun.metrics import Metric
from snaprun.store import DIVERGED
from snaprun.store.panel import read_arms, read_metrics
from snaprun.studies.metric import final

COPY = {  # in the order of the tables
    "copy_gru128": "GRU-128, 75 %",
    "copy_gru128_sparse": "GRU-128, 93.75 %",
    "copy_gru256": "GRU-256, 93.75 %",
    "copy_gru512": "GRU-512, 98.44 %",
    "copy_vanilla128": "vanilla-128, 75 %",
    "copy_vanilla128_sparse": "vanilla-128, 93.75 %",
    "copy_vanilla256": "vanilla-256, 93.75 %",
    "copy_vanilla512": "vanilla-512, 98.44 %",
    "copy_lstm128": "LSTM-128, 75 %",
    "copy_lstm128_snap2": "LSTM-128, 75 %",
    "copy_lstm256": "LSTM-256, 93.75 %",
    "copy_lstm512": "LSTM-512, 98.44 %",
}
CHARLM = {
    "charlm_gru128": "GRU-128",
    "charlm_vanilla128": "vanilla-128",
    "charlm_lstm128": "LSTM-128",
    "charlm_wikitext": "GRU-128, WikiText",
}
SPIKING = (
    "store_recall",
    "store_recall_sparse",
    "fashion_rows",
    "function_family",
    "digits_rate",
)


class Pair(NamedTuple):
    """The paired difference of two arms: median, band, and p of the sign-flip test.

    `holm` is p adjusted for the pairs that the panel planned, NaN for other pairs.
    """

    difference: float
    low: float
    high: float
    p: float
    holm: float
    least: float  # the smallest p possible with so many seeds


LEVEL = 0.05  # a difference counts as shown if its p is no larger
TEN_SEEDS = 2**-9  # the smallest p possible with ten seeds


def decimals(panel: str) -> int:
    """Return the decimals of a panel's metric: 1 for levels, 2 for bpc, 3 for shares and errors."""
    return 1 if panel.startswith("copy") else 3 if panel in SPIKING else 2


def number(value: float, panel: str, signed: bool = False) -> str:
    """Write a number in the panel's decimals, with a true minus sign and without a final .0."""
    text = f"{value:{'+' if signed else ''}.{decimals(panel)}f}"
    if float(text) == 0:
        return "0"
    return text.removesuffix(".0").replace("-", "−")


def finals(panel: str, arm: str, column: str = "final") -> list[float]:
    """Return what the runs of an arm reached, one number per seed; diverged counts as worst."""
    runs = table(panel, "summary")
    if column not in runs:
        return []
    judged = column.removeprefix("final_") if column != "final" else judge(panel)
    runs = runs[(runs.phase == "final") & (runs.arm == arm)]
    worst = measured(panel)[judged].worst
    return runs[column].mask(runs.status == DIVERGED, worst).dropna().tolist()


@cache
def measured(panel: str) -> dict[str, Metric]:
    """Return the metrics of a panel's runs, by key."""
    return read_metrics(RESULTS / panel)


@cache
def recorded(panel: str) -> dict[str, Any]:
    """Return what a panel recorded of itself."""
    return yaml.safe_load((RESULTS / panel / "panel.yaml").read_text(encoding="utf-8"))


def judge(panel: str) -> str:
    """Return the key of the metric that a panel's runs are judged by."""
    return str(table(panel, "tests").metric.iloc[0])


def med(panel: str, arm: str) -> str:
    """Write the median over seeds of what an arm reached."""
    return number(over_seeds(finals(panel, arm)).median, panel)


def reached(panel: str, arm: str, column: str = "final") -> str:
    """Write the median over seeds of what an arm reached, with its band; empty if no runs."""
    values = finals(panel, arm, column)
    return banded(values, lambda value: number(value, panel)) if values else ""


def banded(values: list[float], written: Callable[[float], str]) -> str:
    """Write the median of one number for each seed, with its band."""
    spread = over_seeds(values)
    return f"{written(spread.median)} [{written(spread.low)}, {written(spread.high)}]"


def extreme(panel: str, arm: str, which: Literal["min", "max"]) -> str:
    """Write the smallest or the largest number that a run of an arm reached."""
    return number({"min": min, "max": max}[which](finals(panel, arm)), panel)


def delayed(panel: str, arm: str, delay: int) -> str:
    """Write the accuracy of an arm's runs at a delay with frozen weights, with its band."""
    runs = table(panel, "delays")
    runs = runs[(runs.arm == arm) & (runs.delay == delay)]
    return banded(runs.validation_accuracy.tolist(), "{:.3f}".format)


def tenth(arm: str, which: Literal["first", "last"]) -> str:
    """Write an arm's error in a tenth of an episode of function_family, with its band."""
    runs = table("function_family", "episodes")
    values = runs[runs.arm == arm][f"validation_mse_{which}_tenth"].tolist()
    return banded(values, "{:.3f}".format)


def agreement(code: str, steps: int) -> list[str]:
    """Write the smallest cosines of the rule rate with BPTT, from the lowest layer up."""
    rows = table("digits_rate", "cosines")
    rows = rows[(rows.code == code) & (rows.steps == steps) & (rows.slot != "whole")]
    return [f"{value:.3f}" for value in rows.sort_values("slot")["min"]]


def costly(steps: int, rule: str) -> pd.Series:
    """Return the milliseconds of an update and the bytes kept by a rule in digits_rate."""
    rows = table("digits_rate", "costs")
    return rows[(rows.steps == steps) & (rows.rule == rule)].squeeze()


def rate(panel: str, arm: str) -> str:
    """Write the learning rate of an arm."""
    runs = table(panel, "summary")
    (found,) = runs.lr[(runs.phase == "final") & (runs.arm == arm)].unique()
    return f"{found:.2g}"


def pair(
    panel: str, arm: str, other: str, equal: str = "tokens", metric: str | None = None
) -> Pair | None:
    """Return `arm` minus `other` on equal seeds; None if the panel does not have the pair.

    `equal` is an entry of snaprun.studies.paired.EQUAL. The default `metric` is that of the panel.
    """
    tests = table(panel, "tests")
    tests = tests[(tests.equal == equal) & (tests.metric == (metric or judge(panel)))]
    tests = tests.set_index(["arm", "other"])
    for names, sign in (((arm, other), 1), ((other, arm), -1)):
        if names in tests.index and pd.notna(tests.loc[names].difference):
            row = tests.loc[names]
            low, high = sorted((sign * row.low, sign * row.high))
            return Pair(sign * row.difference, low, high, row.p, row.p_holm, row.p_least)
    return None


def diff(panel: str, arm: str, other: str, equal: str = "tokens", metric: str | None = None) -> str:
    """Write a paired difference; empty if the panel does not have the pair."""
    found = pair(panel, arm, other, equal, metric)
    if found is None:
        return ""
    edges = f"{number(found.low, panel)}, {number(found.high, panel)}"
    known = pd.notna(found.holm) and round(found.p, 2) < 1
    adjusted = f" ({chance(found.holm)})" if known else ""
    difference = number(found.difference, panel, signed=True)
    return f"{difference} [{edges}], p {chance(found.p)}{adjusted}"


def chance(p: float) -> str:
    """Write a probability with two decimals, or with three if two would hide something."""
    if round(p, 2) == 1:
        return "1"
    return f"{p:.3f}" if p < 0.01 or round(p, 2) == LEVEL else f"{p:.2f}"


def most(panel: str, arm: str, other: str) -> str:
    """Write the largest absolute difference of two arms on one seed."""
    runs = table(panel, "summary")
    runs = runs[runs.phase == "final"].set_index(["arm", "seed"]).final
    return number((runs[arm] - runs[other]).abs().max(), panel)


def same_rule() -> dict[str, str]:
    """Return the panels, with names, in which RFLO equals TBPTT(1) and has the same rate."""
    found = {}
    for panel, name in (COPY | CHARLM).items():
        arms = recorded(panel)["arms"]
        if {"rflo", "tbptt1"} <= arms.keys():
            one, two = arms["rflo"], arms["tbptt1"]
            cell = one["config"]["cell"]
            if cell["name"] == "vanilla" and cell["alpha"] == 1 and one["lr"] == two["lr"]:
                found[panel] = name
    return found


def span(panels: list[str], arm: str, *others: str, equal: str = "tokens") -> str:
    """Write the range of the differences of `arm` to `others`, over the panels that have them."""
    found = [(pair(panel, arm, other, equal), panel) for panel in panels for other in others]
    low, *_, high = sorted((test.difference, panel) for test, panel in found if test)
    return " to ".join(number(*end, signed=True) for end in (low, high))


def better(panel: str, found: Pair, metric: str | None = None) -> bool:
    """Return whether the first arm is ahead by `metric`, by default the metric of the panel."""
    return found.difference * measured(panel)[metric or judge(panel)].better > 0


def holds(panels: list[str], arm: str, *others: str) -> str:
    """Write `**holds**` and the exceptions: networks where `arm` is not ahead with p ≤ 0.05.

    Raises AssertionError if a fifth of the networks or more are exceptions.
    """
    without = [
        panel
        for panel in panels
        if any(
            test.p > LEVEL or not better(panel, test)
            for other in others
            if (test := pair(panel, arm, other))
        )
    ]
    assert 5 * len(without) < len(panels), without
    names = [(COPY | CHARLM).get(panel, panel) for panel in without]
    return "**holds**" + (f" (except on {costed.listed(names)})" if names else "")


def shown(
    panels: list[str], arm: str, other: str, metric: str | None = None, ahead: bool = True
) -> str:
    """Count the networks with ten seeds on which `arm` is ahead (or behind) after Holm."""
    found = {panel: pair(panel, arm, other, metric=metric) for panel in panels}
    tested = {panel: test for panel, test in found.items() if test and test.least <= TEN_SEEDS}
    count = sum(
        test.holm <= LEVEL and better(panel, test, metric) == ahead
        for panel, test in tested.items()
    )
    return f"{count} of {len(tested)}"


def updates(panels: list[str], arm: str) -> str:
    """Write the range over panels of the median number of updates in the runs of an arm."""
    ends = []
    for panel in panels:
        runs = table(panel, "summary")
        ends.append(runs.updates[(runs.phase == "final") & (runs.arm == arm)].median())
    return f"{min(ends):,.0f} to {max(ends):,.0f}"


def with_arm(panels: dict[str, str], arm: str, column: str = "final") -> list[str]:
    """Return the panels that have compared runs of an arm."""
    return [panel for panel in panels if finals(panel, arm, column)]


def tokens(panel: str) -> str:
    """Write the number of tokens of the compared runs."""
    runs = table(panel, "summary")
    return f"{runs.loc[runs.phase == 'final', 'tokens'].max() / 1e6:.2g} M"


def gap(panel: str, arm: str, other: str) -> str:
    """Write how far `arm` lies above `other`; raises AssertionError if `arm` does not."""
    found = pair(panel, arm, other)
    assert found is not None
    assert found.difference > 0, (panel, arm, other)
    return number(found.difference, panel)


def late(panel: str, arm: str, other: str, metric: str) -> str:
    """Write the median paired difference of a metric's mean over the last tenth of the tokens."""
    arms, by = read_arms(RESULTS / panel), measured(panel)[metric]
    one, two = arms[arm], arms[other]
    differences = [final(one[seed], by) - final(two[seed], by) for seed in one.keys() & two.keys()]
    return number(over_seeds(differences).median, panel, signed=True)


def cosines(folder: str, rule: str) -> str:
    """Write the range of the cosine with the exact gradient, without the run's first point."""
    rows = table(f"{folder}/figures", "alignment-copy")
    rows = rows[(rows.rule == rule) & (rows.slot == "whole") & (rows.quantity == "cosine")]
    ends = rows.sort_values("tokens").value[1:].agg(["min", "max"])
    digits = 2 if ends["min"] < 0.99 else 3 if ends["min"] < 0.999 else 4
    low, high = (f"{end:.{digits}f}" for end in ends)
    return low if low == high else f"{low} to {high}"


def panels() -> list[dict[str, object]]:
    """Return what each panel recorded of itself, its number of runs and its hours."""
    rows = []
    for file in sorted(RESULTS.glob("*/panel.yaml")):
        panel = recorded(file.parent.name)
        runs = table(panel["panel"], "summary")
        rows.append({**panel, "runs": len(runs), "hours": runs.seconds.sum() / 3600})
    return rows


# The functions that a template can call.
WORDS = (
    *costed.WORDS,
    *(agreement, chance, cosines, costly, delayed, diff, extreme, finals, gap, holds),
    *(late, med, most, pair, rate, reached, same_rule, shown, span, tenth, tokens, updates),
    with_arm,
)


def page(template: str = "claims.md.jinja") -> str:
    """Fill in a template of scripts/; the default makes results/README.md."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROOT / "scripts"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(
        copy=COPY,
        cells=costed.NAMES,
        inputs=costed.INPUTS,
        charlm=CHARLM,
        spiking=SPIKING,
        panels=panels(),
        **{f.__name__: f for f in WORDS},
    )


def with_parts(file: Path) -> str:
    """Return a page, each part between comments that name a template filled in anew."""

    def anew(found: re.Match[str]) -> str:
        return found[1] + page(found[2]) + found[3]

    text = file.read_text(encoding="utf-8")
    part = r"(<!-- scripts/claims.py writes this from (\S+) -->\n).*?(<!-- down to here -->\n)"
    text, found = re.subn(part, anew, text, flags=re.DOTALL)
    assert found, f"{file.name} lacks the comments around the verdicts or the table of costs"
    return text


def pages() -> dict[Path, str]:
    """Return the text of every file that is made from the tables."""
    return {
        RESULTS / "README.md": page(),
        RESULTS / "bench" / "README.md": page("bench.md.jinja"),
        RESULTS / "sab.md": page("sab.md.jinja"),
        RESULTS / "spiking.md": page("spiking.md.jinja"),
        **{file: with_parts(file) for file in (ROOT / "README.md", ROOT / "docs" / "costs.md")},
    }


if __name__ == "__main__":
    for file, text in pages().items():
        file.write_text(text, encoding="utf-8")
