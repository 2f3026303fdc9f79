"""The number that a run is judged by."""

import math
from dataclasses import replace

import pytest

from snaprun.metrics import BUILT_IN
from snaprun.studies.metric import due, final, overall
from tests.studies.runs import run

LEVEL, BPC = BUILT_IN["level"], BUILT_IN["validation_bpc"]
ROWS = [(tokens, 2 * tokens, float(tokens)) for tokens in range(10, 210, 10)]  # up to 200 tokens


def test_the_final_value_is_the_mean_of_the_last_tenth():
    assert final(run(*ROWS), LEVEL) == (190 + 200) / 2
    assert overall(run(*ROWS), LEVEL) == sum(range(10, 210, 10)) / 20


def test_rows_without_a_value_do_not_count():
    sparse = [(t, t, v if t % 50 == 0 else None) for t, _, v in ROWS]
    assert final(run(*sparse, key="validation_bpc"), BPC) == 200
    assert overall(run(*sparse, key="validation_bpc"), BPC) == (50 + 100 + 150 + 200) / 4


def test_a_part_of_a_run_has_a_last_tenth_of_its_own():
    # Without a configuration places are the numbers of the rows.
    assert final(run(*ROWS), LEVEL, 10) == 100
    assert final(run(*ROWS), LEVEL, 11) == (100 + 110) / 2
    timed = replace(run(*ROWS), config={"train": {"log_every": 10, "tokens": 200}})
    assert final(timed, LEVEL, 109) == 100
    assert final(timed, LEVEL, 100) == 100
    assert final(timed, LEVEL) == (190 + 200) / 2


def test_where_no_row_lies_in_the_last_tenth_the_last_value_holds():
    two = run((10, 10, 3.0), (100, 100, 5.0), key="bpc")
    timed = replace(two, config={"train": {"log_every": 10}})
    assert final(timed, BUILT_IN["bpc"], 99) == 3
    assert math.isnan(final(timed, BUILT_IN["bpc"], 9))


def test_a_level_holds_over_the_windows_without_a_row():
    thin = run((10, 1, 1.0), (52, 5, 4.0), (95, 9, 6.0), (103, 10, 6.0))
    timed = replace(thin, config={"train": {"log_every": 10, "tokens": 100}})
    # 1 in the windows that end at 10 to 40, 4 from 50 to 80, 6 at 90 and 100.
    assert overall(timed, LEVEL) == (4 * 1 + 4 * 4 + 2 * 6) / 10
    assert [final(timed, LEVEL, end) for end in (40, 55, 80, 90, 100)] == [1, 4, 4, 6, 6]


@pytest.mark.parametrize(
    ("tokens", "at"), [(9, 0), (10, 10), (19, 10), (20, 20), (99, 90), (100, 90), (130, 90)]
)
def test_a_row_belongs_to_the_window_in_which_it_was_due(tokens, at):
    one = replace(run((tokens, 1, 1.0)), config={"train": {"log_every": 10, "tokens": 95}})
    assert due(one).tolist() == [at]  # a run of 95 tokens ends in the window from 90 on


def test_a_diverged_run_counts_as_worst_and_one_without_the_metric_as_unknown():
    assert final(run(*ROWS, status="diverged"), LEVEL) == 0
    assert overall(run(*ROWS, status="diverged", key="validation_bpc"), BPC) == 8
    assert math.isnan(final(run(*ROWS), BPC))
    assert math.isnan(overall(run(*ROWS), BPC))
