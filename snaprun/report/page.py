"""The page: tables, curves and figures in one HTML file, with the libraries that show them."""

import base64
import gzip
import tempfile
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image
from plotly.offline import get_plotlyjs

from snaprun import __version__, figures
from snaprun.report import charts, tables
from snaprun.report.gather import Entry, Gathered, Part
from snaprun.status import MIXED, STATES
from snaprun.store.schema import FINISHED

_SCALE = 0.6  # pixels of CSS a pixel of a picture
PICTURES = 1_500_000  # bytes of all pictures of figures


class Picture(NamedTuple):
    """A figure."""

    name: str  # with that of its file
    data: str  # a data URI
    width: int  # in pixels of CSS


def rendered(gathered: Gathered) -> str:
    """Return the HTML of a report, without the lines that begin it."""
    parts, entries = gathered.parts, gathered.entries
    numbers = {entry.run: number for number, entry in enumerate(entries) if entry.run}
    runs = [run for part in parts for run in part.sheet.runs]
    learning = [chart for part in parts for chart in charts.of_learning(part)]
    compared = [chart for part in parts for chart in charts.of_alignment(part)]
    shown, complete = pictures(parts)
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
        mixed=MIXED if any(entry.standing.mixed for entry in entries) else "",
        drawn=len(runs),
        labels=max((len({line.rank for line in chart.lines}) for chart in learning), default=0),
        results=list(tables.of_series(parts)),
        common=tables.common(runs) if runs else "",
        apart=tables.apart(parts) if runs else None,
        packed=charts.pack([*learning, *compared], numbers),
        learning=len(learning),
        compared=len(compared),
        pictures=shown,
        every_picture=complete,
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


def pictures(parts: Sequence[Part], most: int = PICTURES) -> tuple[list[Picture], bool]:
    """Return the figures that `snaprun plot` draws, and whether these are all.

    The first figure with which they would have more than `most` bytes, and what would follow it,
    is left out.
    """
    found, total = list[Picture](), 0
    with tempfile.TemporaryDirectory(prefix="snaprun-") as folder:
        for part, kind in product(parts, figures.KINDS):
            for file in figures.draw([part.sheet], Path(folder), [kind]):
                if file.suffix == ".png":
                    picture = Picture(f"{part.name}: {file.name}", *_smaller(file))
                    total += len(picture.data)
                    if total > most:
                        return found, False
                    found.append(picture)
    return found, True


def _smaller(file: Path) -> tuple[str, int]:
    """Return a PNG as a data URI of the same pixels in WebP, a third of the size; and a width."""
    content = BytesIO()
    with Image.open(file) as image:
        image.convert("RGB").save(content, "WEBP", lossless=True)
        width = round(_SCALE * image.width)
    return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}", width


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
