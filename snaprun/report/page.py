"""The page: tables, curves and figures in one HTML file, with the libraries that show them."""

import base64
import gzip
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image
from plotly.offline import get_plotlyjs

from snaprun import __version__, figures
from snaprun.figures.select import Sheet
from snaprun.report import charts, tables
from snaprun.report.gather import Entry, Gathered
from snaprun.status import STATES
from snaprun.store.schema import FINISHED

PICTURES = 1_500_000  # bytes of all pictures of figures; more are left out and named


class Picture(NamedTuple):
    """A figure, or that it was left out."""

    name: str  # of its file
    data: str  # a data URI; "" if it was left out


def rendered(gathered: Gathered) -> str:
    """Return the HTML of a report, without the lines that begin it."""
    sheets, entries = gathered.sheets, gathered.entries
    numbers = {entry.run: number for number, entry in enumerate(entries) if entry.run}
    runs = [run for sheet in sheets for run in sheet.runs]
    learning = [chart for sheet in sheets for chart in charts.of_learning(sheet)]
    compared = [chart for sheet in sheets for chart in charts.of_alignment(sheet)]
    environment = Environment(
        loader=PackageLoader("snaprun.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.jinja").render(
        title=", ".join(gathered.sources),
        sources=gathered.sources,
        made=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        version=__version__,
        versions=_versions(entries),
        states=_states(entries),
        unfinished=[
            (gathered.named(entry.standing.folder), entry.standing.state, gathered.told(entry.why))
            for entry in entries
            if entry.why or entry.standing.state != FINISHED
        ],
        runs=tables.of_runs(gathered),
        drawn=len(runs),
        labels=max((len({line.rank for line in chart.lines}) for chart in learning), default=0),
        results=list(tables.of_series(sheets)),
        common=tables.common(runs) if runs else "",
        apart=tables.apart(sheets) if runs else None,
        packed=charts.pack([*learning, *compared], numbers),
        learning=len(learning),
        compared=len(compared),
        pictures=list(pictures(sheets)),
        plotly=zipped(get_plotlyjs()),
        datatables=zipped(_text("itables", "html/dt_bundle.js")),
        datatables_css=Markup(_text("itables", "html/dt_bundle.css")),
        script=Markup(_text("snaprun.report", "assets/page.js")),
        style=Markup(_text("snaprun.report", "assets/page.css")),
    )


def _text(package: str, name: str) -> str:
    return files(package).joinpath(name).read_text("utf-8")


def zipped(script: str) -> str:
    """Return a library as gzip in base64, two fifths of its size, which the page unpacks."""
    return base64.b64encode(gzip.compress(script.encode(), mtime=0)).decode()


def pictures(sheets: Sequence[Sheet], most: int = PICTURES) -> Iterator[Picture]:
    """Yield the figures that `snaprun plot` draws, until they have more than `most` bytes."""
    with tempfile.TemporaryDirectory(prefix="snaprun-") as folder:
        drawn = [file for file in figures.draw(sheets, Path(folder)) if file.suffix == ".png"]
        total = 0
        for file in drawn:
            data = _smaller(file)
            total += len(data)
            yield Picture(file.name, data if total <= most else "")


def _smaller(file: Path) -> str:
    """Return a PNG as a data URI of the same pixels in WebP, a third of the size."""
    content = BytesIO()
    with Image.open(file) as image:
        image.convert("RGB").save(content, "WEBP", lossless=True)
    return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}"


def _states(entries: Sequence[Entry]) -> dict[str, int]:
    """Return how many runs are in each state, in the order in which `snaprun status` tells it."""
    counts = Counter(entry.standing.state for entry in entries)
    return {state: counts[state] for state in STATES if counts[state]}


def _versions(entries: Sequence[Entry]) -> list[str]:
    """Return the versions with which the runs were made, as far as they say."""
    found = dict.fromkeys(
        ", ".join(f"{name} {version}" for name, version in versions.items())
        for entry in entries
        if entry.run
        and entry.run.summary
        and isinstance(versions := entry.run.summary.extras.get("versions"), dict)
    )
    return list(found)
