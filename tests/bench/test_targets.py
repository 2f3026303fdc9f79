"""Which rows a developers' target looks at, what it says of them, and that no user sees it."""

import runpy
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
script = runpy.run_path(str(ROOT / "scripts" / "targets.py"))
TARGETS, Target, judge = (script[name] for name in ("TARGETS", "Target", "judge"))


def test_verdicts_on_both_sides_of_the_bounds():
    faster = Target("x", 2, 4, "ratios", "ratio", {})
    assert [faster.verdict(x) for x in (None, 1.9, 2, 3.9, 4)] == [
        "not measured",
        "not met",
        "met",
        "met",
        "goal met",
    ]
    smaller = Target("x", 1.2, 1.0, "ratios", "ratio", {}, lower=True)
    assert [smaller.verdict(x) for x in (1.3, 1.2, 1.0)] == ["not met", "met", "goal met"]


def test_the_worst_row_counts_and_none_may_be_missing():
    table = pd.DataFrame({"network": ["a", "b"], "engine": "native", "ratio": [3.0, 5.0]})
    both = Target("x", 2, 4, "ratios", "ratio", {"network": ("a", "b")})
    assert both.measured({"ratios": table}) == 3.0
    assert both.measured({"ratios": table.iloc[:1]}) is None
    assert both.measured({}) is None


def test_nothing_is_claimed_without_native_code_or_without_a_ceiling():
    table = pd.DataFrame(
        {
            "network": ["gru-128@0.75"],
            "lanes": 16,
            "n": 2,
            "backend": "torch",
            "fraction": 0.9,
            "storage_ratio": 1.0,
        }
    )
    judged = judge({"kernel": table})
    assert set(judged["verdict"]) == {"not measured"}
    judged = judge({"kernel": table.assign(backend="native")})
    assert judged["verdict"].value_counts()["goal met"] == 2
    judged = judge({"kernel": table.assign(backend="native", fraction=None)})
    assert judged["verdict"].value_counts()["goal met"] == 1


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.what)
def test_the_committed_bench_measures_every_target(target):
    tables = script["tables"](script["FOLDER"])
    kernel = tables["kernel"]
    withheld = target.column == "fraction" and kernel["note"].notna().any()
    assert withheld or target.measured(tables) is not None
