"""snaprun plot draws figures from the metrics of runs, and of the entries that rules keep."""

from functools import partial
from pathlib import Path

from snaprun import checks, config, figures
from snaprun.files import paths
from snaprun.outcome import Outcome
from snaprun.store.panel import panels_in
from snaprun.terminal import say


def run(
    source: str | list,
    kind: str,
    out: str | None,
    incomplete: bool,
    pattern: dict,
    run: str | None = None,
) -> Outcome:
    """Draw the figures of one kind, or of all kinds for which the runs hold numbers."""
    checks.one_of("kind", kind, ("all", *figures.KINDS, "pattern", "raster"))
    chosen = None if out is None else Path(out)
    if kind == "pattern":
        from snaprun.commands.pattern import draw  # needs torch

        drawing = partial(draw, chosen)
        say("\n".join(map(str, drawing(**config.arguments("pattern", drawing, pattern)))))
        return Outcome()
    if kind == "raster":
        from snaprun.commands import raster  # needs torch

        say("\n".join(map(str, raster.draw(chosen, run))))
        return Outcome()
    kinds = figures.KINDS if kind == "all" else (kind,)
    sources = paths(source)
    if not sources:
        checks.refuse("source", source, "at least one folder of runs")
    if chosen is None and len(sources) > 1:
        checks.refuse("out", None, "a folder", "There is no telling in which of source to draw.")
    panels = panels_in(sources[0]) if len(sources) == 1 else []
    drawn = {chosen / panel.name if chosen else panel / "figures": [panel] for panel in panels}
    nothing = True
    for folder, runs in (drawn or {chosen or sources[0] / "figures": sources}).items():
        for file in figures.plot(runs, folder, kinds, incomplete):
            say(file)
            nothing = False
    if nothing:
        checks.refuse("kind", kind, "a kind for which these runs hold numbers")
    return Outcome()
