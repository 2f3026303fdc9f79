"""Pictures that no test looks at are not drawn."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from snaprun.figures import counted, layout


@pytest.fixture
def only_tables(monkeypatch):
    """Empty files in place of the pictures, which take most of the time."""
    monkeypatch.setattr(Figure, "savefig", lambda self, file, **_: None)


@pytest.fixture
def pictures(monkeypatch):
    """The figures that would be written, by the names of their files."""
    found = {}

    def keep(figure, table, stem):
        figure.draw_without_rendering()
        found[Path(stem).name] = figure
        return [Path(stem)]

    for module in (layout, counted):
        monkeypatch.setattr(module, "save", keep)
    return found
