"""Which runs a figure shows, and in which facet and series.

A *series* holds runs that differ in the seed alone, or in keys that change nothing that is
compared. A *facet* holds the series that have one task,
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
from snaprun.identity import EXTENT, LATER, MACHINE, without_whereabouts
from snaprun.listing import flat, varying
from snaprun.store.panel import is_panel, read_panel
from snaprun.store.reader import Run, find_runs, read_run, said_within
from snaprun.store.schema import ALIGNMENT, CONFIG, DIVERGED, INCOMPLETE

_log = logging.getLogger(__name__)

# Keys that never split a series.
_NO_CHOICE = {"seed", "plugins", *EXTENT, *MACHINE, "train.log_every", "train.eval_every"}
_CHOSEN = "optim.lr"  # a panel chooses it for each series of a facet
_NEEDED = ("task.name", "cell.name", "cell.units", "sparsity.name", "rule.name", "seed")

Choices = Mapping[str, Any]  # dotted key -> value


@dataclass(frozen=True)
class Series:
    """Runs that differ in the seed alone."""

    label: str
    name: str  # in the legend of the sheet: the label, unless another facet has it with other keys
    look: Look
    rank: int  # the place of the name in the legend of the sheet
    runs: tuple[Run, ...]  # by seed

    @property
    def diverged(self) -> int:
        """How many of the runs diverged."""
        return sum(run.status == DIVERGED for run in self.runs)

    @property
    def lasted(self) -> bool:
        """Whether fewer than half of the runs diverged."""
        return 2 * self.diverged < len(self.runs)

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

    Left out, and logged by folder, are damaged runs, runs without a row, runs that repeat the
    configuration and seed of another run and, unless `incomplete`, runs without a summary. Raises
    UserError if no run is left.
    """
    found, faults = list[Run](), dict[Path, UserError]()
    for source in sources:
        if is_panel(source):
            found += read_panel(source)
            continue
        for folder in find_runs(source):
            run, fault = placed(folder)
            if fault:
                faults[folder] = fault
            elif run:
                found.append(run)
    runs, left = distinct(found, incomplete)
    if faults and not found:
        raise next(iter(faults.values()))
    for folder, fault in faults.items():
        _log.warning("left out (damaged: %s): %s", said_within(folder, fault), folder)
    for run, why in left.items():
        _log.warning("left out (%s): %s", why, run.folder)
    if not runs:
        remedy = "Wait for the runs to end, or set incomplete=true."
        refuse("source", ", ".join(map(str, sources)), "a folder with a finished run in it", remedy)
    return sheets(runs, all(map(is_panel, sources)))


def placed(folder: Path) -> tuple[Run | None, UserError | None]:
    """Return the run in `folder` if it can be read, and what keeps figures from showing it."""
    run = None
    try:
        run = read_run(folder)
        chosen_by(run)
    except UserError as fault:
        return run, fault
    return run, None


def distinct(found: Iterable[Run], incomplete: bool) -> tuple[dict[Run, Choices], dict[Run, str]]:
    """Return the runs that figures show with their choices, and why each other run is left out."""
    runs: dict[tuple[Any, Any], Run] = {}
    kept: dict[Run, Choices] = {}
    left: dict[Run, str] = {}
    # Of two equal runs, one that is done is kept, else the longer, else one with an alignment.
    ordered = sorted(
        found, key=lambda run: (run.status == INCOMPLETE, -_end(run), ALIGNMENT not in run.config)
    )
    for run in ordered:
        choices = chosen_by(run)
        identity = (frozenset(choices.items()), run.config["seed"])
        if run.status == INCOMPLETE and not incomplete:
            left[run] = "incomplete"
        elif not len(run.columns["tokens"]):
            left[run] = "no rows"
        elif identity in runs:
            left[run] = f"same configuration and seed as {runs[identity].folder}"
        else:
            runs[identity] = run
            kept[run] = choices
    return kept, left


def sheets(choices: Mapping[Run, Choices], chosen: bool) -> list[Sheet]:
    """Return the sheets, by task, of runs with their choices; `chosen` as in `Sheet`."""
    tasks: dict[str, list[Run]] = defaultdict(list)
    for run in sorted(choices, key=lambda run: run.folder):
        tasks[run.config["task"]["name"]].append(run)
    return [_sheet(task, tasks[task], choices, chosen) for task in sorted(tasks)]


def _end(run: Run) -> int:
    return int(run.columns["tokens"].max(initial=0))


def chosen_by(run: Run) -> dict[str, Any]:
    """Return the configuration in dotted keys, without keys that change nothing that is shown.

    Raises UserError, which names the key, if figures cannot place the run.
    """
    own = flat(without_whereabouts(run.config))
    for key in _NEEDED:
        if own.get(key) is None:
            raise UserError(f"{run.folder / CONFIG} has no {key}: expected the file of a run.")
    if type(own["seed"]) is not int:
        refuse(f"{run.folder / CONFIG} seed", own["seed"], "an integer")
    if not re.fullmatch(r"\d+|\[\d+(, \d+)*\]", str(own["cell.units"])):
        refuse(f"{run.folder / CONFIG} cell.units", own["cell.units"], "an integer or integers")
    if not isinstance(own.get("sparsity.level", 0), int | float):
        refuse(f"{run.folder / CONFIG} sparsity.level", own["sparsity.level"], "a number")
    # The name becomes a part of the figures' file names.
    if not re.fullmatch(r"[A-Za-z0-9_]+", str(own["task.name"])):
        refuse(f"{run.folder / CONFIG} task.name", own["task.name"], "the name of a task")
    kept = (key for key in own if not key.startswith(f"{ALIGNMENT}."))
    unused = {key for key, value in LATER.items() if own.get(key, value) == value}
    return {key: own[key] for key in kept if key not in _NO_CHOICE | unused}


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
    titles = _titles(grouped, place, rule, titled)
    in_order = sorted(grouped, key=lambda p: words.facet_order(place[p]))
    names = labels | _pooled([grouped[p] for p in in_order], place, rule, shown)
    ranked = list(dict.fromkeys(names[s] for s in order))
    variants: dict[str, list[str]] = defaultdict(list)  # of a rule
    for s in order:
        if names[s] not in variants[rule[s].text]:
            variants[rule[s].text].append(names[s])

    facets = []
    for facet_id in in_order:
        of_facet = grouped[facet_id]
        series = []
        for s in (s for s in order if s in of_facet):
            base, variant = look(rule[s].family, rule[s].degree), variants[rule[s].text]
            shade = varied(base, variant.index(names[s]))
            ordered = sorted(of_facet[s], key=lambda run: run.config["seed"])
            rank = ranked.index(names[s])
            series.append(Series(labels[s], names[s], shade, rank, tuple(ordered)))
        facets.append(Facet(titles[facet_id], tuple(series)))
    if len(facets) > 1 and len(ranked) == 1:
        facets = [_networks(facets)]
    return Sheet(task, tuple(facets), chosen)


def _networks(facets: Sequence[Facet]) -> Facet:
    """Return one facet for one rule on several networks; the networks become the series."""
    first = [(facet.title, facet.series[0]) for facet in facets]
    series = (
        Series(title, title, varied(one.look, number), number, one.runs)
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


def _pooled(
    facets: Sequence[Mapping[Any, Any]],
    place: Mapping[Any, Choices],
    rule: Mapping[Any, words.RuleWords],
    shown: set[str],
) -> dict[Any, str]:
    """Return one name for all series of a rule that no facet has twice.

    Where their choices differ between facets, the name has the value of each facet. So the rule
    keeps its look in every facet.
    """
    of_rule: dict[str, list[list[Any]]] = defaultdict(list)
    for of_facet in facets:
        for text in {rule[s].text for s in of_facet}:
            of_rule[text].append([s for s in of_facet if rule[s].text == text])
    names = {}
    for each in of_rule.values():
        if any(len(alike) > 1 for alike in each):
            continue
        own = [place[s] for (s,) in each]
        values = {
            key: tuple(dict.fromkeys(choices.get(key) for choices in own))
            for key in dict.fromkeys(key for choices in own for key in choices)
        }
        merged = {key: value if value[1:] else next(iter(value)) for key, value in values.items()}
        names |= {s: _label(rule[s], merged, shown) for (s,) in each}
    return names


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
