"""The figure of the bench: what it plots, and words where there is no number."""

import pandas as pd
import pytest
from matplotlib.figure import Figure

from snaprun import figures
from snaprun.figures import words
from snaprun.figures.measured import _fractions, _kernel
from snaprun.figures.style import paper


def kernel(*fractions):
    return pd.DataFrame(
        {
            "network": "gru-8@0.5",
            "lanes": [16] * (len(fractions) - 1) + [1],
            "backend": ["torch", "native"][: len(fractions)],
            "ms": 2.0,
            "ms_low": 1.0,
            "ms_high": 4.0,
            "roofline_ms": 0.5,
            "fraction": fractions,
        }
    )


@pytest.mark.parametrize("fractions", [(0.25, None), (None, None), (0.25, 0.25)])
def test_a_row_without_a_ceiling_has_words_and_neither_marker_nor_bar(fractions):
    chart = _kernel(kernel(*fractions))
    for column in ("value", "low", "high"):
        assert chart.points[column].notna().tolist() == [x is not None for x in fractions]
    axes = Figure().subplots()
    with paper():
        _fractions(axes, chart.points)
    texts = [text.get_text() for text in axes.texts]
    assert texts == [words.CEILING_NOT_REACHED] * fractions.count(None)
    assert axes.get_xlim() == (0, 1.05)


def test_one_engine_of_a_row_is_named():
    table = kernel(0.25, None).assign(lanes=16)
    axes = Figure().subplots()
    _fractions(axes, _kernel(table).points)
    assert [text.get_text() for text in axes.texts] == [f"native: {words.CEILING_NOT_REACHED}"]


def test_ratios_to_bptt_have_a_panel_a_row_a_cell_task_and_lanes(tmp_path):
    ratios = pd.DataFrame(
        {
            "what": [words.SNAP1_OVER_BPTT] * 3 + ["something else"],
            "network": ["gru-8@0.5", "gru-8@0.5", "lstm-8@0.5", "lstm-8@0.5"],
            "task": ["copy", "characters", "copy", "copy"],
            "lanes": [16, 16, 1, 1],
            "engine": ["native", "native", "jax", "jax"],
            "ratio": [1.1, 2.0, 30.0, 7.0],
            "ratio_low": [1.0, 1.9, 20.0, 7.0],
            "ratio_high": [1.2, 2.1, 40.0, 7.0],
        }
    )
    figures.bench({"ratios": ratios}, tmp_path)
    plotted = pd.read_csv(tmp_path / "bench.csv")
    assert plotted["what"].tolist() == [
        "GRU, copy, 16 lanes",
        "GRU, characters, 16 lanes",
        "LSTM, copy, 1 lane",
    ]
    assert plotted["value"].tolist() == [1.1, 2.0, 30.0]
    assert set(plotted["panel"]) == {"SnAp-1 / BPTT: 8 units at 50 %"}
