"""A whole run at tiny sizes: tables, text, figure and JSON; no time is ever asserted."""

import json

import pytest
import torch

from snaprun import figures
from snaprun.bench import PARTS, BenchOptions, available, run, sizes
from snaprun.bench.contenders import autograd, ours
from snaprun.bench.interleave import Budget
from snaprun.bench.problem import Net, copy_batch
from snaprun.bench.sizes import FULL, ONLINE, QUICK, SEQUENCE, Growth, Kernel, Sizes, Step
from snaprun.bench.step import PUBLISHED_MS

TINY = Net("gru", 6, 0.5, hidden=5)
SIZES = Sizes(
    budget=Budget(seconds=0, visit=0, least=2),
    kernel=(Kernel(TINY, 3), Kernel(Net("lstm", 5, 0.5), 1)),
    threads=(Kernel(TINY, 2),),
    step=(
        Step(TINY, 3, ONLINE + SEQUENCE),
        Step(Net("lstm", 5, 0.5, hidden=5), 1, ("snap1",)),
        Step(Net("vanilla", 5, 0.5, hidden=0), 2, ("snap1",)),
    ),
    published=(sizes.tanh(6, 0.5),),
    growth=(
        Growth("units", (TINY, Net("gru", 12, 0.8)), ("snap1", "bptt/128"), lanes=2),
        Growth("n", (TINY,), ("snap1", "snap2", "bptt/128"), lanes=2),
    ),
    memory=((TINY, 2),),
    side=8,
)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def small_copies(monkeypatch):
    monkeypatch.setattr("snaprun.bench.roofline.last_level_cache", lambda: 2**10)


def test_every_part_gives_its_table_text_and_picture(tmp_path):
    said: list[str] = []
    results = run(
        BenchOptions(list(PARTS)), threads=1, seed=0, tell=said.append, say=len, sizes=SIZES
    )
    assert list(results.tables) == [*PARTS, "ratios", "targets"]
    there = len(available.backends())
    kernel, step = results.tables["kernel"], results.tables["step"]
    assert len(kernel) == 2 * there
    assert (kernel["storage_ratio"] >= 1).all()
    for column in ("ms", "ms_low", "ms_high", "ms_best", "fraction", "gbytes_per_s"):
        assert (kernel[column] > 0).all()
    assert set(step.loc[step["engine"] == "torch.nn", "update_every"]) == {1, 128}
    assert step["update_every"].isna().sum() == 2 * len(available.engines())
    assert "nn.LSTM T=1 / SnAp-1" in set(results.tables["ratios"]["what"])
    for name in PARTS:
        assert any(text.startswith(f"{name}: ") for text in said)
    text = "\n".join(said)
    assert "gru-6@0.5" in text
    assert "not measured" in text

    files = figures.bench(results.tables, tmp_path)
    assert {file.name for file in files} == {
        *(f"{name}.csv" for name in results.tables),
        "bench.png",
        "bench.pdf",
        "bench.csv",
    }
    assert (tmp_path / "bench.png").stat().st_size > 1000
    results.write(tmp_path / "all.json")
    found = json.loads((tmp_path / "all.json").read_text())
    assert set(found) == {"machine", "ceilings", *results.tables}
    assert found["machine"]["threads"] == 1
    assert found["targets"][0]["measured"] is None
    assert len(found["growth"]) == len(results.tables["growth"])


@pytest.mark.parametrize("part", PARTS)
def test_a_part_runs_alone(part, tmp_path):
    results = run(BenchOptions([part]), threads=1, seed=0, tell=len, say=len, sizes=SIZES)
    assert part in results.tables
    assert not set(PARTS) & set(results.tables) - {part}
    assert (results.ceilings is not None) == (part == "kernel")
    figures.bench(results.tables, tmp_path)


def test_what_is_missing_is_said_and_what_is_refused_too(monkeypatch):
    monkeypatch.setattr(available, "BACKENDS", {"torch": available.BACKENDS["torch"]})
    monkeypatch.setattr(available, "_native_engine", lambda: None)
    assert [line.split(" ")[0] for line in available.missing()] == [
        "influence=native",
        "engine=native",
    ]
    assert list(available.engines()) == list(available.backends()) == ["torch"]
    engine = available.Engine("picky", available.engines()["torch"].build, lambda *_: "too odd")
    assert ours(engine, TINY.build(0), "snap1", copy_batch(2, 0), 0) is None
    assert engine.refused == {"GRU, SnAp": "too odd"}


def test_state_bytes_are_those_counted_where_nothing_is_padded():
    results = run(BenchOptions(["memory"]), threads=1, seed=0, tell=len, say=len, sizes=SIZES)
    table = results.tables["memory"].set_index(["rule", "engine"])
    for rule in ("frozen", "bptt", "rflo", "uoro"):
        row = table.loc[(rule, "torch")]
        assert row["state_bytes"] == row["state_bytes_analytic"]
    assert (table["state_bytes"] >= table["state_bytes_analytic"]).all()


@pytest.mark.parametrize("cell", ["gru", "lstm", "vanilla"])
def test_autograd_takes_a_step_a_window(cell):
    """Both windows learn the same batch: after one pass the parameters differ, all are finite."""
    batch = copy_batch(2, 0, steps=8)
    for steps in (1, 8):
        contender = autograd(Net(cell, 4, 0.5, hidden=3), batch, steps)
        contender.work(20)
        assert contender.steps == steps


def test_batches_have_a_target_at_every_step_and_no_beginning():
    for steps in (1, 7, 128):
        batch = copy_batch(3, 0, steps)
        assert batch.mask.shape == (steps, 3)
        assert batch.mask.all()
        assert not batch.resets.any()


def test_the_sizes_hold_what_the_targets_ask_for():
    for measured in (FULL, QUICK):
        kernels = {(size.net.name, size.lanes) for size in measured.kernel}
        assert {("gru-128@0.75", 16), ("gru-256@0.9375", 1), ("lstm-256@0.9375", 16)} <= kernels
        assert {net.name for net in measured.published} == set(PUBLISHED_MS)
        assert all(net.inputs == net.outputs == 16 for net in measured.published)


def test_threads_go_to_those_who_ask_for_them():
    def asks(core, pattern, threads=7):
        return threads

    torch.set_num_threads(1)
    assert available._with_threads(asks)(None, None) == 1
    assert available._with_threads(lambda core, pattern: 3)(None, None) == 3
    available.use_threads(2)
    assert torch.get_num_threads() == 2
