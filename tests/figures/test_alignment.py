"""The figure of gradients beside the exact one, from runs made up for it."""

import numpy as np
import pandas as pd
import pytest

from snaprun.figures import plot
from snaprun.figures.aligned import as_text, lines
from snaprun.figures.select import load
from tests.figures.drawn import assert_legible, texts
from tests.figures.runs import config, levels, write

SLOTS = ("whole", "z", "r", "n_x", "n_h")
KEYS = {"rules": ["rtrl", "snap1", "uoro"], "points": 3, "draws": 64, "stale": 4}
TOKENS = (0, 500, 1000)


def values(point, seed=0, rules=KEYS["rules"], slots=SLOTS, stale=True):
    """Made-up values of one point; UORO has intervals and a variance."""
    row = {}
    for place, rule in enumerate(rules):
        for slot in slots:
            cosine = {"rtrl": 1.0, "uoro": 0.1}.get(rule, 0.9 - 0.1 * point - 0.01 * place)
            found = {
                "cosine": cosine - 0.02 * seed,
                "norm_ratio": 30.0 if rule == "uoro" else cosine,
                "bias2": -0.5 if rule == "uoro" else 1 - cosine,
                "variance": 900.0 + point if rule == "uoro" else 0.0,
            }
            row |= {f"align/{rule}/{slot}/{name}": value for name, value in found.items()}
            if rule == "uoro":
                for name, value in found.items():
                    row[f"align/{rule}/{slot}/{name}_low"] = value - 0.05
                    row[f"align/{rule}/{slot}/{name}_high"] = value + 0.05
    for slot in slots if stale else ():
        for name in ("stale_fresh", "stale_exact", "fresh_exact", "stale_ratio"):
            row[f"align/snap1/{slot}/{name}"] = 0.95
    return row


def run(folder, seed=0, points=TOKENS, name="run", changes=None, **choices):
    """An aligned run whose level rises; each point is a row of its own."""
    rows = [(tokens, values(i, seed, **choices)) for i, tokens in enumerate(points)]
    return pointed(folder / f"{name}{seed}", *rows, seed=seed, **(changes or {}))


def pointed(folder, *points, seed=0, **changes):
    """The same with the rows of its points."""
    rows = levels(*[(tokens, 1 + tokens // 200) for tokens in range(0, 1001, 100)])
    rows = sorted([*rows, *points], key=lambda row: row[0])
    return write(folder, config("snap1", seed, **changes) | {"align": dict(KEYS)}, rows)


def drawn(folder, out=None):
    return plot([folder], out or folder / "figures", ("alignment",), incomplete=False)


def test_writes_three_files_with_the_learning_curve_beside_the_alignment(tmp_path):
    run(tmp_path)
    png, pdf, csv = drawn(tmp_path)
    assert [file.name for file in (png, pdf, csv)] == [
        f"alignment-copy.{kind}" for kind in ("png", "pdf", "csv")
    ]
    assert png.stat().st_size > 20_000
    table = pd.read_csv(csv)
    assert list(table) == ["tokens", "rule", "slot", "quantity", "value", "low", "high"]
    learned = table[table["rule"].isna()]
    assert set(learned["quantity"]) == {"level"}
    assert learned["value"].iloc[-1] == 6
    of_uoro = table[(table["rule"] == "uoro") & (table["slot"] == "n_h")]
    assert set(of_uoro["quantity"]) == {"cosine", "norm_ratio", "bias2", "variance"}
    last = of_uoro[of_uoro["quantity"] == "variance"].iloc[-1]
    assert (last["tokens"], last["value"]) == (1000, 902)
    assert (last["low"], last["high"]) == pytest.approx((901.95, 902.05))


def test_drawn_twice_is_the_same(tmp_path):
    run(tmp_path)
    once, twice = (drawn(tmp_path, tmp_path / name) for name in ("one", "two"))
    for one, two in zip(once, twice, strict=True):
        assert one.read_bytes() == two.read_bytes()


@pytest.fixture
def kept(monkeypatch):
    """The name, the figure and its texts of all that is drawn, instead of files."""
    drawn_figures = []

    def keep(figure, table, stem):
        figure.draw_without_rendering()
        drawn_figures.append((stem.name, figure, texts(figure)))
        return [stem]

    monkeypatch.setattr("snaprun.figures.layout.save", keep)
    return drawn_figures


def test_every_text_is_clear_and_everything_is_named(tmp_path, kept):
    rules = ["rtrl", "bptt", "tbptt8", "snap1", "snap2", "snap3", "snap4", "uoro", "rflo"]
    rules += ["rflo_random"]
    run(tmp_path / "gru", rules=rules)
    run(tmp_path / "vanilla", slots=("whole",), changes={"cell__name": "vanilla"}, stale=False)
    drawn(tmp_path)
    assert [name for name, *_ in kept] == ["alignment-copy-1", "alignment-copy-2"]
    for _, figure, found in kept:
        assert_legible(figure)
        shown = {text for text, _ in found}
        assert {"learning", "direction", "length", "bias²", "variance of a draw"} <= shown
        assert {"L reached (bits)", "data-time (tokens)", "SnAp-1", "RTRL"} <= shown
        assert "UORO (beyond the axis)" in shown
        for axes in figure.axes:
            assert axes.get_title(loc="left")
            assert axes.get_xlabel()
            assert axes.get_ylabel()
    (_, vanilla, _), (_, _, gru) = kept
    assert len(vanilla.axes) == 5
    words = {text for text, _ in gru}
    assert {"TBPTT(8)", "SnAp-4", "RFLO (random feedback)", "direction, slot n_h"} <= words
    assert "staleness of the trained rule" in words


@pytest.mark.parametrize("unknown", [1, 3])
def test_where_the_exact_gradient_is_zero_nothing_is_drawn(tmp_path, kept, unknown):
    rows = [(tokens, values(i)) for i, tokens in enumerate(TOKENS)]
    for _, row in rows[:unknown]:
        row.update(dict.fromkeys(row))
    pointed(tmp_path / "run", *rows)
    drawn(tmp_path)
    if unknown == 3:
        assert not kept
        return
    ((_, figure, _),) = kept
    titles = {axes.get_title(loc="left") for axes in figure.axes}
    assert {"variance of a draw", "staleness of the trained rule"} <= titles


def test_a_batch_without_an_update_has_no_staleness(tmp_path, kept):
    row = {name: None if "stale" in name or "fresh" in name else x for name, x in values(0).items()}
    pointed(tmp_path / "run", (500, row))
    drawn(tmp_path)
    ((_, figure, _),) = kept
    assert "direction" in {axes.get_title(loc="left") for axes in figure.axes}
    assert not any("staleness" in axes.get_title(loc="left") for axes in figure.axes)


def test_intervals_are_seen_whole_also_at_a_single_point(tmp_path, kept):
    row = values(0) | {"align/uoro/whole/cosine_low": -0.4}
    pointed(tmp_path / "run", (1000, row))
    drawn(tmp_path)
    ((_, figure, _),) = kept
    (direction,) = (axes for axes in figure.axes if axes.get_title(loc="left") == "direction")
    bars = [
        bar for lines in direction.collections for bar in getattr(lines, "get_segments", list)()
    ]
    assert [(1000, -0.4), (1000, 0.15)] in [[(x, round(y, 9)) for x, y in bar] for bar in bars]
    assert direction.get_ylim()[0] < -0.4


@pytest.mark.usefixtures("only_tables")
def test_several_seeds_become_a_median_and_its_range(tmp_path):
    for seed in range(3):
        run(tmp_path, seed)
    (sheet,) = load([tmp_path], incomplete=False)
    found = lines(sheet.facets[0].series[0].runs)
    line = found["snap1", "whole", "cosine"]
    assert line.tokens.tolist() == list(TOKENS)
    assert line.value == pytest.approx([0.87, 0.77, 0.67])
    assert line.low == pytest.approx([0.85, 0.75, 0.65])
    assert line.high == pytest.approx([0.89, 0.79, 0.69])
    assert ("snap1", "whole", "cosine_low") not in found
    assert len(drawn(tmp_path)) == 3


def test_a_point_that_a_seed_did_not_reach(tmp_path):
    run(tmp_path, 0)
    run(tmp_path, 1, points=TOKENS[:2])
    (sheet,) = load([tmp_path], incomplete=False)
    line = lines(sheet.facets[0].series[0].runs)["rtrl", "z", "cosine"]
    assert line.value == pytest.approx([0.99, 0.99, 1.0])
    assert np.isnan(line.low).tolist() == [False, False, True]


def test_runs_that_were_not_aligned_have_no_such_figure(tmp_path):
    write(tmp_path / "run", config(), levels((10, 1), (20, 2)))
    assert drawn(tmp_path) == []


def test_the_aligned_twin_of_a_run_is_the_one_that_is_shown(tmp_path):
    write(tmp_path / "a", config(), levels((0, 1), (1000, 6)))
    run(tmp_path, name="b")
    (sheet,) = load([tmp_path], incomplete=False)
    (series,) = sheet.facets[0].series
    assert series.label == "SnAp-1"
    assert [one.folder.name for one in series.runs] == ["b0"]


def test_the_last_point_as_text(tmp_path):
    run(tmp_path)
    (sheet,) = load([tmp_path], incomplete=False)
    text = as_text(sheet.runs[0]).splitlines()
    assert "after 1000 tokens" in text[0]
    headings = ["cosine", "‖g‖/‖g*‖", "bias²", "variance", "stale to fresh", "stale to exact"]
    assert all(heading in text[1] for heading in headings)
    assert [line.split()[0] for line in text[2:]] == ["RTRL", "SnAp-1", "UORO"]
    assert text[2].split()[1] == "1.0000"
    assert text[3].split()[-2:] == ["0.9500", "0.9500"]
    assert "0.1000 [0.0500, 0.1500]" in text[4]
