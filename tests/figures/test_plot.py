"""Whole figures: the files, the numbers in them, and what is drawn."""

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest

from snaprun.checks import UserError
from snaprun.figures import curves, plot, style, words
from snaprun.figures.select import load
from snaprun.tasks.copy import LEVEL
from tests.figures.drawn import assert_legible, texts
from tests.figures.runs import RULES, config, levels, write

KINDS = ("learning", "cost", "tradeoff")  # of every run


def read(files, stem):
    (path,) = [file for file in files if file.name == f"{stem}.csv"]
    return pd.read_csv(path, keep_default_na=False, na_values=[""])


@pytest.fixture
def seeds(tmp_path):
    """Three seeds with rows at different tokens, the third diverged after 30 tokens."""
    source = tmp_path / "runs"
    write(source / "0", config(seed=0), levels((10, 1), (20, 2), (40, 4)), ms_per_token=1)
    write(source / "1", config(seed=1), levels((12, 1), (25, 3), (40, 5)), ms_per_token=2)
    write(source / "2", config(seed=2), levels((10, 2), (30, 6)), "diverged", ms_per_token=6)
    return source


def test_every_kind_is_written_as_png_pdf_and_csv_for_each_task(seeds, tmp_path):
    write(seeds / "other", config("bptt"), levels((10, 1), (20, 2)))
    for rule in ("snap1", "bptt"):
        text = config(rule, task__name="charlm")
        write(seeds / f"text-{rule}", text, [(10, {"bpc": 4.0}), (20, {"validation_bpc": 3.5})])
    out = tmp_path / "deep" / "out"
    files = plot([seeds], out, KINDS, False)
    stems = [f"{kind}-{task}" for task in ("charlm", "copy") for kind in KINDS]
    assert files == [out / f"{stem}.{kind}" for stem in stems for kind in ("png", "pdf", "csv")]
    for file in files:
        start = {".png": b"\x89PNG", ".pdf": b"%PDF", ".csv": b"panel,series"}[file.suffix]
        assert file.read_bytes().startswith(start)


@pytest.mark.usefixtures("only_tables")
def test_what_is_mastered_stands_above_the_level(tmp_path):
    rows = [(10, {"level": 1}), (20, {"level": 3}), (20, {"mastered": 1}), (40, {"level": 5})]
    source = write(tmp_path / "run", config(), [*rows, (40, {"mastered": 4})])
    table = read(plot([source], tmp_path / "out", ["learning"], False), "learning-copy")
    drawn = table.groupby("quantity", sort=False)[["at", "median"]].agg(list).T.to_dict("list")
    assert drawn == {"mastered": [[20, 40], [1, 4]], "level": [[10, 20, 40], [1, 3, 5]]}


@pytest.mark.usefixtures("only_tables")
def test_the_learning_table_is_the_median_of_step_functions(seeds, tmp_path):
    table = read(plot([seeds], tmp_path / "out", ["learning"], False), "learning-copy")
    # By hand, from 12 tokens on, where all three have begun; the third ends at 30.
    expected = {
        #    seeds' values: median, low, high, seeds
        12: ([1, 1, 2], 1, 1, 2, 3),
        20: ([2, 1, 2], 2, 1, 2, 3),
        25: ([2, 3, 2], 2, 2, 3, 3),
        30: ([2, 3, 6], 3, 2, 6, 3),
        40: ([4, 5], 4.5, 4, 5, 2),
    }
    assert table["at"].tolist() == list(expected)
    for row, (values, median, low, high, count) in zip(
        table.itertuples(), expected.values(), strict=True
    ):
        assert np.median(values) == median
        assert (row.median, row.low, row.high, row.seeds) == (median, low, high, count)
    assert set(table["series"]) == {"SnAp-1"}
    assert set(table["band"]) == {"range"}
    assert table[["runs", "diverged", "incomplete"]].drop_duplicates().values.tolist() == [
        [3, 1, 0]
    ]


@pytest.mark.usefixtures("only_tables")
def test_the_cost_and_tradeoff_tables_are_medians_over_seeds(seeds, tmp_path):
    write(seeds / "other", config("uoro"), levels((10, 1), (20, 2)))
    files = plot([seeds], tmp_path / "out", ["cost", "tradeoff"], False)
    cost = read(files, "cost-copy").iloc[0]
    assert cost["ms_per_token"] == np.median([1, 2, 6])
    assert (cost["ms_per_token_low"], cost["ms_per_token_high"]) == (1, 6)
    assert (cost["macs_per_token"], cost["state_bytes"]) == (1000, 64)
    assert np.isnan(cost["state_bytes_analytic"])
    tradeoff = read(files, "tradeoff-copy").iloc[0]
    assert tradeoff["quantity"] == "level"
    assert (tradeoff["reached"], tradeoff["reached_low"], tradeoff["reached_high"]) == (5, 4, 6)
    assert (tradeoff["ms_per_token"], tradeoff["seeds"], tradeoff["diverged"]) == (2, 3, 1)


@pytest.fixture
def unequal(tmp_path):
    """SnAp-1 with an update a token, BPTT with an update in twenty."""
    for rule, per_token in (("snap1", 1.0), ("bptt", 0.05)):
        for seed in range(2):
            rows = levels((100, 1 + seed), (200, 2), (400, 3 + seed))
            write(tmp_path / f"{rule}{seed}", config(rule, seed), rows, per_token=per_token)
    return tmp_path


@pytest.mark.usefixtures("only_tables")
def test_rules_that_update_unequally_are_drawn_against_updates_too(unequal, tmp_path):
    table = read(plot([unequal], tmp_path / "out", ["learning"], False), "learning-copy")
    assert list(table["counter"].unique()) == ["tokens", "updates"]
    of_tokens, of_updates = (table[table["counter"] == name] for name in ("tokens", "updates"))
    assert of_updates["median"].tolist() == of_tokens["median"].tolist() == [1.5, 2, 3.5] * 2
    assert of_tokens["at"].tolist() == [100, 200, 400] * 2
    assert of_updates["at"].tolist() == [5, 10, 20, 100, 200, 400]  # BPTT first


def test_the_axis_of_updates_is_logarithmic_where_they_differ_tenfold(unequal, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "snaprun.figures.layout.save", lambda figure, *_: drawn.append(figure) or [Path()]
    )
    plot([unequal], unequal / "out", ["learning"], False)
    above, below = drawn[0].axes
    assert (above.get_xscale(), below.get_xscale()) == ("linear", "log")
    assert above.get_ylim() == below.get_ylim()
    low, high = below.get_xlim()
    assert (low, 400 < high < 500) == (5, True)
    assert (above.get_xlabel(), below.get_xlabel()) == (
        "data-time (tokens)",
        "updates of the parameters",
    )
    drawn[0].draw_without_rendering()
    assert_legible(drawn[0])


def test_every_line_that_coincides_with_others_is_seen(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "snaprun.figures.layout.save", lambda figure, *_: drawn.append(figure) or [Path()]
    )
    for rule in RULES:
        write(tmp_path / rule, config(rule, train__update_every=1), levels((10, 1), (20, 2)))
    plot([tmp_path], tmp_path / "out", ["learning"], False)
    lines = drawn[0].axes[0].get_lines()
    markers = [line for line in lines if line.get_marker() != "None"]
    solid = [line for line in lines if line.get_linestyle() == "-"]
    broken = [line for line in lines if line.get_linestyle() not in ("-", "None")]
    assert len(markers) == len(solid) + len(broken) == len(RULES)
    assert max(map(zorder, solid)) < min(map(zorder, broken))
    assert max(map(zorder, broken)) < min(map(zorder, markers))
    places = [x for line in markers for x in line.get_xdata()]
    assert len(set(places)) == len(places) >= len(RULES)


def test_a_single_point_is_seen(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "snaprun.figures.layout.save", lambda figure, *_: drawn.append(figure) or [Path()]
    )
    for rule in RULES:
        write(tmp_path / rule, config(rule), levels((20, 2)))
    plot([tmp_path], tmp_path / "out", ["learning"], False)
    lines = drawn[0].axes[0].get_lines()
    markers = [line for line in lines if line.get_marker() != "None"]
    assert len(markers) == len(RULES)
    assert [line.get_xdata().tolist() for line in markers] == [[20]] * len(RULES)


def zorder(line):
    return line.get_zorder()


@pytest.mark.usefixtures("only_tables")
def test_a_text_shows_smoothed_training_and_plain_validation_bpc(tmp_path):
    rng = np.random.default_rng(0)
    bpc = rng.uniform(2, 3, 200)
    rows = [(10 * (i + 1), {"bpc": float(value)}) for i, value in enumerate(bpc)]
    rows += [(2000, {"validation_bpc": 2.75})]
    for rule in ("snap1", "bptt"):
        write(tmp_path / rule, config(rule, task__name="charlm"), rows)
    files = plot([tmp_path], tmp_path / "out", ["learning", "tradeoff"], False)
    table = read(files, "learning-charlm")
    table = table[(table["series"] == "SnAp-1") & (table["counter"] == "tokens")]
    training = table[table["quantity"] == "bpc"]
    # 2 % of 2000 tokens are four rows.
    expected = [bpc[max(0, i - 3) : i + 1].mean() for i in range(200)]
    np.testing.assert_allclose(training["median"], expected, atol=1e-12)
    validation = table[table["quantity"] == "validation_bpc"]
    assert validation[["at", "median"]].values.tolist() == [[2000, 2.75]]
    assert validation["low"].isna().all()
    assert read(files, "tradeoff-charlm")["reached"].tolist() == [2.75, 2.75]


def test_a_long_path_of_a_text_is_told_by_its_end_and_may_have_any_letters(tmp_path):
    text = f"{'long/' * 40}书.txt"
    rows = [(at, {"bpc": 3}) for at in (9, 18)]
    source = write(tmp_path / "a", config(task__name="charlm", task__text=text), rows)
    assert plot([source], tmp_path / "out", ["learning"], False)
    assert words.short(text) == f"…{text[-39:]}"


@pytest.mark.parametrize("text", ["odd/book.txt", r"a$\q$b_{.txt"])
def test_captions_name_the_text_where_the_task_has_one(text, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "snaprun.figures.layout.save", lambda figure, *_: drawn.append(figure) or [Path()]
    )
    for rule in ("snap1", "bptt"):
        made = config(rule, task__name="charlm", task__text=text)
        write(tmp_path / f"a{rule}", made, [(20, {"bpc": 3.0})])
        write(tmp_path / f"b{rule}", config(rule), levels((10, 1), (20, 2)))
    plot([tmp_path], tmp_path / "out", ["learning", "tradeoff"], False)
    captions = [" ".join(figure.texts[-1].get_text().split()) for figure in drawn]
    for figure in drawn:
        figure.draw_without_rendering()
    assert [words.endswith(f" Text: {text}.") for words in captions] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.usefixtures("only_tables")
def test_a_copy_task_of_fixed_length_is_told_by_its_bits(tmp_path):
    source = write(tmp_path / "run", config(task__fixed_length=5), levels((10, 5), (20, 5)))
    table = read(plot([source], tmp_path / "out", ["learning"], False), "learning-copy")
    assert set(table["quantity"]) == {"bpc"}


@pytest.mark.usefixtures("only_tables")
def test_a_long_run_is_thinned_but_keeps_its_ends(tmp_path):
    source = write(tmp_path / "run", config(), levels(*((i, i) for i in range(1, 1001))))
    table = read(plot([source], tmp_path / "out", ["learning"], False), "learning-copy")
    assert len(table) == 400
    assert table["at"].iloc[[0, -1]].tolist() == [1, 1000]
    assert (table["median"] == table["at"]).all()


@pytest.mark.usefixtures("only_tables")
@pytest.mark.parametrize("jitters", [[0, 0, 0], [7, 0, 93], [15, 99, 64]])
def test_where_batches_end_does_not_move_a_curve(jitters, tmp_path):
    keys = {"train__log_every": 100, "train__eval_every": 300, "train__tokens": 1000}
    for seed, jitter in enumerate(jitters):
        at = [100, 200, 300, 400, 600, 900]
        rows = [(n + jitter, {"level": n // 100 * (seed + 1), "mastered": None}) for n in at]
        rows = [(n, {**row, "mastered": n // 100} if n // 100 % 3 == 0 else row) for n, row in rows]
        rows += [(1000 + jitter, {"level": 10 * (seed + 1), "mastered": 8})]
        write(tmp_path / f"{seed}", config(seed=seed, **keys), rows)
    table = read(plot([tmp_path], tmp_path / "out", ["learning"], False), "learning-copy")
    for quantity, expected in {
        "level": {100: 2, 200: 4, 300: 6, 400: 8, 600: 12, 900: 18, 1000: 20},
        "mastered": {300: 3, 600: 6, 900: 9, 1000: 8},
    }.items():
        rows = table[(table["quantity"] == quantity) & (table["counter"] == "tokens")]
        assert dict(zip(rows["at"], rows["median"], strict=True)) == expected


@pytest.mark.usefixtures("only_tables")
def test_incomplete_runs_are_drawn_to_their_end_and_counted(tmp_path):
    source = tmp_path / "runs"
    write(source / "0", config(seed=0), levels((10, 1), (20, 2)))
    write(source / "1", config(seed=1), levels((10, 5)), status=None)
    write(source / "other", config("uoro"), levels((10, 1), (20, 2)))
    files = plot([source], tmp_path / "out", KINDS, True)
    table = read(files, "learning-copy")
    table = table[table["series"] == "SnAp-1"]
    assert table["median"].tolist() == [3, 2]
    assert set(table["incomplete"]) == {1}
    assert read(files, "cost-copy")[["seeds", "incomplete"]].values.tolist() == [[1, 1], [1, 0]]
    assert read(files, "tradeoff-copy")["reached"].tolist() == [3.5, 2]


def test_drawing_twice_gives_the_same_bytes_and_leaves_the_globals_alone(seeds, tmp_path):
    before = dict(matplotlib.rcParams)
    first = plot([seeds], tmp_path / "a", ["learning", "tradeoff"], False)
    second = plot([seeds], tmp_path / "b", ["learning", "tradeoff"], False)
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]
    assert dict(matplotlib.rcParams) == before


def test_nothing_is_drawn_outside_the_figure_and_no_two_texts_overlap(tmp_path, monkeypatch):
    drawn = []

    def keep(figure, table, stem):
        figure.draw_without_rendering()
        drawn.append((stem.name, figure, {text for text, _ in texts(figure)}))
        return [stem]

    monkeypatch.setattr("snaprun.figures.layout.save", keep)
    for cell in ("vanilla", "gru", "lstm"):
        for number, rule in enumerate(RULES):
            rows = levels((10, 1), (20, 2 + number))
            cost = {"ms_per_token": 0.1 * 2**number, "macs_per_token": 10.0**number}
            write(tmp_path / f"{cell}{rule}", config(rule, cell__name=cell), rows, **cost)
    plot([tmp_path], tmp_path / "out", KINDS, False)
    assert [name for name, *_ in drawn] == [f"{kind}-copy" for kind in KINDS]
    for name, figure, shown in drawn:
        assert {"SnAp-1", "BPTT", "frozen", "GRU-24, 75 % sparse"} <= shown, name
        assert_legible(figure)


@pytest.mark.parametrize(("kinds", "named"), [(["lerning"], "learning"), ([], "some of")])
def test_unknown_kinds_are_refused_before_anything_is_written(seeds, tmp_path, kinds, named):
    with pytest.raises(UserError, match=named):
        plot([seeds], tmp_path / "out", kinds, False)
    assert not (tmp_path / "out").exists()


def test_an_out_that_cannot_be_made_is_refused(seeds, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="out="):
        plot([seeds], tmp_path / "file", KINDS, False)


def test_a_diverged_seed_is_marked_where_it_stopped(seeds):
    (sheet,) = load([seeds], incomplete=False)
    (series,) = sheet.facets[0].series
    curve = curves.curve(series, LEVEL)
    assert curve is not None
    assert curve.stops == [(30, 6)]
    from snaprun.figures import layout

    with style.paper():
        (handle,) = layout.legend(sheet)
    assert handle.get_label() == "SnAp-1 (1 of 3 diverged)"


def test_a_run_that_diverged_at_once_is_drawn_without_values(tmp_path):
    made = config(task__name="charlm")
    write(tmp_path / "run", made, [(10, {"bpc": None})], "diverged")
    for rule in ("rtrl", "uoro"):
        write(tmp_path / rule, config(rule, task__name="charlm"), [(10, {"bpc": 3.0})])
    files = plot([tmp_path], tmp_path / "out", ["learning", "tradeoff"], False)
    assert len(files) == 6
    tradeoff = read(files, "tradeoff-charlm").set_index("series")
    assert tradeoff["reached"].isna().to_dict() == {"RTRL": False, "SnAp-1": True, "UORO": False}
    assert tradeoff["diverged"].to_dict() == {"RTRL": 0, "SnAp-1": 1, "UORO": 0}


def test_the_axis_of_bpc_is_fitted_to_what_follows_the_descent(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "snaprun.figures.layout.save", lambda figure, *_: drawn.append(figure) or [Path()]
    )
    rows = [(i, {"bpc": 8.0 if i < 10 else 3.0 - i / 100}) for i in range(1, 101)]
    source = write(tmp_path / "run", config(task__name="charlm"), rows)
    plot([source], tmp_path / "out", ["learning"], False)
    low, high = drawn[0].axes[0].get_ylim()
    assert 1.8 < low < 2.01  # the last value, smoothed over two rows, is 2.005
    assert 2.9 < high < 8.0
