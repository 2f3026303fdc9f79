"""What a reader must be able to tell in a figure: each rule, in each panel, whatever it does."""

import logging

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.markers import CARETDOWN, CARETUP

from snaprun import figures
from snaprun.figures import counted, marks, measured, style
from snaprun.figures.select import load
from snaprun.identity import MACHINE
from tests.figures.drawn import assert_legible
from tests.figures.runs import RULES, config, levels, write
from tests.figures.test_alignment import TOKENS, pointed, values

BPC = [(1000 * (n + 1), 2 + 3 * np.exp(-n / 4)) for n in range(30)]


def text(folder, rule, curve=BPC, status="finished", seed=0, per_token=1.0, **changes):
    """A run on a text whose bpc is `curve`, pairs of tokens and values."""
    rows = [(at, {"bpc": float(value)}) for at, value in curve]
    made = config(rule, seed, task__name="charlm", **changes)
    name = f"{rule}{len(list(folder.glob('*')))}"
    return write(folder / name, made, rows, status, per_token)


def shifted(by):
    return [(at, value + by) for at, value in BPC]


def plot(folder, kind):
    return figures.plot([folder], folder / "figures", [kind], False)


def legend(figure):
    """The handles of the legend by their labels."""
    (shown,) = figure.legends
    named = zip(shown.get_texts(), shown.get_lines(), strict=True)
    return {label.get_text(): handle for label, handle in named}


def looks(axes):
    """Colour and marker of the markers drawn in data units, edges aside."""
    return {
        (matplotlib.colors.to_hex(line.get_color()), line.get_marker())
        for line in axes.get_lines()
        if line.get_marker() not in ("None", CARETUP, CARETDOWN)
    }


def of(family):
    one = style.LOOKS[family]
    return matplotlib.colors.to_hex(one.colour), one.marker


def edges(axes):
    """The marks at the edges of axes: colour, marker, and place in units of the axes."""
    return [
        (line.get_color(), line.get_marker(), float(line.get_xdata()[0]), line.get_ydata()[0])
        for line in axes.get_lines()
        if line.get_transform() == axes.transAxes
    ]


def test_a_rule_has_one_look_in_panels_with_different_rules_and_rates(tmp_path, pictures):
    panels = {"gru": ("bptt", "rtrl", "snap2"), "lstm": ("snap2", "uoro"), "vanilla": ("snap1",)}
    for number, (cell, rules) in enumerate(panels.items()):
        for rule in (*rules, "frozen"):
            lr = 0.1 / 2**number if rule != "frozen" else 0.1
            text(tmp_path, rule, cell__name=cell, optim__lr=lr)
    plot(tmp_path, "learning")
    vanilla, gru, lstm = pictures["learning-charlm"].axes[:3]
    assert looks(vanilla) == {of("SnAp-1"), of("frozen")}
    assert looks(gru) == {of("BPTT"), of("RTRL"), of("SnAp-2"), of("frozen")}
    assert looks(lstm) == {of("SnAp-2"), of("UORO"), of("frozen")}
    handles = legend(pictures["learning-charlm"])
    assert [name for name in handles if "SnAp-2" in name] == ["SnAp-2, lr=0.1 | 0.05"]
    (sheet,) = load([tmp_path], False)
    own = {series.label for facet in sheet.facets for series in facet.series}
    assert {"SnAp-2, lr=0.1", "SnAp-2, lr=0.05"} <= own  # as tables and the cost figure have it
    assert_legible(pictures["learning-charlm"])


def test_no_other_rule_changes_the_look_of_one(tmp_path):
    def of_snap2(folder):
        (sheet,) = load([folder], False)
        return [s.look for s in sheet.facets[0].series if s.label.startswith("SnAp-2")]

    text(tmp_path / "alone", "snap2")
    for rule in RULES:
        text(tmp_path / "all", rule)
    assert of_snap2(tmp_path / "alone") == of_snap2(tmp_path / "all") == [style.LOOKS["SnAp-2"]]


def test_the_learning_curve_beside_an_alignment_has_the_look_of_its_rule(tmp_path, pictures):
    for lr in (0.1, 0.2):  # the second one is a variant in other figures
        points = [(at, values(i)) for i, at in enumerate(TOKENS)]
        pointed(tmp_path / f"{lr}", *points, optim__lr=lr)
    plot(tmp_path, "alignment")
    for name in ("alignment-copy-1", "alignment-copy-2"):
        assert looks(pictures[name].axes[0]) == {of("SnAp-1")}


@pytest.mark.parametrize("key", [*MACHINE, "train__tokens", "train__strict", "dry", "plugins"])
def test_keys_of_the_machine_and_the_length_split_no_series(tmp_path, key):
    for seed in range(2):
        made = config(seed=seed) | dict.fromkeys(MACHINE, "same") | {"dry": 0, "plugins": "one"}
        made["train"] |= {"tokens": 20, "strict": False}
        group, _, last = key.rpartition("__")
        (made[group] if group else made)[last] = 10 + seed
        write(tmp_path / f"{seed}", made, levels((10, 1), (20, 2)))
    (sheet,) = load([tmp_path], False)
    (series,) = sheet.facets[0].series
    assert (series.label, len(series.runs)) == ("SnAp-1", 2)


def test_what_all_runs_share_is_in_no_legend(tmp_path):
    for rule in ("snap1", "bptt"):
        made = config(rule, optim__lr=0.25) | {"threads": 2, "dtype": "float64"}
        write(tmp_path / rule, made, levels((10, 1), (20, 2)))
    (sheet,) = load([tmp_path], False)
    assert [series.label for series in sheet.facets[0].series] == ["BPTT", "SnAp-1"]


def test_a_short_seed_is_not_carried_on_to_the_end_of_a_long_one(tmp_path):
    for seed, most in enumerate((20, 40)):
        rows = levels(*((at, at // 10 * (seed + 1)) for at in range(10, most + 1, 10)))
        write(tmp_path / f"{seed}", config(seed=seed, train__tokens=most), rows)
    plot(tmp_path, "learning")
    table = pd.read_csv(tmp_path / "figures" / "learning-copy.csv")
    assert dict(zip(table["at"], table["median"], strict=True)) == {10: 1.5, 20: 3, 30: 6, 40: 8}
    assert table["seeds"].tolist() == [2, 2, 1, 1]


def test_of_one_seed_in_two_lengths_the_longer_run_is_shown(tmp_path, caplog):
    for most in (20, 40):
        rows = levels((10, 1), (most, 2))
        write(tmp_path / f"{most}", config(train__tokens=most), rows)
    with caplog.at_level(logging.WARNING):
        (sheet,) = load([tmp_path], False)
    assert [run.folder.name for run in sheet.runs] == ["40"]
    assert str(tmp_path / "20") in caplog.text


# Lines that coincide.


def test_equal_curves_are_told_in_the_legend_and_by_markers_side_by_side(tmp_path, pictures):
    for rule, by in (("rtrl", 0), ("snap1", 1e-9), ("snap2", 0.1)):
        text(tmp_path, rule, shifted(by))
    plot(tmp_path, "learning")
    figure = pictures["learning-charlm"]
    assert list(legend(figure)) == ["RTRL", "SnAp-1 (= RTRL)", "SnAp-2"]
    marked = [line for line in figure.axes[0].get_lines() if line.get_marker() != "None"]
    places = [set(np.round(line.get_xdata(), 6)) for line in marked]
    assert all(places)
    assert not places[0] & places[1]
    x, y = np.array(BPC)[:, 0], np.array([value for _, value in BPC])
    for line in marked[:2]:
        np.testing.assert_allclose(line.get_ydata(), np.interp(line.get_xdata(), x, y), rtol=1e-6)


def test_a_curve_of_its_own_in_one_panel_is_not_equal(tmp_path, pictures):
    for rule in ("rtrl", "snap1"):
        text(tmp_path, rule, cell__name="gru")
        text(tmp_path, rule, shifted(0.1 * (rule == "rtrl")), cell__name="lstm")
    plot(tmp_path, "learning")
    assert list(legend(pictures["learning-charlm"])) == ["RTRL", "SnAp-1"]


def test_equal_gradients_are_told_in_the_legend(tmp_path, pictures):
    rules = ["rtrl", "snap1", "snap2", "uoro"]
    points = [(at, values(i, rules=rules)) for i, at in enumerate(TOKENS)]
    for _, row in points:
        for name in [name for name in row if "/snap2/" in name]:
            row[name] = row[name.replace("/snap2/", "/rtrl/")] + 1e-10
    pointed(tmp_path / "run", *points)
    plot(tmp_path, "alignment")
    named = [name for name in legend(pictures["alignment-copy"]) if "staleness" not in name]
    assert named == ["RTRL", "SnAp-1", "SnAp-2 (= RTRL)", "UORO (beyond the axis)"]


def test_equal_costs_stand_side_by_side(tmp_path, pictures):
    rows = [
        {"cell": "gru", "rule": rule, "units": units, "sparsity": 0.5}
        for rule in ("rflo", "snap1", "frozen")
        for units in (8, 16)
    ]
    costs = pd.DataFrame(rows).assign(macs=[10, 20] * 3, state_bytes=[5, 9, 5, 9, 0, 0])
    with style.paper():
        counted.draw(costs, tmp_path / "cost")
    figure = pictures["cost"]
    assert list(legend(figure)) == ["RFLO", "SnAp-1 (= RFLO)", "frozen (no state)"]
    rflo, snap1, frozen = [line for line in figure.axes[1].get_lines() if len(line.get_xdata()) > 1]
    assert not {*rflo.get_xdata()} & {*snap1.get_xdata()}
    assert np.isnan(frozen.get_ydata()).all()
    assert [marker for _, marker, *_ in edges(figure.axes[1])] == [CARETDOWN] * 2


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_markers_lie_on_the_straight_line_between_two_points(scale):
    axes = Figure().subplots()
    axes.set(xscale=scale, yscale=scale, xlim=(1, 10_000))
    x, y = np.array([1.0, 10_000.0]), np.array([1.0, 100.0])
    marks.line(axes, x, y, style.LOOKS["UORO"], phase=0.3)
    _, drawn = axes.get_lines()
    at, value = drawn.get_xdata(), drawn.get_ydata()
    assert len(at) == 5
    expected = np.sqrt(at) if scale == "log" else 1 + 99 * (at - 1) / 9999
    np.testing.assert_allclose(value, expected, rtol=1e-12)


def test_a_short_line_has_a_marker_too():
    axes = Figure().subplots()
    axes.set_xlim(0, 1000)
    marks.line(axes, np.array([1.0, 3.0]), np.ones(2), style.LOOKS["UORO"], phase=0.9)
    assert len(axes.get_lines()[1].get_xdata()) == 1


# Nothing is clipped away.


def test_a_run_on_its_way_to_divergence_flattens_no_other_and_is_marked(tmp_path, pictures):
    text(tmp_path, "snap1")
    text(tmp_path, "rtrl", shifted(0.2))
    text(tmp_path, "uoro", [(at, 2.0 + at / 1600) for at, _ in BPC[:12]], "diverged")
    plot(tmp_path, "learning")
    figure = pictures["learning-charlm"]
    (axes,) = figure.axes
    low, high = axes.get_ylim()
    assert low < 2
    assert high < 5
    assert "UORO (1 of 1 diverged; beyond the axis)" in legend(figure)
    ((colour, marker, _, y),) = edges(axes)
    assert (colour, marker, y) == (style.LOOKS["UORO"].colour, CARETUP, 1)
    (caption,) = [written.get_text() for written in figure.texts]
    assert "A cross: a seed diverged here." in " ".join(caption.split())  # no line is left to go on
    (cross,) = [line for line in axes.get_lines() if line.get_marker() == "x"]
    assert low <= cross.get_ydata()[0] <= high
    assert not cross.get_clip_on()
    assert marks.EDGES in " ".join(figure.texts[-1].get_text().split())
    assert_legible(figure)


def test_an_axis_of_whole_numbers_spans_one_at_least(tmp_path, pictures):
    write(tmp_path / "run", config(), levels(*((at, 1) for at in range(10, 200, 10))))
    plot(tmp_path, "learning")
    low, high = pictures["learning-copy"].axes[0].get_ylim()
    assert (low, high) == pytest.approx((0.5, 1.5))


def test_a_short_run_is_in_view(tmp_path, pictures):
    text(tmp_path, "snap1")
    text(tmp_path, "rtrl", [(100, 6.0), (1000, 5.5), (2000, 5.0)])  # within the first tenth
    plot(tmp_path, "learning")
    low, high = pictures["learning-charlm"].axes[0].get_ylim()
    assert low < 2
    assert high > 5.5
    assert list(legend(pictures["learning-charlm"])) == ["RTRL", "SnAp-1"]


@pytest.mark.parametrize("kind", ["learning", "tradeoff"])
def test_what_lies_beyond_the_ceiling_is_marked_at_the_edge(kind, tmp_path, pictures):
    text(tmp_path, "snap1")
    text(tmp_path, "rtrl", shifted(1))
    text(tmp_path, "uoro", [(at, 25.0) for at, _ in BPC])  # the ceiling of bpc is 10
    plot(tmp_path, kind)
    figure = pictures[f"{kind}-charlm"]
    for axes in figure.axes:
        assert axes.get_ylim()[1] < 6
        ((colour, marker, *_),) = edges(axes)
        assert (colour, marker) == (style.LOOKS["UORO"].colour, CARETUP)
    shown = (
        [*legend(figure)] if kind == "learning" else [t.get_text() for t in figure.axes[0].texts]
    )
    assert "UORO (beyond the axis)" in shown
    assert_legible(figure)


def test_if_all_lie_beyond_the_ceiling_all_are_in_view(tmp_path, pictures):
    for rule, by in (("snap1", 20), ("rtrl", 21)):
        text(tmp_path, rule, shifted(by))
    for kind in ("learning", "tradeoff"):
        plot(tmp_path, kind)
        low, high = pictures[f"{kind}-charlm"].axes[0].get_ylim()
        assert low < 22.01
        assert high > 23


def test_a_bias_beyond_its_axis_is_marked(tmp_path, pictures):
    points = [(at, values(i)) for i, at in enumerate(TOKENS)]
    for number, (_, row) in enumerate(points):
        row["align/uoro/whole/bias2"] = (40.0, 0.1, -40.0)[number]
    pointed(tmp_path / "run", *points)
    plot(tmp_path, "alignment")
    (axes,) = [a for a in pictures["alignment-copy"].axes if a.get_title(loc="left") == "bias²"]
    assert [marker for _, marker, *_ in edges(axes)] == [CARETUP, CARETDOWN]


# TBPTT by length.


def test_longer_windows_are_darker_and_bptt_is_black(tmp_path, pictures):
    for every in (16, 1, 8, 4):
        text(tmp_path, "bptt", shifted(every / 20), per_token=1 / every, train__update_every=every)
    text(tmp_path, "bptt", shifted(1), per_token=0.01)
    plot(tmp_path, "learning")
    handles = legend(pictures["learning-charlm"])
    assert list(handles) == ["BPTT", "TBPTT(1)", "TBPTT(4)", "TBPTT(8)", "TBPTT(16)"]
    shades = {name: matplotlib.colors.to_rgb(line.get_color()) for name, line in handles.items()}
    assert all(max(shade) - min(shade) < 1e-9 for shade in shades.values())
    greys = [shades[name][0] for name in list(handles)[1:]]
    assert greys == sorted(greys, reverse=True)
    assert np.diff(greys).max() < -0.05  # a step that is seen
    assert shades["BPTT"] == style.BLACK
    assert style.GREY[0] > greys[0]  # frozen


# 1 − cosine, and zero on a logarithmic axis.


@pytest.mark.parametrize("stale", [(1 + 1e-7, 1.0, 1 - 1e-4), (1.0,) * 3, (0.9, 0.8, 0.7)])
def test_one_minus_a_cosine_is_never_negative(stale, tmp_path, pictures):
    points = [(at, values(i)) for i, at in enumerate(TOKENS)]
    for (_, row), cosine in zip(points, stale, strict=True):
        for name in ("stale_fresh", "stale_exact", "fresh_exact"):
            row[f"align/snap1/whole/{name}"] = cosine
    pointed(tmp_path / "run", *points)
    plot(tmp_path, "alignment")
    figure = pictures["alignment-copy"]
    (axes,) = [a for a in figure.axes if a.get_title(loc="left").startswith("staleness")]
    assert axes.get_yscale() == "log"
    assert axes.get_ylim()[0] > 0
    drawn = [line for line in axes.get_lines() if line.get_transform() != axes.transAxes]
    seen = np.concatenate([line.get_ydata() for line in drawn])
    assert not (seen <= 0).any()
    ones = sum(cosine >= 1 for cosine in stale)
    assert [marker for _, marker, *_ in edges(axes)] == [CARETDOWN] * 3 * ones
    assert "0" not in ticks(axes.yaxis)
    assert not any(text.startswith(("-", "\N{MINUS SIGN}")) for text in ticks(axes.yaxis))
    assert_legible(figure)


def ticks(axis):
    """The labels of an axis that are in view."""
    low, high = sorted(axis.get_view_interval())
    every = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    return [tick.label1.get_text() for tick in every if low <= tick.get_loc() <= high]


def test_a_zero_has_a_word_on_a_logarithmic_axis_and_a_dot_on_a_linear_one(tmp_path, pictures):
    for rule, size in (("frozen", 0), ("snap1", 10), ("snap2", 1000)):
        made = config(rule)
        rows = levels((10, 1), (20, 2))
        write(tmp_path / rule, made, rows, state_bytes=size, state_bytes_analytic=size)
    plot(tmp_path, "cost")
    time, _, state = pictures["cost-copy"].axes
    assert (time.get_xscale(), state.get_xscale()) == ("linear", "log")
    assert [text.get_text() for text in state.texts] == ["10", "1k", "none"]
    assert "0" not in ticks(state.xaxis)
    assert min(line.get_xdata().min() for line in state.get_lines()) == 10


def test_a_zero_of_the_bench_has_a_word(tmp_path):
    rows = [("frozen", 0.0), ("snap1", 10.0), ("snap2", 1000.0)]
    points = pd.DataFrame(rows, columns=["what", "value"]).assign(rule="snap1", engine="native")
    points = points.assign(low=points["value"], high=points["value"], counted=points["value"])
    axes = Figure().subplots()
    with style.paper():
        measured._dots(axes, points)
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.texts] == [style.NONE]
    assert np.nanmin(np.concatenate([line.get_xdata() for line in axes.get_lines()])) == 10


def test_two_engines_with_one_number_are_both_seen():
    dot, ring = measured.ENGINES["native"], measured.ENGINES["torch"]
    assert ring["zorder"] < dot["zorder"]
    assert ring["markersize"] > dot["markersize"] + 2


def test_pngs_have_200_dots_an_inch(tmp_path, monkeypatch):
    saved = {}
    monkeypatch.setattr(
        Figure, "savefig", lambda self, file, **kwargs: saved.update({kwargs["format"]: kwargs})
    )
    for rule in ("snap1", "rtrl"):
        text(tmp_path, rule)
    plot(tmp_path, "learning")
    assert saved["png"]["dpi"] == 200
