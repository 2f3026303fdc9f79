"""The number that a run is judged by."""

import math

import pytest

from snaprun.panels.metric import METRICS, final, overall
from tests.panels.runs import run

LEVEL, BPC = METRICS["level"], METRICS["validation_bpc"]
ROWS = [(tokens, 2 * tokens, float(tokens)) for tokens in range(10, 210, 10)]  # up to 200 tokens


def test_the_final_value_is_the_mean_of_the_last_tenth():
    assert final(run(*ROWS), LEVEL) == (190 + 200) / 2
    assert overall(run(*ROWS), LEVEL) == sum(range(10, 210, 10)) / 20


def test_rows_without_a_value_do_not_count():
    sparse = [(t, t, v if t % 50 == 0 else None) for t, _, v in ROWS]
    assert final(run(*sparse, key="validation_bpc"), BPC) == 200
    assert overall(run(*sparse, key="validation_bpc"), BPC) == (50 + 100 + 150 + 200) / 4


@pytest.mark.parametrize(
    ("counter", "end", "expected"),
    [("tokens", 100, 100), ("tokens", 109, 100), ("updates", 120, 60), ("updates", 200, 95)],
)
def test_a_part_of_a_run_has_a_last_tenth_of_its_own(counter, end, expected):
    rows = [*ROWS[:9], (90, 185, 90.0), *ROWS[9:]]  # by updates two rows in the tenth before 200
    assert final(run(*rows), LEVEL, counter, end) == expected


def test_where_no_row_lies_in_the_last_tenth_the_last_value_holds():
    assert final(run((10, 10, 3.0), (100, 100, 5.0)), LEVEL, "tokens", 99) == 3
    assert math.isnan(final(run((10, 10, 3.0), (100, 100, 5.0)), LEVEL, "tokens", 9))


def test_a_diverged_run_counts_as_worst_and_one_without_the_metric_as_unknown():
    assert final(run(*ROWS, status="diverged"), LEVEL) == 0
    assert overall(run(*ROWS, status="diverged", key="validation_bpc"), BPC) == 8
    assert math.isnan(final(run(*ROWS), BPC))
    assert math.isnan(overall(run(*ROWS), BPC))
