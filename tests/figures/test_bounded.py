"""The figure of BPTT within budgets: a panel an engine, each point once, and the machine named."""

import pandas as pd
import pytest

from snaprun import figures
from snaprun.figures import bounded

SIZES = {"network": "gru-8@0.5", "task": "copy", "lanes": 2, "steps": 50}


def table(*engines):
    rows = [
        {"engine": engine, "policy": policy, "fraction": fraction, "ratio": ratio}
        for engine in engines
        for policy, fraction, ratio in (
            ("full tape", 1.0, 1.0),
            ("mixed", 0.05, 1.3),
            ("hidden", 0.04, 1.5),
            ("internal", 0.05, 1.4),
            ("√T segments", 0.2, 1.25),
        )
    ]
    rows += [
        {"engine": "torch.nn", "policy": "full tape", "fraction": 1.0, "ratio": 1.0},
        {"engine": "torch.nn", "policy": "checkpoint", "fraction": 0.15, "ratio": 1.35},
    ]
    measured = pd.DataFrame(rows).assign(rounds=5)
    measured = measured.assign(ratio_low=measured["ratio"], ratio_high=measured["ratio"])
    lines = [
        {"engine": "theory", "policy": policy, "fraction": fraction, "theory": 2 - fraction}
        for policy in ("mixed", "hidden", "internal")
        for fraction in (0.05, 1.0)
    ]
    return pd.concat([measured, pd.DataFrame(lines)]).assign(**SIZES)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved."""
    seen = []
    save = bounded.save
    monkeypatch.setattr(
        bounded, "save", lambda figure, *rest: (seen.append(figure), save(figure, *rest))[1]
    )
    return seen


@pytest.mark.parametrize("engines", [("torch", "native"), ("torch",)])
def test_a_panel_an_engine_with_lines_of_theory_and_measured_points(engines, drawn, tmp_path):
    files = figures.bench({"budget": table(*engines)}, tmp_path, "Some CPU, threads=1")
    names = {"budget.csv", "bench_budget.png", "bench_budget.pdf", "bench_budget.csv"}
    assert {file.name for file in files} == names
    (figure,) = drawn
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == [bounded.TITLES[name] for name in reversed(engines)]
    for axes in figure.axes:
        assert axes.get_xscale() == "log"
        data = [line.get_xydata() for line in axes.lines]
        points = sorted((round(x), y) for xy in data if len(xy) == 1 for x, y in xy)
        assert points == [(4, 1.5), (5, 1.3), (5, 1.4), (15, 1.35), (20, 1.25), (100, 1)]
        assert sum(len(xy) == 2 for xy in data) == 4  # three policies, and the full tape's time
    caption = figure.texts[-1].get_text().replace("\n", " ")
    for words in ("Some CPU, threads=1.", "GRU-8 at 50 %, copy, 2 lanes, T = 50", "over 5 "):
        assert words in caption
