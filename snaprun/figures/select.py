"""Which runs a figure shows, and in which facet and series.

A *series* holds runs that differ in the seed alone. A *facet* holds the series that have one task,
cell and sparsity, with equal settings of these. A *sheet* holds the facets of one task and is drawn
as one figure.
"""

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snaprun.checks import UserError, refuse
from snaprun.figures import words
from snaprun.figures.style import Look, look, varied
from snaprun.identity import EXTENT, LATER
from snaprun.listing import varying
from snaprun.store.panel import is_panel, read_panel
from snaprun.store.reader import Run, find_runs, read_run
from snaprun.store.schema import ALIGNMENT, CONFIG, DIVERGED, INCOMPLETE

_log = logging.getLogger(__name__)

# Keys that never change what is learned or what it costs.
_NO_CHOICE = {
    *("seed", "name", "results", "tensorboard", "restart"),
    *(f"train.{key}_every" for key in ("log", "eval")),
    *(key for key in EXTENT if key != "train.tokens"),
}
_CHOSEN = "optim.lr"  # a panel chooses it for each series of a facet
_NEEDED = ("task.name", "cell.name", "cell.units", "sparsity.name", "rule.name", "seed")

Choices = Mapping[str, Any]  # dotted key -> value


@dataclass(frozen=True)
class Series:
    """Runs that differ in the seed alone."""

    label: str
    look: Look
    rank: int  # the place of the label in the legend of the sheet
    runs: tuple[Run, ...]  # by seed

    @property
    def diverged(self) -> int:
        """How many of the runs diverged."""
        return sum(run.status == DIVERGED for run in self.runs)

    @property
    def incomplete(self) -> int:
        """How many of the runs have no summary."""
        return sum(run.status == INCOMPLETE for run in self.runs)


@dataclass(frozen=True)
class Facet:
    """The series of one task, cell and sparsity."""

    title: str
    series: tuple[Series, ...]


@dataclass(frozen=True)
class Sheet:
    """The facets of one task."""

    task: str
    facets: tuple[Facet, ...]
    chosen: bool = False  # each series has the learning rate that was best for it

    @property
    def runs(self) -> list[Run]:
        """All runs of the sheet."""
        return [run for facet in self.facets for series in facet.series for run in series.runs]


def load(sources: Sequence[Path], incomplete: bool) -> list[Sheet]:
    """Return the sheets, by task, of the runs in `sources`: panels, or folders with runs in them.

    Left out, and logged by folder, are runs without a row, runs that repeat the configuration and
    seed of another run and, unless `incomplete`, runs without a summary. Raises UserError if no run
    is left.
    """
    runs: dict[tuple[Any, Any], Run] = {}
    choices: dict[Run, Choices] = {}
    found = [
        run
        for source in sources
        for run in (read_panel(source) if is_panel(source) else map(read_run, find_runs(source)))
    ]
    # Of two equal runs, one that is done is kept first, then one with an alignment.
    found.sort(key=lambda run: (run.status == INCOMPLETE, ALIGNMENT not in run.config))
    for run in found:
        choices[run] = _choices(run)
        identity = (frozenset(choices[run].items()), run.config["seed"])
        if run.status == INCOMPLETE and not incomplete:
            _log.warning("left out (incomplete): %s", run.folder)
        elif not len(run.columns["tokens"]):
            _log.warning("left out (no rows): %s", run.folder)
        elif identity in runs:
            same = runs[identity].folder
            _log.warning("left out (same configuration and seed as %s): %s", same, run.folder)
        else:
            runs[identity] = run
    if not runs:
        remedy = "Wait for the runs to end, or set incomplete=true."
        refuse("source", ", ".join(map(str, sources)), "a folder with a finished run in it", remedy)
    tasks: dict[str, list[Run]] = defaultdict(list)
    for run in sorted(runs.values(), key=lambda run: run.folder):
        tasks[run.config["task"]["name"]].append(run)
    chosen = all(map(is_panel, sources))
    return [_sheet(task, tasks[task], choices, chosen) for task in sorted(tasks)]


def _choices(run: Run) -> dict[str, Any]:
    """Return the configuration in dotted keys, without keys that change nothing that is shown."""
    flat = dict(dotted(run.config))
    for key in _NEEDED:
        if flat.get(key) is None:
            raise UserError(f"{run.folder / CONFIG} has no {key}: expected the file of a run.")
    if type(flat["seed"]) is not int:
        refuse(f"{run.folder / CONFIG} seed", flat["seed"], "an integer")
    if not re.fullmatch(r"\d+|\[\d+(, \d+)*\]", str(flat["cell.units"])):
        refuse(f"{run.folder / CONFIG} cell.units", flat["cell.units"], "an integer or integers")
    if not isinstance(flat.get("sparsity.level", 0), int | float):
        refuse(f"{run.folder / CONFIG} sparsity.level", flat["sparsity.level"], "a number")
    # The name becomes a part of the figures' file names.
    if not re.fullmatch(r"[A-Za-z0-9_]+", str(flat["task.name"])):
        refuse(f"{run.folder / CONFIG} task.name", flat["task.name"], "the name of a task")
    kept = (key for key in flat if not key.startswith(f"{ALIGNMENT}."))
    unused = {key for key, value in LATER.items() if flat.get(key, value) == value}
    return {key: flat[key] for key in kept if key not in _NO_CHOICE | unused}


def dotted(config: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Yield the values of a configuration by dotted keys, lists in words."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value) if isinstance(value, list) else value


def _sheet(task: str, runs: list[Run], choices: Mapping[Run, Choices], chosen: bool) -> Sheet:
    grouped: dict[Any, dict[Any, list[Run]]] = defaultdict(lambda: defaultdict(list))
    place: dict[Any, Choices] = {}  # the choices behind an identity, of a facet or a series
    for run in runs:
        facet, series = {}, {}
        for key, value in choices[run].items():
            of_facet = key.startswith(("task.", "cell.", "sparsity."))
            (facet if of_facet else series)[key] = value
        facet_id, series_id = frozenset(facet.items()), frozenset(series.items())
        place[facet_id], place[series_id] = facet, series
        grouped[facet_id][series_id].append(run)

    rule = {s: words.rule(place[s]) for of_facet in grouped.values() for s in of_facet}
    rests = [[_without(place[s], rule[s].told) for s in of_facet] for of_facet in grouped.values()]
    shown = set().union(*map(varying, rests))
    # A choice that differs between facets only, such as an lr per cell, belongs to the title.
    titled = {*varying([rest for of_facet in rests for rest in of_facet])} - shown

    if chosen:
        shown, titled = shown - {_CHOSEN}, titled - {_CHOSEN}
    labels = _labels(grouped.values(), place, rule, shown)
    # Names first: the optimiser before its numbers.
    keys = sorted({k for s in rule for k in place[s]}, key=lambda k: (not k.endswith(".name"), k))
    order = sorted(rule, key=lambda s: _series_order(rule[s], place[s], keys))
    ranked = list(dict.fromkeys(labels[s] for s in order))
    variants: dict[str, list[str]] = defaultdict(list)  # of a rule
    for s in order:
        if labels[s] not in variants[rule[s].text]:
            variants[rule[s].text].append(labels[s])

    titles = _titles(grouped, place, rule, titled)
    facets = []
    for facet_id in sorted(grouped, key=lambda p: words.facet_order(place[p])):
        of_facet = grouped[facet_id]
        series = []
        for s in (s for s in order if s in of_facet):
            base, variant = look(rule[s].family, rule[s].degree), variants[rule[s].text]
            shade = varied(base, variant.index(labels[s]))
            ordered = sorted(of_facet[s], key=lambda run: run.config["seed"])
            series.append(Series(labels[s], shade, ranked.index(labels[s]), tuple(ordered)))
        facets.append(Facet(titles[facet_id], tuple(series)))
    if len(facets) > 1 and len(ranked) == 1:
        facets = [_networks(facets)]
    return Sheet(task, tuple(facets), chosen)


def _networks(facets: Sequence[Facet]) -> Facet:
    """Return one facet for one rule on several networks; the networks become the series."""
    first = [(facet.title, facet.series[0]) for facet in facets]
    series = (
        Series(title, varied(one.look, number), number, one.runs)
        for number, (title, one) in enumerate(first)
    )
    return Facet(facets[0].series[0].label, tuple(series))


def _labels(
    facets: Iterable[Mapping[Any, Any]],
    place: Mapping[Any, Choices],
    rule: Mapping[Any, words.RuleWords],
    shown: set[str],
) -> dict[Any, str]:
    """Return each series in words, with the choices that tell it from the others of its facet."""
    keys = {s: set(shown) for s in rule}
    for of_facet in facets:
        same: dict[str, list[Any]] = defaultdict(list)
        for s in of_facet:
            same[_label(rule[s], place[s], keys[s])].append(s)
        for alike in same.values():
            # Keys that only some of these series have, and keys whose values differ, distinguish
            # series with equal labels.
            choices = [place[s] for s in alike]
            some = set().union(*choices)
            apart = (some - some.intersection(*choices)).union(varying(choices))
            for s in alike:
                keys[s] |= apart
    return {s: _label(rule[s], place[s], keys[s]) for s in rule}


def _label(rule: words.RuleWords, choices: Choices, shown: set[str]) -> str:
    rest = _without(choices, rule.told)
    return ", ".join([rule.text, *words.settings({k: v for k, v in rest.items() if k in shown})])


def _titles(
    grouped: Mapping[Any, Mapping[Any, Any]],
    place: Mapping[Any, Choices],
    rule: Mapping[Any, words.RuleWords],
    titled: set[str],
) -> dict[Any, str]:
    """Return each facet in words, with the choices that tell it from the other facets."""
    network = {p: words.network(place[p]) for p in grouped}
    rest = {p: _without(place[p], network[p].told) for p in grouped}
    told = {*varying(rest.values())}
    titles = {}
    for p, of_facet in grouped.items():
        settings = {key: value for key, value in rest[p].items() if key in told}
        for s in of_facet:
            own = _without(place[s], rule[s].told)
            settings |= {key: own[key] for key in own if key in titled}
        titles[p] = ", ".join([network[p].text, *words.settings(settings)])
    return titles


def _series_order(rule: words.RuleWords, choices: Choices, keys: Sequence[str]) -> tuple[Any, ...]:
    """Return a sort key, by which a series without a key comes before series with any value."""
    rest = _without(choices, rule.told)
    return (rule.order, [(key in rest, words.sortable(rest.get(key))) for key in keys])


def _without(choices: Choices, keys: Iterable[str]) -> dict[str, Any]:
    return {key: value for key, value in choices.items() if key not in keys}
