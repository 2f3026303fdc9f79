"""A report of runs: one HTML file with tables and interactive curves, which needs no network."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from snaprun.checks import needing, refuse
from snaprun.files import writable, write_atomically

PACKAGES = ("plotly", "itables", "jinja2")  # of the extra `report`
NAME = "report.html"
# Begins every report, and so tells it from another file of the user's.
BEGINNING = '<!DOCTYPE html>\n<html lang="en">\n<meta name="generator" content="snaprun report">\n'


def report(sources: Sequence[Path], output: Path | None = None) -> Path:
    """Write the report of the runs in `sources`, and return its path.

    `sources` are folders of runs, panels, or one folder of panels; `output` is None for
    report.html inside the only source. An older report is replaced. Raises UserError if there are
    no runs, for another file at `output`, and if a package of the extra `report` is missing.
    """
    if not sources:
        refuse("source", [], "at least one folder of runs")
    if output is None and len(sources) > 1:
        refuse(
            "output",
            None,
            "a file",
            "It is not clear which folder of source is to hold the report.",
        )
    file = output or sources[0] / NAME
    with needing("snaprun report", "report"):
        for package in PACKAGES:
            import_module(package)
    from snaprun.report import page
    from snaprun.report.gather import gather

    gathered = gather(sources)
    _require_own(writable("output", str(file)))
    write_atomically(file, BEGINNING + page.rendered(gathered))
    return file


def _require_own(file: Path) -> None:
    """Raise UserError if `file` exists and is no report."""
    if file.exists() and not file.is_file():
        refuse("output", str(file), "a regular file")
    try:
        with file.open("rb") as opened:
            found = opened.read(len(BEGINNING))
    except FileNotFoundError:
        return
    except OSError as error:
        refuse("output", str(file), f"a file that can be read ({error.strerror})")
    if found != BEGINNING.encode():
        refuse("output", str(file), "a new file or an older report", "Remove it, or name another.")
