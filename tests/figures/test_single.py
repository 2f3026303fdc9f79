"""A panel of a single point is left out, and so is a figure without a panel."""

import pandas as pd

from snaprun import figures
from tests.figures.runs import config, write
from tests.figures.test_alignment import KEYS, pointed, values
from tests.figures.test_clear import BPC, plot, text


def test_a_single_point_has_no_figure(tmp_path, pictures):
    text(tmp_path, "snap1", BPC[:1])
    for kind in ("learning", "tradeoff"):
        assert plot(tmp_path, kind) == []
    assert not pictures


def test_a_row_or_a_panel_of_a_single_point_is_left_out(tmp_path, pictures):
    rows = [(10, {"level": 1}), (20, {"level": 3}), (20, {"mastered": 1})]
    for cell, rules in (("gru", ("snap1", "rtrl")), ("lstm", ("snap1",))):
        for rule in rules:
            write(tmp_path / f"{cell}{rule}", config(rule, cell__name=cell), rows)
    plot(tmp_path, "tradeoff")
    titles = [axes.get_title(loc="left") for axes in pictures["tradeoff-copy"].axes]
    assert titles == ["GRU-24, 75 % sparse", ""]
    plot(tmp_path / "grusnap1", "learning")
    assert [axes.get_ylabel() for axes in pictures["learning-copy"].axes] == ["L reached (bits)"]


def test_a_variance_at_a_single_point_has_no_panel(tmp_path, pictures):
    pointed(tmp_path / "run", (1000, values(0, rules=KEYS["rules"])))
    plot(tmp_path, "alignment")
    titles = {axes.get_title(loc="left") for axes in pictures["alignment-copy"].axes}
    assert "direction" in titles
    assert "variance of a draw" not in titles


def test_one_rule_at_one_size_is_a_table_alone(tmp_path):
    costs = pd.DataFrame({"cell": ["gru"], "rule": "snap1", "units": 8, "sparsity": 0.5})
    files = figures.counts(costs.assign(macs=1, state_bytes=1), tmp_path)
    assert [file.name for file in files] == ["cost.csv"]
