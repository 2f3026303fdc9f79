"""The figure of counted costs."""

from pathlib import Path

import pandas as pd

from snaprun.figures import counted, style


def test_ticks_are_compact_numbers_and_markup_is_drawn_nowhere(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(counted, "save", lambda figure, *_: drawn.append(figure) or [Path()])
    rows = pd.DataFrame({"cell": "gru", "rule": ["snap1", "bptt"], "units": 8, "sparsity": 0.75})
    table = rows.assign(**{column: [3e3, 2e7] for column in counted.COLUMNS})
    with style.paper():
        counted.draw(table, tmp_path / "cost")
        (figure,) = drawn
        figure.draw_without_rendering()
        for axes in figure.axes:
            shown = [tick.get_text() for tick in axes.get_yticklabels()]
            assert {"10k", "1M"} <= set(shown)
            assert all("$" not in text for text in shown)


def test_a_size_tells_its_layers(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(counted, "save", lambda figure, *_: drawn.append(figure) or [Path()])
    rows = pd.DataFrame({"cell": "gru", "rule": ["bptt", "rtrl"], "units": 8, "sparsity": 0.75})
    table = rows.assign(**dict.fromkeys(counted.COLUMNS, 1e3))
    for layers, words in ((1, "8\n75 %"), (3, "8 × 3\n75 %")):
        counted.draw(table.assign(layers=layers), tmp_path / "cost")
        drawn[-1].draw_without_rendering()
        (tick,) = drawn[-1].axes[0].get_xticklabels()
        assert tick.get_text() == words
