"""The bench of BPTT within budgets: what it keeps and repeats, and what it is compared with."""

from math import prod

import pytest
import torch

from snaprun.bench import BenchOptions, available, run
from snaprun.bench.contenders import Setting, TorchNN, of_rule
from snaprun.bench.problem import COPY, Net, batches
from snaprun.bench.segments import Segments, in_segments
from snaprun.bench.sizes import FULL, Window
from snaprun.engine.base import SEQUENCE
from snaprun.rules import BPTT
from snaprun.rules.bptt import stored_numbers
from snaprun.rules.schedule import forwards
from tests.bench.test_run import SIZES, TINY

LANES, STEPS = 3, 11
NAMES = ("gru", "lstm", "vanilla")


def setting(net=TINY, steps=STEPS):
    engines = list(available.engines().values())
    return Setting.make(net, LANES, engines, 0, updates=3, steps=steps)


@pytest.fixture(scope="module")
def results():
    said: list[str] = []
    found = run(BenchOptions(["budget"]), threads=1, seed=0, tell=said.append, say=len, sizes=SIZES)
    return found.tables, "\n".join(said)


def test_each_engine_keeps_no_more_than_its_budget_and_repeats_what_theory_says(results):
    table = results[0]["budget"]
    core = TINY.build(0).core
    hidden, internal = (4 * LANES * numbers for numbers in stored_numbers(core))
    for engine in available.engines():
        rows = table.loc[table["engine"] == engine].set_index(["policy", "memory"])
        whole = rows.loc["full tape"].iloc[0]
        assert (whole["fraction"], whole["ratio"], whole["forwards"]) == (1, 1, 1)
        # A window of 11 steps within 10 % has no room for a hidden and an internal state.
        bounded = rows.loc[["mixed", "hidden", "internal"]]
        assert bounded.index.tolist() == [(p, 0.6) for p in ("mixed", "hidden", "internal")]
        size = STEPS * internal + hidden
        if engine == "torch":  # the C++ engine pads lanes
            assert (bounded["bytes"] <= 0.6 * size).all()
            slots = int(0.6 * size) - hidden
            for policy, m in (
                ("hidden", 1 + (slots - internal) // hidden),
                ("internal", slots // internal),
            ):
                expected = forwards(policy, STEPS, m) / STEPS
                assert bounded.loc[(policy, 0.6), "forwards"] == pytest.approx(expected)
        segments = rows.loc["√T segments"].iloc[0]
        assert segments["forwards"] == pytest.approx((STEPS + 8) / STEPS)  # 4 + 4 + 3 steps
        assert segments["bytes"] < 0.6 * whole["bytes"]


def test_times_are_beside_theory_and_the_full_tape_of_the_same_engine(results):
    tables, said = results
    table = tables["budget"]
    assert table["theory"].tolist() == pytest.approx(((table["forwards"] + 2) / 3).tolist())
    lines = table.loc[table["engine"] == "theory"]
    assert lines["us"].isna().all()
    assert lines.loc[lines["fraction"].idxmax(), "theory"] == 1
    ratios = tables["ratios"]
    whats = {f"BPTT, T=11: {told} / full tape" for told in ("mixed, 60 % of it", "√T segments")}
    for engine in available.engines():
        assert whats <= set(ratios.loc[ratios["engine"] == engine, "what"])
    assert ratios["what"].tolist()[-1] == "BPTT, T=11: checkpoint / full tape"
    shown = said.split("budget:")[1].split("ratios:")[0].count("gru-6@0.5")
    assert shown == len(table) - len(lines)


@pytest.mark.parametrize("length", [1, 4, 11, 20])
@pytest.mark.parametrize("engine", list(available.engines()))
def test_equal_segments_have_the_losses_and_updates_of_the_full_tape(engine, length):
    of = setting()
    started = []
    for rule in (BPTT(), in_segments(length)):
        made = of_rule(available.engines()[engine], of, rule, SEQUENCE, "one")
        assert made is not None
        started.append(made[1])
    for batch in of.data[:2]:
        whole, parts = (one.run(batch) for one in started)
        torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)
    whole, parts = (one.state_dict()["optimiser"]["exp_avg"] for one in started)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-7)


def test_equal_segments_repeat_all_but_the_last():
    schedule = Segments(hidden=10, internal=70, budget=1000, length=4)
    assert [schedule.forwards(steps) for steps in (1, 4, 5, 11)] == [1, 4, 9, 19]


@pytest.mark.parametrize("cell", NAMES)
def test_a_checkpointed_network_of_torch_makes_the_updates_of_one_that_is_not(cell):
    of = setting(Net(cell, 5, 0.5, COPY, hidden=4))
    plain, kept = (TorchNN(of, STEPS, segment) for segment in (None, 4))
    for network in (plain, kept):
        network.work(3)
    states = (network._optimiser.state.values() for network in (plain, kept))
    for first, second in zip(*states, strict=True):
        one, other = first["exp_avg"], second["exp_avg"]
        assert one.any()
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-7)


def test_what_autograd_saves_grows_with_the_steps_that_it_tapes():
    """A linear readout saves h (T, B, k); a step, a constant number of numbers more."""
    net = Net("gru", 5, 0.5, COPY, hidden=0)
    of = setting(net, steps=40)
    seven, fourteen, whole = (TorchNN(of, steps).taped_bytes() for steps in (7, 14, 40))
    a_step = (fourteen - seven) / 7
    assert whole == pytest.approx(fourteen + 26 * a_step, rel=0.05)
    assert a_step > prod((4, LANES, net.units))
    kept = TorchNN(of, 40, 7).taped_bytes()
    assert kept == seven + 6 * 4 * LANES * net.units  # the states before six segments


def test_sequences_of_many_steps_have_a_target_in_every_step():
    for batch in batches(COPY, 2, 0, steps=301, count=2):
        assert batch.mask.shape == (301, 2)
        assert batch.mask.all()


def test_the_sizes_hold_what_is_promised():
    (window,) = FULL.windows
    assert window == Window(Net("gru", 128, 0.75), 16, 1000, (0.01, 0.02, 0.05, 0.1, 0.2))
