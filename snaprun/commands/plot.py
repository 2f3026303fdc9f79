"""snaprun plot draws figures from the metrics of runs, and of the entries that rules keep."""

from dataclasses import dataclass
from pathlib import Path

from snaprun import checks, figures
from snaprun.commands.base import FlatKeys
from snaprun.outcome import Outcome
from snaprun.store.panel import panels_in
from snaprun.terminal import say


@dataclass(frozen=True)
class Keys(FlatKeys):
    """The keys of conf/plot.yaml."""

    source: str | list
    kind: str
    out: str | None
    incomplete: bool
    pattern: dict


def run(keys: Keys) -> Outcome:
    """Draw the figures of one kind, or of all kinds for which the runs hold numbers."""
    checks.one_of("kind", keys.kind, ("all", *figures.KINDS, "pattern"))
    out = None if keys.out is None else Path(keys.out)
    if keys.kind == "pattern":
        from snaprun.commands import pattern  # needs torch

        say("\n".join(map(str, pattern.draw(pattern.Keys.under(keys.pattern), out))))
        return Outcome()
    kinds = figures.KINDS if keys.kind == "all" else (keys.kind,)
    given = keys.source
    sources = [Path(str(source)) for source in (given if isinstance(given, list) else [given])]
    if not sources:
        checks.refuse("source", given, "at least one folder of runs")
    if out is None and len(sources) > 1:
        checks.refuse("out", None, "a folder", "There is no telling in which of source to draw.")
    panels = panels_in(sources[0]) if len(sources) == 1 else []
    drawn = {out / panel.name if out else panel / "figures": [panel] for panel in panels}
    nothing = True
    for folder, runs in (drawn or {out or sources[0] / "figures": sources}).items():
        for file in figures.plot(runs, folder, kinds, keys.incomplete):
            say(file)
            nothing = False
    if nothing:
        checks.refuse("kind", keys.kind, "a kind for which these runs hold numbers")
    return Outcome()
