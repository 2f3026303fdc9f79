"""Forecasts of a series, recomputed row by row from the definition."""

import hashlib
import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snaprun.checks import UserError
from snaprun.cli import _main
from snaprun.losses import LOSSES
from snaprun.tasks import TASKS, Batch
from snaprun.tasks import series as module
from snaprun.tasks.series import Series

GENERATOR = torch.Generator()
FIELDS = ("inputs", "targets", "mask", "resets", "baseline")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A function that writes rows of the columns a, b, c to a file and returns rows and path."""
    folder = tmp_path_factory.mktemp("series")

    def write(rows: int, seed: int = 0, **changed) -> tuple[np.ndarray, str]:
        x = np.random.default_rng(seed).standard_normal((rows, 3)) * [1, 10, 0.1] + [0, 50, 7]
        for row, value in changed.items():
            x[int(row.removeprefix("row"))] = value
        path = folder / f"{rows}_{seed}_{len(changed)}.csv"
        lines = ["a,b,c", *(",".join(map(repr, row)) for row in x.tolist())]
        path.write_text("\n".join(lines))
        return x, str(path)

    return write


def tensors(batch: Batch) -> list[torch.Tensor]:
    return [getattr(batch, name) for name in FIELDS]


def joined(batches: list[Batch]) -> dict[str, np.ndarray]:
    return {name: torch.cat([getattr(b, name) for b in batches]).numpy() for name in FIELDS}


def moments(past: list[np.ndarray], standardise: str) -> tuple[np.ndarray, np.ndarray]:
    if standardise == "none":
        return np.zeros(3), np.ones(3)
    mean, deviation = np.mean(past, 0), np.std(past, 0)
    return mean, np.where(deviation > 0, deviation, 1)


def equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and a["rows"] == b["rows"] and torch.equal(a["past"], b["past"])


def by_hand(x, first, steps, horizon, warm_up, standardise, past=()):
    """What one lane reads of the training rows x, a step at a time; then what comes of it."""
    row, past, since = first, list(past), 0
    warm_up = warm_up if standardise == "running" else 0
    for _ in range(steps):
        if row + horizon == len(x):
            row, past, since = 0, [], 0
        past.append(x[row])
        mean, deviation = moments(past, standardise)
        target = since >= warm_up
        yield (
            (x[row] - mean) / deviation,
            target * (x[row + horizon] - mean) / deviation,
            target,
            since == 0,
            target * (x[row] - mean) / deviation,
        )
        row, since = row + 1, since + 1


@given(
    rows=st.integers(6, 50),
    lanes=st.integers(1, 4),
    crop=st.integers(1, 15),
    horizon=st.integers(1, 5),
    warm_up=st.integers(0, 6),
    rounds=st.integers(1, 8),
    standardise=st.sampled_from(["running", "none"]),
)
@settings(max_examples=80, deadline=None)
def test_lanes_go_on_and_come_round(file, rows, lanes, crop, horizon, warm_up, rounds, standardise):
    x, path = file(rows)
    chosen = {"horizon": horizon, "crop": crop, "warm_up": warm_up, "standardise": standardise}
    if rows < horizon + max(crop, warm_up + 1 if standardise == "running" else 1):
        with pytest.raises(UserError, match="is not accepted: expected a series with at least"):
            Series(path, **chosen, valid_fraction=0.0)
        return
    task = Series(path, **chosen, valid_fraction=0.0)
    if rows < lanes * (crop + horizon):
        with pytest.raises(UserError, match=f"at least {lanes * (crop + horizon)} rows for"):
            task.batch(lanes, GENERATOR)
        return
    batches = [task.batch(lanes, GENERATOR) for _ in range(rounds)]
    assert all(batch.mask.shape == (crop, lanes) for batch in batches)
    found = joined(batches)
    for lane in range(lanes):
        first = lane * (rows // lanes)
        steps = by_hand(x, first, crop * rounds, horizon, warm_up, standardise)
        for name, expected in zip(FIELDS, zip(*steps, strict=True), strict=True):
            assert found[name][:, lane] == pytest.approx(np.array(expected), abs=1e-9)


@pytest.mark.parametrize("standardise", ["running", "none"])
def test_the_future_changes_nothing_before_it(file, standardise):
    """Rows from 40 on are others: only targets from 40 - horizon on see that, to the last bit."""
    horizon = 3
    _, path = file(60)
    _, other = file(60, **{f"row{row}": 1e6 for row in range(40, 60)})
    found = []
    for name in (path, other):
        task = Series(name, horizon=horizon, crop=9, standardise=standardise, warm_up=2)
        found.append(joined([task.batch(1, GENERATOR) for _ in range(6)]))
    for name in FIELDS:
        same = 40 - horizon if name == "targets" else 40
        assert np.array_equal(found[0][name][:same], found[1][name][:same])
    assert not np.array_equal(found[0]["targets"][37], found[1]["targets"][37])
    assert not np.array_equal(found[0]["inputs"][40], found[1]["inputs"][40])


def test_columns_and_targets_are_chosen(file):
    x, path = file(60)
    chosen = {"standardise": "none", "crop": 20, "horizon": 4}
    task = Series(path, columns=["c", "a"], targets=["b", "c"], **chosen)
    batch = task.batch(2, GENERATOR)
    assert (task.inputs, task.outputs) == (2, 2)
    first = [0, 27]  # of 54 training rows
    for lane, row in enumerate(first):
        rows = np.arange(row, row + 20)
        assert np.array_equal(batch.inputs[:, lane], x[rows][:, [2, 0]])
        assert np.array_equal(batch.targets[:, lane], x[rows + 4][:, [1, 2]])
        assert np.array_equal(batch.baseline[:, lane], x[rows][:, [1, 2]])
    running = Series(path, warm_up=0, columns=["c", "a"], targets=["b", "c"], crop=20)
    assert Series(path, targets=["b"], crop=20, warm_up=0).inputs == 3
    assert running.batch(2, GENERATOR).targets.shape == (20, 2, 2)


@pytest.mark.parametrize("standardise", ["running", "none"])
@pytest.mark.parametrize("tokens", [None, 1, 8, 11, 1000])
def test_validation_is_the_end_of_the_series_after_all_of_its_past(
    file, monkeypatch, standardise, tokens
):
    monkeypatch.setattr(module, "CHUNK", 17)
    x, path = file(100)
    task = Series(path, horizon=3, crop=7, warm_up=2, standardise=standardise, valid_fraction=0.25)
    assert task.facts()["train_rows"] == 75
    assert task.facts()["valid_rows"] == 25
    task.batch(2, GENERATOR)
    batches = list(task.validation(tokens))
    steps = 22 if tokens is None else min(22, max(7, tokens))
    assert [len(batch.mask) for batch in batches[:-1]] == [7] * (len(batches) - 1)
    expected = by_hand(x, 75, steps, 3, 0, standardise, past=x[:75])
    found = joined(batches)
    for name, values in zip(FIELDS, zip(*expected, strict=True), strict=True):
        assert found[name][:, 0] == pytest.approx(np.array(values), abs=1e-9)


def test_no_fraction_means_no_validation(file):
    task = Series(file(60)[1], crop=9, warm_up=0, valid_fraction=0.0)
    assert task.validation(None) is None
    assert task.facts()["valid_rows"] == 0


@pytest.mark.parametrize("standardise", ["running", "none"])
def test_chance_is_the_variance_of_the_targets(file, monkeypatch, standardise):
    monkeypatch.setattr(module, "CHUNK", 17)
    x, path = file(100)
    task = Series(path, ["a"], ["b", "c"], horizon=3, standardise=standardise, warm_up=4, crop=9)
    steps = list(by_hand(x[:90], 0, 87, 3, 4, standardise))
    targets = np.array([target for _, target, has, *_ in steps if has])[:, 1:]
    assert task.chance == pytest.approx(targets.var(0).mean())


def test_a_series_that_never_varies_has_no_chance(tmp_path):
    (tmp_path / "t.csv").write_text("a\n" + "0.1\n" * 60)
    task = Series(str(tmp_path / "t.csv"), crop=9, warm_up=0)
    assert task.chance == math.inf
    batch = task.batch(1, GENERATOR)
    assert not batch.inputs.any()
    assert not batch.targets.any()


@pytest.mark.parametrize("standardise", ["running", "none"])
@pytest.mark.parametrize("rounds", [0, 1, 5, 9])  # of 7 rows; there are 54, in lanes from 0 and 27
def test_a_stream_resumes_at_its_row_bit_by_bit(file, standardise, rounds):
    path = file(60)[1]
    chosen = {"crop": 7, "warm_up": 3, "standardise": standardise}
    task = Series(path, **chosen)
    for _ in range(rounds):
        task.batch(2, GENERATOR)
    saved = pickle.loads(pickle.dumps(task.state_dict()))
    expected = [task.batch(2, GENERATOR) for _ in range(12)]
    restored = Series(path, **chosen)
    restored.load_state_dict(saved, 7 * rounds)
    assert equal(restored.state_dict(), saved)
    for batch in expected:
        again = restored.batch(2, GENERATOR)
        assert all(map(torch.equal, tensors(again), tensors(batch)))


def test_a_lane_that_has_just_come_round_resumes_too(file):
    path = file(60)[1]
    task = Series(path, crop=53, warm_up=3)  # 54 rows, the last of them a target only
    task.batch(1, GENERATOR)
    saved = task.state_dict()
    assert not saved["past"].any()
    restored = Series(path, crop=53, warm_up=3)
    restored.load_state_dict(saved, 53)
    assert all(map(torch.equal, *(tensors(each.batch(1, GENERATOR)) for each in (task, restored))))


DAMAGE = {
    "no dict": lambda state: [],
    "no rows": lambda state: {"past": state["past"]},
    "another key": lambda state: {**state, "more": 1},
    "rows of no batch": lambda state: {**state, "rows": 20},
    "other rows": lambda state: {**state, "rows": 28},
    "no integer": lambda state: {**state, "rows": 21.0},
    "rows beyond": lambda state: {**state, "rows": -7},
    "no tensor": lambda state: {**state, "past": [0.0]},
    "float32": lambda state: {**state, "past": state["past"].float()},
    "no lanes": lambda state: {**state, "past": state["past"][:0]},
    "more lanes": lambda state: {**state, "past": state["past"].repeat(9, 1, 1)},
    "fewer columns": lambda state: {**state, "past": state["past"][..., :2]},
    "a scalar": lambda state: {**state, "past": torch.tensor(0.0, dtype=torch.float64)},
    "NaN": lambda state: {**state, "past": state["past"] * math.nan},
    "other moments": lambda state: {**state, "past": state["past"] * 1.01},
    "lanes swapped": lambda state: {**state, "past": state["past"].flip(0)},
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("drawn", [21, None])
def test_a_damaged_state_is_refused_and_leaves_the_task_as_it_was(file, damage, drawn):
    task = Series(file(60)[1], crop=7, warm_up=0)
    for _ in range(3):
        task.batch(2, GENERATOR)
    before = task.state_dict()
    with pytest.raises(ValueError, match="mismatch"):
        task.load_state_dict(DAMAGE[damage](task.state_dict()), drawn)
    assert equal(task.state_dict(), before)
    task.load_state_dict(task.state_dict(), drawn)
    with pytest.raises(ValueError, match="mismatch"):
        task.load_state_dict(task.state_dict(), 0)


def test_a_stream_keeps_its_number_of_lanes(file):
    task = Series(file(60)[1], crop=7, warm_up=0)
    task.batch(2, GENERATOR)
    with pytest.raises(UserError, match=r"^train\.lanes=3 is not accepted: expected 2"):
        task.batch(3, GENERATOR)


def test_generated_series_have_names_and_a_sum():
    task = Series("lorenz", ["y"], ["z"], length=300, standardise="none")
    _, generate = module.GENERATED["lorenz"]
    x = generate(300)
    batch = task.batch(1, GENERATOR)
    assert np.array_equal(batch.inputs[:, 0, 0], x[:128, 1])
    assert np.array_equal(batch.targets[:, 0, 0], x[1:129, 2])
    assert task.facts() == Series("lorenz", ["y"], ["z"], length=300).facts()
    assert task.facts() != Series("lorenz", ["x"], ["z"], length=300).facts()
    with pytest.raises(UserError, match=r"^task\.columns='w' .* expected one of x, y, z\."):
        Series("lorenz", ["w"], length=300)


def test_a_name_may_be_a_number(tmp_path):
    (tmp_path / "t.csv").write_text("x,0,7\n" + "1,2,3\n" * 20)
    task = Series(str(tmp_path / "t.csv"), [0], [7], standardise="none", crop=3)
    batch = task.batch(1, GENERATOR)
    assert batch.inputs.flatten().tolist() == [2] * 3
    assert batch.targets.flatten().tolist() == [3] * 3
    with pytest.raises(UserError, match=r"^task\.columns='1' .* expected one of x, 0, 7\.$"):
        Series(str(tmp_path / "t.csv"), [1])


def test_the_facts_of_a_file_are_its_sum(file):
    path = file(60)[1]
    facts = Series(path, crop=7, warm_up=0).facts()
    assert facts["series"] == path
    assert facts["series_sha256"] == hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_the_loss_and_the_registry():
    assert TASKS["series"] is Series
    assert isinstance(Series.loss, LOSSES["mse"])


@pytest.mark.parametrize(
    ("chosen", "line"),
    [
        ({"horizon": 0}, "task.horizon=0 is not accepted: expected an integer ≥ 1"),
        ({"horizon": 60}, "task.horizon=60 is not accepted: expected less than the 60 rows of"),
        ({"horizon": 50}, "is not accepted: expected a series with at least 57 rows for training"),
        ({"horizon": 6}, "expected a series with at least 7 rows for validation"),
        ({"warm_up": 53}, "expected a series with at least 55 rows for training"),
        ({"crop": 54}, "expected a series with at least 55 rows for training"),
        ({"length": 10**9}, "task.length=1000000000 is not accepted: expected an integer ≤ 1"),
        ({"crop": 0}, "task.crop=0 is not accepted"),
        ({"warm_up": -1}, "task.warm_up=-1 is not accepted"),
        ({"valid_fraction": 1.0}, "task.valid_fraction=1.0 is not accepted"),
        ({"standardise": "past"}, "task.standardise='past' is not accepted: expected one of run"),
        ({"targets": ["d"]}, "task.targets='d' is not accepted: expected one of a, b, c"),
    ],
)
def test_a_mistake_is_refused_in_one_line(file, chosen, line):
    with pytest.raises(UserError) as caught:
        Series(file(60)[1], **{"crop": 7, "warm_up": 0, **chosen})
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


RUN = "train task=series task.length=700 task.horizon=3 task.crop=20 cell.units=8 train.lanes=2"
RUN = f"{RUN} train.log_every=200 train.eval_every=300 dtype=float64".split()


def rows_of(folder: Path) -> list[dict[str, float]]:
    (file,) = folder.glob("*/*/metrics.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_a_run_tells_its_errors_beside_those_of_persistence(here):
    for engine in ("auto", "torch"):
        command = [*RUN, "train.tokens=800", f"results={engine}", f"engine={engine}"]
        assert _main(command) == 0
    rows = rows_of(here / "torch")
    for row, other in zip(rows, rows_of(here / "auto"), strict=True):
        assert row == pytest.approx(other, abs=1e-9)

    task = Series(length=700, horizon=3, crop=20)
    windows = [[task.batch(2, GENERATOR) for _ in range(5)] for _ in range(4)]  # 200 tokens each
    trained = [row for row in rows if "mse" in row]
    assert trained[0]["mse"] is None  # 100 rows a lane, all of them warm-up
    told = [(row, "", window) for row, window in zip(trained[1:], windows[1:], strict=True)]
    told.append((rows[-1], "validation_", list(task.validation(None))))
    for row, part, batches in told:
        found = joined(batches)
        baseline, targets = (found[name][found["mask"]] for name in ("baseline", "targets"))
        squares = ((baseline - targets) ** 2).mean()
        nrmse = math.sqrt(squares) / targets.std()
        assert row[f"baseline_{part}mse"] == pytest.approx(squares)
        assert row[f"baseline_{part}nrmse"] == pytest.approx(nrmse)
        ratio = math.sqrt(row[f"{part}mse"] / squares)  # the targets are the same
        assert row[f"{part}nrmse"] == pytest.approx(nrmse * ratio)


def test_a_run_that_goes_on_equals_an_unbroken_one(here):
    """It stops after 20 batches, 400 of its 627 rows a lane, and comes round later on."""
    for tokens in (800, 1600):
        assert _main([*RUN, f"train.tokens={tokens}", "results=broken"]) == 0
    assert _main([*RUN, "train.tokens=1600", "results=whole"]) == 0
    assert rows_of(here / "broken")[-1] == rows_of(here / "whole")[-1]


@pytest.mark.slow
def test_snap1_forecasts_mackey_glass_better_than_persistence(here):
    assert _main(["train", "experiment=series_gru64", "results=r"]) == 0
    rows = [row for row in rows_of(here / "r") if "nrmse" in row]
    assert len(rows) == 8
    assert all(row["nrmse"] < 0.5 * row["baseline_nrmse"] for row in rows[1:])
