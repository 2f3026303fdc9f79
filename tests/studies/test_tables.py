"""Which part of a run counts."""

from dataclasses import replace

import pytest

from snaprun.checks import UserError
from snaprun.metrics import BUILT_IN
from snaprun.studies import tables
from tests.figures.runs import config, write
from tests.studies.runs import job, run

ROWS = [(t, {"bpc": 3.0 - t / 100, "validation_bpc": None}) for t in (40, 80, 120, 160)]
ROWS.insert(3, (120, {"bpc": None, "validation_bpc": 2.0}))  # the validation after the row of 120


@pytest.mark.parametrize(("tokens", "ends"), [(100, [120, 120]), (120, [120, 120]), (30, [40])])
def test_a_run_counts_until_it_reached_the_tokens_of_the_panel(tmp_path, tokens, ends):
    made = replace(job("a", tokens=tokens), folder=write(tmp_path / "run", config(), ROWS))
    metrics = tables.read(made, BUILT_IN["bpc"]).metrics
    assert metrics["tokens"].tolist()[-len(ends) :] == ends
    assert metrics["tokens"].max() == ends[-1]
    if len(ends) > 1:
        assert metrics["validation_bpc"].iloc[-1] == 2.0


def test_a_run_that_broke_off_counts_whole(tmp_path):
    folder = write(tmp_path / "run", config(), ROWS, status="diverged")
    made = replace(job("a", tokens=1000), folder=folder)
    assert len(tables.read(made, BUILT_IN["level"]).metrics) == len(ROWS)


def test_a_metric_that_no_run_writes_is_refused(tmp_path):
    made = replace(job("a"), folder=write(tmp_path / "run", config(), ROWS))
    with pytest.raises(UserError, match=r"panel\.metric='level' .* tokens, .*bpc, validation_bpc"):
        tables.read(made, BUILT_IN["level"])


@pytest.mark.parametrize(
    ("went_through", "told"), [(["v3"], "v3"), (["v3", "v4", "v3"], "v3, v4"), ([None, "v3"], None)]
)
def test_the_instruction_sets_and_processors_of_a_run(went_through, told):
    made, one = job("a"), run((10, 10, 1.0), (100, 100, 2.0))
    assert one.summary
    segments = {"segments": [{"isa": name, "cpu": name} for name in went_through]}
    one = replace(one, summary=replace(one.summary, extras=segments))
    table = tables.summary([made], {made: one}, BUILT_IN["level"])
    assert table["isa"].tolist() == table["cpu"].tolist() == [told]


def test_the_checksums_of_all_data_stand_in_the_table():
    made, one = job("a"), run((10, 10, 1.0))
    assert one.summary
    extras = {"sky": "sky.csv", "sky_sha256": "12ab", "sky_rows": 3}
    one = replace(one, summary=replace(one.summary, extras=extras))
    table = tables.summary([made], {made: one}, BUILT_IN["level"])
    assert table["sky_sha256"].tolist() == ["12ab"]
    assert not {"sky", "sky_rows"} & {*table}
