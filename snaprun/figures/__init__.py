"""Figures and tables without torch; all raise UserError if the folder `out` cannot be made."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snaprun.checks import one_of, refuse
from snaprun.files import write_atomically

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from snaprun.figures.select import Sheet
    from snaprun.figures.spikes import Recording
    from snaprun.metrics import Metric

KINDS = ("learning", "cost", "tradeoff", "alignment")


def plot(sources: Sequence[Path], out: Path, kinds: Sequence[str], incomplete: bool) -> list[Path]:
    """Draw each of `kinds` for each task of the panels and runs in `sources`; return the files.

    A figure is `<kind>-<task>.png`, `.pdf` and, with the plotted numbers, `.csv` in `out`. Runs
    without a summary are left out and logged unless `incomplete`. Raises UserError if a kind is
    unknown, no run is left, or `out` cannot be made.
    """
    for kind in kinds:
        one_of("kinds", kind, KINDS)
    if not kinds:
        refuse("kinds", list(kinds), f"some of {', '.join(KINDS)}")
    # Imported here, so that the command line can name the kinds without loading matplotlib.
    from snaprun.figures.select import load

    return draw(load(sources, incomplete), out, kinds)


def draw(sheets: "Sequence[Sheet]", out: Path, kinds: Sequence[str] = KINDS) -> list[Path]:
    """Draw each of `kinds` for each sheet, as `plot` does; return the files."""
    from snaprun.figures import alignment, cost, learning, tradeoff
    from snaprun.figures.style import paper

    modules: dict[str, Any] = dict(zip(KINDS, (learning, cost, tradeoff, alignment), strict=True))
    folder(Path(out))
    with paper():
        return [
            file
            for sheet in sheets
            for kind in kinds
            for file in modules[kind].draw(sheet, Path(out) / f"{kind}-{sheet.task}")
        ]


def counts(costs: "pd.DataFrame", out: Path) -> list[Path]:
    """Draw the table of `snaprun cost` as `out`/cost.png, .pdf and .csv."""
    from snaprun.figures.counted import draw
    from snaprun.figures.style import paper

    folder(out)
    with paper():
        return draw(costs, out / "cost")


def bench(tables: Mapping[str, "pd.DataFrame"], out: Path, machine: str = "") -> list[Path]:
    """Draw the tables of `snaprun bench` as `out`/bench.png, .pdf and .csv; write each as CSV.

    BPTT within budgets of memory, if it was measured, is drawn as `out`/bench_budget.png, .pdf and
    .csv; `machine` is the processor and the threads, for its caption.
    """
    from snaprun.figures import bounded, measured
    from snaprun.figures.style import paper

    folder(out)
    files = [out / f"{name}.csv" for name in tables]
    for file, table in zip(files, tables.values(), strict=True):
        write_atomically(file, table.to_csv(index=False))
    with paper():
        files += measured.draw(tables, out / "bench")
        if "budget" in tables:
            files += bounded.draw(tables["budget"], machine, out / "bench_budget")
    return files


def pattern(
    network: str, kept: "Mapping[str, NDArray[np.bool_]]", unit_P: "NDArray[np.int64]", out: Path
) -> list[Path]:
    """Draw what rules keep of the influence matrix as `out`/pattern.png, .pdf and .csv."""
    from snaprun.figures.influence import draw
    from snaprun.figures.style import paper

    folder(out)
    with paper():
        return draw(network, kept, unit_P, out / "pattern")


def searched(
    trials: "pd.DataFrame", metric: "Metric", scales: Mapping[str, str], out: Path
) -> list[Path]:
    """Draw what a search tried as `out`/search.png, .pdf and .csv."""
    from snaprun.figures.style import paper
    from snaprun.figures.trials import draw

    folder(out)
    with paper():
        return draw(trials, metric, scales, out / "search")


def raster(recording: "Recording", out: Path) -> list[Path]:
    """Draw what a spiking network does over one sequence as `out`/raster.png, .pdf and .csv."""
    from snaprun.figures.spikes import draw
    from snaprun.figures.style import paper

    folder(out)
    with paper():
        return draw(recording, out / "raster")


def folder(out: Path) -> Path:
    """Make the folder `out` unless it exists, and return it; raises UserError if that fails."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        refuse("out", str(out), f"a folder that can be made ({error.strerror})")
    return out
