"""The report of runs, against the runs that it tells of."""

import base64
import json
import re
import sys

import numpy as np
import pytest
import yaml
from PIL import Image

from snaprun import figures
from snaprun.checks import UserError
from snaprun.cli import _main
from snaprun.report import BEGINNING, PACKAGES, page, report
from snaprun.report.arrays import Arrays, kept, most_points
from snaprun.report.charts import of_alignment, of_learning, pack
from snaprun.report.gather import gather
from snaprun.report.tables import apart, common, of_runs, of_series
from snaprun.store import read_run
from tests.figures.runs import config, levels, write, write_panel
from tests.figures.test_alignment import run as aligned
from tests.report.conftest import MARKUP


def column(table, name):
    return [row[list(table.head).index(name)] for row in table.rows]


def test_every_run_has_a_row_whatever_became_of_it(runs):
    table = of_runs(gather([runs]))
    names = [cell.text for cell in column(table, "run")]
    assert names == sorted(file.parent.name for file in runs.glob("*/config.yaml"))
    states = dict(zip(names, [cell.text for cell in column(table, "state")], strict=True))
    for state in ("stopped", "diverged", "damaged"):
        assert states.pop(state) == state
    assert set(states.values()) == {"finished"}
    tokens = dict(zip(names, column(table, "tokens"), strict=True))
    assert (tokens["diverged"].text, tokens["diverged"].order) == ("150", 150)
    assert {"seed", "ms per token", "MACs per token"} <= set(table.head)
    assert "cell.units" not in table.head


def test_what_has_no_curve_says_why(runs):
    write(runs / "again", config("bptt", 0, task__text=MARKUP, train__tokens=300), levels((300, 3)))
    write(runs / "empty", config("bptt", 7, task__text=MARKUP, train__tokens=300), [], None)
    write(runs / "alone", config("bptt", 8, task__name="other"), [(10, {"unheard": 1.0})])
    gathered = gather([runs])
    why = {gathered.named(e.standing.folder): gathered.told(e.why) for e in gathered.entries}
    assert why["damaged"].startswith("damaged/metrics.jsonl was changed or damaged")
    assert why["again"] + why["bptt-0"] == "same configuration and seed as again"
    assert why["empty"] == "no rows"
    assert "a column of" in why["alone"]
    assert not why["stopped"] + why["diverged"]
    assert str(runs.parent) not in "".join(why.values())


def test_the_common_and_the_other_configuration_make_up_each_runs_own(runs):
    (part,) = parts = gather([runs]).parts
    shared = yaml.safe_load(common(part.sheet.runs))
    assert shared["cell"] == {"name": "gru", "units": 24}
    assert shared["task"]["text"] == MARKUP
    assert "seed" not in shared
    assert "results" not in shared  # says only where the runs lie
    table = apart(parts)
    rules = [cell.text for cell in column(table, "rule.name")]
    assert rules == ["bptt", "snap", "frozen"]
    assert [cell.text for cell in column(table, "rule.n")] == ["", "1", ""]
    assert [cell.text for cell in column(table, "seeds")] == ["0, 1", "0, 1, 2, 3", "0, 1"]
    assert [cell.text for cell in column(table, "runs")][1] == "4 (1 diverged, 1 incomplete)"
    for series, every in zip(table.rows, ("sequence", "1", "1"), strict=True):
        assert every in [cell.text for cell in series]


def test_results_are_medians_with_their_range(runs):
    ((_, table),) = of_series(gather([runs]).parts)
    reached = column(table, "L reached (bits)")
    assert [cell.text for cell in reached] == ["3.5 [3, 4]", "5.5 [2, 9]", "7.5 [7, 8]"]
    assert [cell.order for cell in column(table, "ms per token")] == [0.5] * 3
    assert [cell.text for cell in column(table, "ms per token")] == ["0.5"] * 3


def unpacked(packed, number):
    return np.frombuffer(base64.b64decode(packed.arrays[number]), "<f4")


def test_lines_and_threads_are_those_of_the_figures(runs):
    gathered = gather([runs])
    (chart,) = of_learning(gathered.parts[0])
    numbers = {entry.run: n for n, entry in enumerate(gathered.entries) if entry.run}
    packed = pack([chart], numbers)
    assert list(packed.counters) == ["tokens", "updates", "seconds"]
    (only,) = packed.charts
    labels = [line["label"] for line in only["lines"]]
    assert labels == ["BPTT", "SnAp-1 (1 of 4 diverged, 1 of 4 incomplete)", "frozen"]
    at, middle, low, high = (
        unpacked(packed, n).tolist() for n in only["lines"][0]["points"]["tokens"]["columns"]
    )
    assert at == [100, 200, 300]
    assert (middle, low, high) == ([1, 2, 3.5], [1, 2, 3], [1, 2, 4])
    assert only["lines"][1]["points"]["tokens"]["stops"] == [(150, 2)]
    assert len(only["threads"]) == 8
    for thread in only["threads"]:
        run = gathered.entries[thread["run"]].run
        assert unpacked(packed, thread["values"]).tolist() == run.columns["level"].tolist()
        for counter, array in thread["at"].items():
            expected = run.columns[counter].astype("f4")
            assert unpacked(packed, array) == pytest.approx(expected)


def test_alignment_has_a_chart_with_a_panel_for_each_quantity(tmp_path):
    for seed in (0, 1):
        aligned(tmp_path, seed)
    (chart,) = of_alignment(gather([tmp_path]).parts[0])
    assert [panel.title for panel in chart.panels] == [
        *("direction", "length", "bias²", "variance of a draw"),
    ]
    noisy = [line.label for line in chart.lines if line.panel == 3]
    assert noisy == ["UORO"]
    (exact,) = (line for line in chart.lines if line.panel == 0 and line.label == "RTRL")
    points = exact.points["tokens"]
    assert points.middle == pytest.approx([0.99] * 3)
    assert (points.low[0], points.high[0]) == pytest.approx((0.98, 1.0))


def test_thinned_curves_keep_their_ends_and_the_budget():
    rng = np.random.default_rng(0)
    for length in (1, 2, 299, 300, 301, 5000):
        index = kept(length, 300)
        assert len(index) == min(length, 300) == len({*index})
        assert (index[0], index[-1]) == (0, length - 1)
        assert {*np.diff(index)} <= {1} or length > 300
    lengths = rng.integers(1, 400, 500).tolist()
    most = most_points(lengths, 50_000, 300)
    assert sum(min(n, most) for n in lengths) <= 50_000 < sum(min(n, most + 1) for n in lengths)
    arrays = Arrays()
    assert [arrays.add(np.array(x)) for x in ([1.0, 2.0], [3.0], [1.0, 2.0])] == [0, 1, 0]
    assert len(arrays.texts) == 2


def test_nothing_of_a_run_becomes_markup(runs):
    (runs / "stopped").rename(runs / "<b>stopped")
    html = report([runs]).read_text()
    assert MARKUP not in html
    assert "<b>" not in html
    assert "<code>&lt;b&gt;stopped</code>" in html
    # The scripts end where they are meant to end.
    assert html.count("<script") == html.count("</script>") == 4
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert set(json.loads(data[1])) == {"charts", "arrays", "counters"}
    assert str(runs.parent) not in html
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", html)
    assert html.count('src="data:image/webp;base64,') == 3
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1]
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy


@pytest.mark.usefixtures("without_pictures")
def test_a_report_replaces_a_report_and_nothing_else(here, capfd):
    write(here / "results" / "run", config("snap1"), levels((10, 1), (20, 2)))
    for _ in range(2):
        assert _main(["report"]) == 0
        assert capfd.readouterr().out == "results/report.html\n"
    assert _main(["report", "output=other.html"]) == 0
    assert (here / "other.html").read_text().startswith(BEGINNING)
    (here / "mine.html").write_text("<!DOCTYPE html>\n")
    for word, said in {
        "output=mine.html": "output='mine.html' is not accepted: expected a new file or an older",
        "output=results": "output='results' is not accepted: expected a file in a folder",
        "output=no/where.html": "expected a file in a folder that exists",
        "source=nothing": "source='nothing' is not accepted: expected an existing folder.",
        "source=[]": "expected at least one folder of runs",
        "source=[results,results]": "expected a file. It is not clear which",
    }.items():
        capfd.readouterr()
        assert _main(["report", word]) == 2
        (line,) = capfd.readouterr().err.splitlines()
        assert said in line
    assert (here / "mine.html").read_text() == "<!DOCTYPE html>\n"
    (here / "empty").mkdir()
    assert _main(["report", "source=empty"]) == 2
    assert "expected a folder with runs in it" in capfd.readouterr().err


@pytest.mark.usefixtures("without_pictures")
def test_runs_that_are_all_damaged_are_still_told(tmp_path):
    folder = write(tmp_path / "run", config("snap1"), levels((10, 1)))
    (folder / "config.yaml").write_text("{")
    html = report([tmp_path]).read_text()
    assert '<span class="state damaged">1 damaged</span>' in html
    assert 'id="curves"' not in html


@pytest.mark.usefixtures("without_pictures")
def test_panels_are_told_apart(tmp_path):
    arms = {"snap1": {"lr": 0.1, "config": config("snap1")}}
    for name in ("one", "two"):
        write_panel(tmp_path / name, arms, seeds=2)
    gathered = gather([tmp_path])
    assert [part.name for part in gathered.parts] == ["one, copy", "two, copy"]
    assert [cell.text for cell in column(of_runs(gathered), "run")] == [
        *("one/snap1-0", "one/snap1-1", "two/snap1-0", "two/snap1-1"),
    ]
    assert report([tmp_path]).name == "report.html"


def test_pictures_beyond_the_limit_are_left_out(tmp_path, monkeypatch):
    write(tmp_path / "run", config("snap1"), levels((10, 1), (20, 2)))
    parts = gather([tmp_path]).parts
    drawn = []

    def draw(sheets, out, kinds):
        drawn.extend(kinds)
        Image.new("RGB", (500, 100)).save(out / f"{kinds[0]}.png")
        return [out / f"{kinds[0]}.{form}" for form in ("png", "pdf", "csv")]

    monkeypatch.setattr(figures, "draw", draw)
    every, complete = page.pictures(parts)
    assert complete
    assert [picture.name for picture in every] == [f"copy: {kind}.png" for kind in figures.KINDS]
    assert {picture.width for picture in every} == {300}
    drawn.clear()
    some, complete = page.pictures(parts, most=2 * len(every[0].data))
    assert (some, complete) == (every[:2], False)
    assert drawn == [*figures.KINDS[:3]]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_missing_package_is_named(package, tmp_path, monkeypatch):
    write(tmp_path / "run", config("snap1"), levels((10, 1)))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"needs the package {package}.*snaprun\[report\]"):
        report([tmp_path])


def test_a_config_that_is_no_run_of_ours_is_told(tmp_path):
    made = config("snap1")
    del made["cell"]["units"]
    folder = write(tmp_path / "run", made, levels((10, 1)))
    (entry,) = gather([tmp_path]).entries
    assert entry.run
    assert entry.run.columns["level"].tolist() == read_run(folder).columns["level"].tolist()
    assert "cell.units" in entry.why
