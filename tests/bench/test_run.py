"""A whole run at tiny sizes: tables, text, figure and JSON; no time is ever asserted."""

import json

import pytest
import torch

from snaprun import checks, figures
from snaprun.bench import PARTS, BenchOptions, available, contenders, memory, peers, run
from snaprun.bench.contenders import Setting, autograd, ours
from snaprun.bench.interleave import Budget
from snaprun.bench.problem import CHARACTERS, COPY, Feed, Net, batches
from snaprun.bench.roofline import TRIES
from snaprun.bench.sizes import (
    FULL,
    ONLINE,
    QUICK,
    SEQUENCE,
    Growth,
    Kernel,
    Sizes,
    Step,
    Window,
)
from snaprun.figures.words import SNAP1_OVER_BPTT

TINY, TEXT = Net("gru", 6, 0.5, hidden=5), Net("gru", 6, 0.5, CHARACTERS, hidden=5)
SIZES = Sizes(
    budget=Budget(seconds=0, visit=0, least=1),
    kernel=(Kernel(TINY, 3), Kernel(Net("lstm", 5, 0.5), 1)),
    threads=(Kernel(TINY, 2),),
    step=(
        Step(TINY, 3, ONLINE + SEQUENCE),
        Step(TEXT, 3, ("snap1", *SEQUENCE)),
        Step(Net("lstm", 5, 0.5, hidden=5), 1, ("snap1",)),
        Step(Net("vanilla", 5, 0.5, CHARACTERS, hidden=0), 2, ("snap1",)),
    ),
    python=(Step(TINY, 1, ("snap1",)), Step(TINY, 2, ("snap2",))),
    growth=(
        Growth("units", (TINY, Net("gru", 12, 0.8)), ("snap1", "bptt/128"), lanes=2),
        Growth("n", (TINY,), ("snap1", "snap2", "bptt/128"), lanes=2),
    ),
    memory=(
        Step(TINY, 2, ("frozen", "bptt/128", "rflo", "uoro", "snap1", "snap2", "snap3")),
        Step(TEXT, 2, ("bptt/128", "snap1")),
    ),
    peers=(Step(TEXT, 2, SEQUENCE),),
    windows=(Window(TINY, 3, 11, (0.1, 0.6)),),
    updates=3,
    side=16,
)


def setting(net, lanes=2, updates=3):
    return Setting.make(net, lanes, list(available.engines().values()), 0, updates)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_every_part_gives_its_table_text_and_picture(tmp_path):
    said: list[str] = []
    results = run(
        BenchOptions(list(PARTS)), threads=1, seed=0, tell=said.append, say=len, sizes=SIZES
    )
    assert set(results.tables) == {*PARTS, "ceilings", "ratios"}
    there = len(available.backends())
    kernel, step = results.tables["kernel"], results.tables["step"]
    assert len(kernel) == 2 * there
    assert (kernel["storage_ratio"] >= 1).all()
    for column in ("ms", "ms_low", "ms_high", "ms_best", "gbytes_per_s"):
        assert (kernel[column] > 0).all()
    assert (kernel["fraction"].dropna() <= 1).all()
    assert (kernel["fraction"].isna() == (kernel["note"] != "")).all()
    assert (results.tables["ceilings"]["tries"] >= TRIES).all()
    assert set(step.loc[step["engine"] == "torch.nn", "update_every"]) == {1, 128}
    assert dict(zip(step["task"], step["inputs"], strict=True)) == {COPY: 4, CHARACTERS: 256}
    python = results.tables["python"]
    assert python["engine"].tolist() == 2 * [list(available.engines())[-1], "learner"]
    calls = python.loc[python["engine"] == "learner"]
    assert (calls["call_us_p99"] >= calls["call_us"]).all()
    assert calls["more_us"].notna().all()
    ratios = results.tables["ratios"]
    assert "nn.LSTM T=1 / SnAp-1" in set(ratios["what"])
    of_bptt = ratios.loc[ratios["what"] == SNAP1_OVER_BPTT]
    assert {*of_bptt["engine"]} == {*available.engines(), peers.JAX}
    assert set(of_bptt["task"]) == {COPY, CHARACTERS}
    for name in PARTS:
        assert any(text.startswith(f"{name}: ") for text in said)
    text = "\n".join(said)
    assert "gru-6@0.5" in text
    assert "goal" not in text

    files = figures.bench(results.tables, tmp_path)
    assert {file.name for file in files} == {
        *(f"{name}.csv" for name in results.tables),
        "bench.png",
        "bench.pdf",
        "bench.csv",
        *(f"bench_budget.{kind}" for kind in ("png", "pdf", "csv")),
    }
    assert (tmp_path / "bench.png").stat().st_size > 1000
    results.write(tmp_path / "all.json")
    found = json.loads((tmp_path / "all.json").read_text())
    assert set(found) == {"machine", *results.tables}
    assert found["machine"]["threads"] == 1
    assert len(found["growth"]) == len(results.tables["growth"])


@pytest.mark.usefixtures("only_tables")
@pytest.mark.parametrize("part", PARTS)
def test_a_part_runs_alone(part, tmp_path):
    results = run(BenchOptions([part]), threads=1, seed=0, tell=len, say=len, sizes=SIZES)
    assert part in results.tables
    assert not set(PARTS) & set(results.tables) - {part}
    assert ("ceilings" in results.tables) == (part == "kernel")
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
    assert ours(engine, setting(TINY), "snap1") is None
    assert engine.refused == {"GRU, SnAp": "too odd"}


def test_denormals_are_flushed_as_in_training_and_only_meanwhile(monkeypatch):
    def half_of_the_least():
        return (torch.tensor(torch.finfo(torch.float32).tiny) * 0.5).item()

    seen = []
    measure = memory.measure

    def spy(*arguments):
        seen.append(half_of_the_least())
        return measure(*arguments)

    monkeypatch.setattr(memory, "measure", spy)
    run(BenchOptions(["memory"]), threads=1, seed=0, tell=len, say=len, sizes=SIZES)
    assert seen == [0.0]
    assert half_of_the_least() > 0


def test_without_the_extra_peers_are_left_out(monkeypatch):
    monkeypatch.setattr(peers, "installed", lambda: False)
    said: list[str] = []
    options = BenchOptions(["memory", "peers"])
    results = run(options, threads=1, seed=0, tell=said.append, say=len, sizes=SIZES)
    assert set(results.tables) == {"memory"}
    assert peers.MISSING in said[0]
    with pytest.raises(checks.UserError, match=r"snaprun\[peers\]"):
        run(BenchOptions(["peers"]), threads=1, seed=0, tell=len, say=len, sizes=SIZES)


def test_state_bytes_are_those_counted_where_nothing_is_padded():
    results = run(BenchOptions(["memory"]), threads=1, seed=0, tell=len, say=len, sizes=SIZES)
    table = results.tables["memory"].set_index(["task", "rule", "engine"])
    for rule in ("frozen", "bptt", "rflo", "uoro"):
        row = table.loc[(COPY, rule, "torch")]
        assert row["state_bytes"] == row["state_bytes_analytic"]
    assert (table["state_bytes"] >= table["state_bytes_analytic"]).all()


@pytest.mark.parametrize("cell", ["gru", "lstm", "vanilla"])
@pytest.mark.parametrize("task", [COPY, CHARACTERS])
@pytest.mark.parametrize("steps", [1, 64])
def test_autograd_makes_an_update_a_window_with_the_gradient_of_torch_nn(
    cell, task, steps, monkeypatch
):
    """The state is carried from window to window but not over the beginning of a sequence."""
    seen = []
    module = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM, "vanilla": torch.nn.RNN}[cell]

    class Spy(module):
        def forward(self, x, state):
            h, carried = super().forward(x, state)
            seen.append((x, state, carried))
            return h, carried

    monkeypatch.setitem(contenders.MODULES, cell, Spy)
    of = setting(Net(cell, 4, 0.5, task, hidden=3))
    contender = autograd(of, steps)
    assert contender.steps == steps
    a_sequence = 128 // steps
    contender.work(2 * a_sequence + 1)
    first = (lambda state: state[0]) if cell == "lstm" else (lambda state: state)
    for number, (x, state, _) in enumerate(seen):
        batch = of.data[number // a_sequence]
        t = number % a_sequence * steps
        assert (x.argmax(2) == batch.inputs[t : t + steps]).all()
        begins = number % a_sequence == 0
        expected = torch.zeros(1, 2, 4) if begins else first(seen[number - 1][2])
        assert first(state).equal(expected.detach())


def test_batches_are_those_of_a_run_cut_to_128_steps():
    for task in (COPY, CHARACTERS):
        made = batches(task, 3, 0)
        for batch in made:
            assert batch.mask.shape == (128, 3)
            assert batch.mask.all()
            assert batch.resets[0].all()
            assert not batch.resets[1:].any()
        assert not made[0].inputs.equal(made[1].inputs)


def test_a_feed_goes_on_where_it_was_and_round():
    made = batches(COPY, 2, 0, steps=6, count=2)
    feed = Feed(made)
    seen = [piece for steps in (4, 4, 5) for piece in feed.pieces(steps)]
    assert [len(piece.mask) for piece in seen] == [4, 2, 2, 4, 1]
    whole = torch.cat([made[0].inputs, made[1].inputs, made[0].inputs])
    assert torch.cat([piece.inputs for piece in seen]).equal(whole[:13])
    assert [piece.ends for piece in seen] == [False, True, False, True, False]
    # A sequence that has begun is not taken: the next is the second.
    assert [batch is made[i] for batch, i in zip(feed.sequences(3), (1, 0, 1), strict=True)] == [
        True
    ] * 3
    assert next(feed.pieces(1)).inputs.equal(made[0].inputs[:1])


@pytest.mark.parametrize("task", [COPY, CHARACTERS])
def test_what_is_timed_starts_from_a_network_in_training(task):
    """Parameters and moments are those after the updates, whatever the rule and the engine."""
    of = setting(Net("gru", 4, 0.5, task, hidden=3), updates=5)
    assert of.trained["updates"] == 5
    for engine in available.engines().values():
        for rule in ("snap1", "bptt/128"):
            made = ours(engine, of, rule)
            assert made is not None
            state = made[1].state_dict()
            assert state["updates"] == 5
            assert state["network"]["theta"].equal(of.trained["network"]["theta"])
            for name, moments in of.trained["optimiser"].items():
                assert all(map(torch.equal, state["optimiser"][name], moments))
            assert any(moment.any() for moment in state["optimiser"]["exp_avg"])


def test_the_sizes_hold_what_the_claim_of_cost_asks_for():
    for measured in (FULL, QUICK):
        kernels = {(size.net.name, size.lanes) for size in measured.kernel}
        assert {("gru-128@0.75", 16), ("gru-256@0.9375", 1), ("lstm-256@0.9375", 16)} <= kernels
    steps = {(s.net.cell, s.net.task, s.lanes) for s in FULL.step if {*SEQUENCE} <= {*s.rules}}
    assert steps == {
        (cell, task, lanes)
        for cell in ("gru", "lstm", "vanilla")
        for task in (COPY, CHARACTERS)
        for lanes in (16, 1)
    }
