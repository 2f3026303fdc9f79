"""The figure of a search."""

import math
from pathlib import Path

import pandas as pd
import pytest

from snaprun.figures import layout, style, trials
from snaprun.metrics import Metric
from tests.figures.drawn import assert_legible

LOSS = Metric("loss", "loss", "bits", better=-1, worst=99.0, ceiling=10.0)
LEVEL = Metric("level", "level", "", better=1, worst=0.0)
FAILED = ("failed", math.nan)
ENDS = [("done", 3.0), ("pruned", 7.0), ("diverged", 99.0), ("done", 2.0), FAILED, ("done", 4.0)]
ENDS += [("done", 50.0)]
SCALES = {"optim.lr": "log", "cell.units": "linear", "rule": "choice"}
TABLE = pd.DataFrame(
    {
        "trial": range(7),
        "end": [end for end, _ in ENDS],
        "value": [value for _, value in ENDS],
        "optim.lr": [1e-4, 1e-3, 1e-2, 1e-1, 1e-3, 1e-2, 1.0],
        "cell.units": [4, 5, 6, 4, 5, 6, 4],
        "rule": ["snap1", "bptt", "snap1", "bptt", "snap1", "snap1", "bptt"],
    }
)


def drawn(metric: Metric, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(layout, "save", lambda figure, *_: kept.append(figure) or [Path()])
    with style.paper():
        trials.draw(TABLE, metric, SCALES, tmp_path / "search")
        kept[0].draw_without_rendering()
        assert_legible(kept[0])
    return kept[0]


@pytest.mark.parametrize(("metric", "best"), [(LOSS, 2.0), (LEVEL, 50.0)])
def test_the_line_is_the_best_so_far(metric, best, tmp_path, monkeypatch):
    history = drawn(metric, tmp_path, monkeypatch).axes[0]
    values = list(history.lines[0].get_ydata())
    expected = {2.0: [3, 3, 3, 2, 2, 2, 2], 50.0: [3, 3, 3, 3, 3, 4, 50]}[best]
    assert values == expected


def test_each_axis_has_the_scale_of_its_key_and_every_trial_once(tmp_path, monkeypatch):
    figure = drawn(LOSS, tmp_path, monkeypatch)
    history, rate, units, rule = figure.axes
    assert [axes.get_xscale() for axes in figure.axes] == ["linear", "log", "linear", "linear"]
    assert [text.get_text() for text in rule.get_xticklabels()] == ["snap1", "bptt"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["trial", *SCALES]
    for axes in figure.axes:
        marks = [line for line in axes.lines if line.get_marker() not in ("None", None)]
        assert sum(len(line.get_xdata()) for line in marks) == len(TABLE)
        edge = [line for line in marks if list(line.get_ydata()) and line.get_ydata()[0] == 0.97]
        # One diverged, one failed, and one lies beyond the ceiling.
        assert sum(len(line.get_xdata()) for line in edge) == 3
    assert units.get_ylim() == rate.get_ylim() == history.get_ylim()
    (legend,) = figure.legends
    words = [text.get_text() for text in legend.get_texts()]
    assert words == ["done (4)", "pruned (1)", "diverged (1)", "failed (1)"]


def test_a_search_without_a_value_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "_values", lambda table: table["value"].to_numpy(float) * math.nan)
    drawn(LOSS, tmp_path, monkeypatch)
