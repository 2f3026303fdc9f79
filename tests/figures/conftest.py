"""Figures as objects, for the tests that look at what they show."""

from pathlib import Path

import pytest

from snaprun.figures import counted, layout


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
