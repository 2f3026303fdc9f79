"""Which learning rate an arm gets."""

from itertools import product

import pandas as pd
import pytest

from snaprun.studies import Panel, Selection
from snaprun.studies.rates import choose_rates
from snaprun.studies.report import readme
from tests.studies.runs import flat, job, run


def panel(rates, metric="level", arms=("a",), **changes):
    keys = {"name": "p", "about": "", "arms": {arm: [] for arm in arms}, "metric": metric}
    return Panel(**keys, rates=rates, selection=Selection(seeds=[100, 101]), seeds=2, **changes)


def chosen(rates, runs, metric="level"):
    return choose_rates(panel(rates, metric), runs)["a"]


def test_the_best_final_metric_wins_whichever_way_is_better():
    levels = {job("a", 0.1): flat(3), job("a", 0.01): flat(5), job("a", 0.001): flat(4)}
    assert chosen([0.1, 0.01, 0.001], levels) == 0.01
    bpc = {
        job("a", lr): run((10, 1, value), (100, 2, value), key="validation_bpc")
        for lr, value in ((0.1, 2.5), (0.01, 2.25), (0.001, 2.75))
    }
    assert chosen([0.1, 0.01, 0.001], bpc, "validation_bpc") == 0.01


def test_of_equal_final_values_the_best_mean_of_the_whole_run_wins():
    late = run((50, 1, 2.0), (100, 2, 6.0))
    early = run((50, 1, 4.0), (100, 2, 6.0))
    assert chosen([0.1, 0.01], {job("a", 0.1): late, job("a", 0.01): early}) == 0.01


@pytest.mark.parametrize("grid", [[0.1, 0.01], [0.01, 0.1]])
def test_of_rates_equal_in_both_the_smaller_wins_wherever_it_stands_in_the_grid(grid):
    assert chosen(grid, {job("a", lr): flat(5) for lr in grid}) == 0.01


def test_several_seeds_count_by_their_mean():
    runs = {job("a", 0.1, 100): flat(9), job("a", 0.1, 101): flat(1)}
    runs |= {job("a", 0.01, 100): flat(6), job("a", 0.01, 101): flat(6)}
    assert chosen([0.1, 0.01], runs) == 0.01


def test_the_order_of_the_seeds_does_not_make_equal_means_unequal():
    # In floats 7 + 7.1 + 7.2 is above 7 + 7.2 + 7.1.
    early = [run((50, 1, 9.0), (100, 2, level)) for level in (7.0, 7.2, 7.1)]
    late = [run((50, 1, 5.0), (100, 2, level)) for level in (7.0, 7.1, 7.2)]
    runs = {job("a", 0.01, 100 + i): one for i, one in enumerate(early)}
    runs |= {job("a", 0.1, 100 + i): one for i, one in enumerate(late)}
    assert chosen([0.1, 0.01], runs) == 0.01


def test_a_rate_that_diverged_on_any_seed_is_not_taken():
    runs = {job("a", 0.1, 100): flat(9), job("a", 0.1, 101): flat(9, "diverged")}
    runs |= {job("a", 0.01, 100): flat(1), job("a", 0.01, 101): flat(1)}
    assert chosen([0.1, 0.01], runs) == 0.01


def test_an_arm_without_a_finished_run_has_no_rate_and_rates_at_the_edge_are_named():
    runs = {job("a", lr): flat(lr) for lr in (0.1, 0.01, 0.001)}
    runs |= {job("b", lr): flat(5, "diverged") for lr in (0.1, 0.01, 0.001)}
    runs |= {job("c", lr): flat(value) for lr, value in ((0.1, 1), (0.01, 2), (0.001, 1))}
    compared = panel({"d": [0.3], "others": [0.1, 0.01, 0.001]}, arms=("a", "b", "c", "d"))
    rates = choose_rates(compared, runs)
    assert rates == {"a": 0.1, "c": 0.01, "d": 0.3}
    arms = {arm: {0: flat(5)} for arm in rates}
    row = {"phase": "final", "arm": "d", "tokens": 100, "seconds": 1.5, "status": "finished"}
    tried = [
        row | {"phase": "selection", "arm": arm, "lr": lr, "seed": seed}
        for arm, lr in product("abc", (0.1, 0.01, 0.001))
        for seed in ((7, 8) if arm == "c" else (7,))
    ]
    summary = pd.DataFrame([*tried, row]).assign(cpu=["X", *["Y"] * 11, None])
    text = readme(compared, "small", rates, summary, arms)
    # What ran, whatever the panel says of it by now.
    assert "on seeds of their own: c 7, 8; the others 7;" in text
    assert "The grid: 0.1, 0.01, 0.001." in text
    assert "At the edge of the grid: a." in text
    assert "No rate finished on all seeds for b." in text
    assert "Hardware: X, Y; 13 runs" in text


@pytest.mark.parametrize("key", ["rates", "seeds"])
def test_a_mapping_of_arms_has_to_name_all_of_them(key):
    from snaprun.checks import UserError

    changes = {"rates": [0.1], "seeds": 2} | {key: {"a": [0.1] if key == "rates" else 1}}
    with pytest.raises(UserError, match="b, or for others"):
        Panel("p", "", {"a": [], "b": []}, "level", selection=Selection([100]), **changes)
