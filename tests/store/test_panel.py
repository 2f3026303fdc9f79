"""The tables of a panel: what they keep of a curve, and how they are read back."""

import numpy as np
import pandas as pd
import pytest

from snaprun.checks import UserError
from snaprun.metrics import BUILT_IN
from snaprun.store.panel import (
    is_panel,
    read_panel,
    read_rates,
    read_speeds,
    thinned,
    write_derived,
    write_runs,
)
from snaprun.tasks.copy import LEVEL


def frame(**columns):
    tokens = 10 * np.arange(1, len(next(iter(columns.values()))) + 1)
    return pd.DataFrame({"tokens": tokens, "updates": tokens // 2, "seconds": 0.5, **columns})


def thin(metrics, keys):
    return thinned(metrics, [BUILT_IN[key] for key in keys], metrics["tokens"].to_numpy(float))


def test_a_short_curve_is_kept_row_by_row_and_one_row_a_data_time():
    level, nothing = [1, 1, 2, 2, 5], [None] * 5
    metrics = frame(level=level, mastered=nothing, bpc=np.ones(5))
    looks = frame(level=nothing, mastered=[None, 1, None, None, 4], bpc=nothing)
    both = pd.concat([metrics, looks]).sort_values("tokens", kind="stable", ignore_index=True)
    kept = thin(both, ("level", "mastered", "mastered_average"))
    assert list(kept) == ["tokens", "updates", "level", "mastered"]
    assert kept["tokens"].tolist() == [10, 20, 30, 40, 50]
    assert kept["level"].tolist() == level
    assert kept["mastered"].dropna().to_dict() == {1: 1, 4: 4}


def test_a_long_level_is_the_last_of_each_hundredth():
    level = np.arange(1000) // 7
    kept = thin(frame(level=level), ("level",))
    assert kept["tokens"].tolist() == list(range(100, 10001, 100))
    assert kept["level"].tolist() == level[9::10].tolist()


def test_a_long_bpc_is_the_mean_of_each_hundredth():
    bpc = np.random.default_rng(0).uniform(size=1000)
    validation = np.where(np.arange(1, 1001) % 50 == 0, bpc, np.nan)
    kept = thin(frame(bpc=bpc, validation_bpc=validation), ("bpc", "validation_bpc"))
    assert kept["tokens"].tolist() == list(range(100, 10001, 100))
    np.testing.assert_allclose(kept["bpc"], bpc.reshape(100, 10).mean(axis=1))
    known = kept["validation_bpc"].dropna()
    assert known.tolist() == bpc[49::50].tolist()


def test_a_row_is_thinned_with_those_that_were_due_in_the_same_hundredth():
    metrics = frame(level=np.arange(1000))
    late = metrics.assign(tokens=metrics["tokens"] + np.arange(1000) * 7 % 10)
    kept, shifted = (
        thinned(rows, [LEVEL], metrics["tokens"].to_numpy(float)) for rows in (metrics, late)
    )
    assert shifted["level"].tolist() == kept["level"].tolist() == list(range(9, 1000, 10))


def test_the_end_of_a_run_is_kept_though_it_has_no_value():
    kept = thin(frame(bpc=[3.0, 2.0, None, None]), ("bpc",))
    assert kept["tokens"].tolist() == [10, 20, 40]


COLUMNS = "arm,phase,seed,lr,status,tokens,final"


@pytest.fixture
def files():
    row = {"phase": "final", "lr": 0.5, "tokens": 20, "updates": 4, "seconds": 1.25}
    summary = pd.DataFrame(
        [
            {
                "arm": "a",
                "seed": 0,
                "status": "finished",
                **row,
                "ms_per_token": 0.25,
                "final": 2.5,
            },
            {"arm": "a", "seed": 1, "status": "diverged", **row, "ms_per_token": None},
            {"arm": "a", "seed": 2, "status": "failed", **row, "tokens": None},
            {"arm": "a", "seed": 100, "status": "finished", **row, "phase": "selection"},
        ]
    )
    point = {"arm": "a", "tokens": 20, "updates": 4}
    curves = pd.DataFrame([{**point, "seed": 0, "level": 3}, {**point, "seed": 1, "level": 2}])
    arms = {"a": {"lr": 0.5, "config": {"cell": {"units": 3}, "optim": {"lr": 1}}}}
    return {"panel": {"metric": "level", "arms": arms}, "summary": summary, "curves": curves}


def test_what_is_written_is_read_back_as_the_compared_runs(files, tmp_path):
    assert not is_panel(tmp_path)
    folder = tmp_path / "deep" / "panel"
    written = [*write_runs(folder, **files), *write_derived(folder, pd.DataFrame(), "readme")]
    assert {path.name for path in written} == {
        *("README.md", "panel.yaml", "summary.csv", "curves.csv", "tests.csv")
    }
    assert is_panel(folder)
    assert read_rates(folder) == {"a": 0.5}
    first, second = read_panel(folder)
    assert first.config == {"cell": {"units": 3}, "optim": {"lr": 0.5}, "seed": 0}
    assert (first.status, second.status, second.config["seed"]) == ("finished", "diverged", 1)
    assert first.metrics.to_dict("records") == [{"tokens": 20, "updates": 4, "level": 3}]
    assert first.summary is not None
    assert second.summary is not None
    assert (first.summary.cost, second.summary.cost) == ({"ms_per_token": 0.25}, {})
    assert (first.summary.metrics, second.summary.metrics) == ({"level": 2.5}, {})


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("panel.yaml", "arms: [", "panel.yaml"),
        ("panel.yaml", "{metric: level, arms: {b: {config: {optim: {}}}}}", "a, seed 0"),
        ("panel.yaml", "{metric: level, arms: {a: {}}}", "config"),
        ("summary.csv", "arm,seed\na,0\n", "phase"),
        ("curves.csv", "", "curves.csv"),
        ("summary.csv", f"{COLUMNS}\n", "a, seed [01]"),
        ("panel.yaml", "{metric: level, arms: {a: {config: {optim: 3}}}}", "panel.yaml"),
        ("panel.yaml", "{metric: level, arms: {a: {config: {cell: gru}}}}", "optim"),
        ("panel.yaml", "arms: {a: {config: {optim: {}}}}", "metric"),
        ("curves.csv", "arm,seed,tokens,updates\nb,0,1,1\n", "b, seed 0"),
        ("curves.csv", "arm,seed,tokens,updates\na,0,1,1\n", "a, seed 1"),
        ("curves.csv", "arm,seed,tokens,updates\na,0,1,1\na,1,1,", "without its end"),
        ("curves.csv", "arm,seed,tokens,updates\na,0,1,1\na,1,,1\n", "gaps"),
        ("curves.csv", "arm,seed,tokens,updates,level\na,0,1,1,x\na,1,1,1,1\n", "level"),
        ("curves.csv", "arm,seed,tokens,updates\na,0,inf,1\na,1,1,1\n", "finite"),
        ("curves.csv", "arm,seed,tokens,updates\na,0,1,1\na,1,1,-1\n", "≥ 0"),
        ("summary.csv", f"{COLUMNS}\na,final,x,0.5,finished,20,1\n", "seed"),
        ("summary.csv", f"{COLUMNS}\na,final,0,0.5,finished,20,x\n", "final"),
        ("summary.csv", f"{COLUMNS}\na,final,0,0.5,finished,,1\n", "gaps"),
        ("summary.csv", f"{COLUMNS}\na,final,0,0.5,finished,20,1\n", "a, seed 1"),
    ],
)
def test_a_damaged_file_is_named(files, tmp_path, name, content, named):
    write_runs(tmp_path, **files)
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=named):
        read_panel(tmp_path)


def test_a_missing_file_is_named(files, tmp_path):
    write_runs(tmp_path, **files)
    (tmp_path / "curves.csv").unlink()
    with pytest.raises(UserError, match=r"curves\.csv=.*No such file"):
        read_panel(tmp_path)


def test_seconds_a_token_are_medians_over_the_finished_runs(files, tmp_path):
    assert read_speeds(tmp_path) == {}
    slow = {"arm": "a", "seed": 3, "phase": "final", "status": "finished"}
    slow |= {"lr": 0.5, "tokens": 10, "seconds": 2.0}
    summary = pd.concat([files["summary"], pd.DataFrame([slow])])
    write_runs(tmp_path, **{**files, "summary": summary})
    # Seeds 0 and 100 took 1.25 s for 20 tokens, the new one 2 s for 10.
    assert read_speeds(tmp_path) == {"a": 1.25 / 20}
