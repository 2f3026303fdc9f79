"""Exact costs against brute-force counts and closed forms."""

import itertools

import pytest
import torch
from torch import Generator

from snaprun import hardware
from snaprun.cells import GRU, LSTM, Vanilla
from snaprun.checks import UserError
from snaprun.core import RecurrentCore
from snaprun.costs import Size, as_text, count
from snaprun.rules import BPTT, RFLO, RTRL, UORO, Frozen, SnAp
from snaprun.sparsity import Dense, Uniform


def core_of(cell, units=6, inputs=3, sparsity=None):
    generator = Generator().manual_seed(5)
    return RecurrentCore.build(cell, sparsity or Uniform(0.6), units, inputs, generator)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_product_of_snap_is_counted_entry_by_entry(n):
    """D J has one multiply-add for every kept (i, p) and live D[i, j] with a kept (j, p)."""
    core = core_of(LSTM())
    pattern = core.pattern(n)
    mask, dynamics = pattern.mask_SP.tolist(), pattern.dynamics_SS.tolist()
    states, parameters = range(core.states), range(core.layout.size)
    expected = sum(
        mask[i][p] and dynamics[i][j] and mask[j][p]
        for i, j, p in itertools.product(states, states, parameters)
    )
    assert pattern.product_macs == expected


def test_a_dense_vanilla_network_costs_what_the_closed_form_says():
    k, a, T = 5, 3, 11
    core = core_of(Vanilla(), units=k, inputs=a, sparsity=Dense())
    p = k * (k + a + 1)
    forward = k * (k + a)
    bptt = BPTT().cost(core, T)
    # λ ∂s/∂a, λ I, and through U at all steps but the first
    assert bptt.macs == round(forward + k + p + k * k * (T - 1) / T)
    assert bptt.state == T * (k + a + 1 + 3 * k)
    rtrl = RTRL().cost(core, T)
    # forward, the entries of D, D J, I, δ J
    assert rtrl.macs == forward + k * k + k * k * p + p + k * p
    assert rtrl.state == k * p
    assert rtrl.influence_sparsity == 0
    assert (rtrl.memory_order, rtrl.time_order) == ("k + k p", "k² + k² p")
    snap = SnAp(1).cost(core, T)
    assert snap.macs == forward + k + p + p + p
    assert snap.state == p
    assert Frozen().cost(core, T).macs == forward
    assert RFLO().cost(core, T).macs == forward + p + p  # no leak at α = 1
    assert UORO().cost(core, T).state == k + p


def test_costs_do_not_depend_on_the_horizon_but_for_bptt():
    core = core_of(GRU())
    for rule in (SnAp(2), RTRL(), UORO(), RFLO(), Frozen()):
        assert rule.cost(core, 3) == rule.cost(core, 300)
    assert BPTT().cost(core, 300).state == 100 * BPTT().cost(core, 3).state
    assert BPTT().cost(core, 300).macs > BPTT().cost(core, 3).macs > BPTT().cost(core, 1).macs


def test_the_table_has_a_row_for_each_and_ratios_to_bptt():
    costs = count(
        {"gru": GRU(), "lstm": LSTM()},
        [Size(7, 0.5), Size(14, 0.9)],
        {"bptt": BPTT(), "snap1": SnAp(1), "rtrl": RTRL()},
        inputs=4,
        horizon=10,
        lanes=3,
        moments=2,
        bytes_per_number=8,
        generator=Generator().manual_seed(0),
    )
    assert len(costs) == 12
    assert (costs.loc[costs["rule"] == "bptt", "macs_to_bptt"] == 1).all()
    by_rule = costs.pivot_table(index=["cell", "units"], columns="rule", values="macs")
    ratios = costs[costs["rule"] == "snap1"].set_index(["cell", "units"])["macs_to_bptt"]
    assert ((by_rule["snap1"] / by_rule["bptt"] - ratios).abs() < 1e-12).all()
    assert costs["state_bytes"].mod(8).eq(0).all()
    tape, rule = costs["tape_bytes"], costs["rule_bytes"]
    assert (tape + rule == 3 * costs["state_bytes"]).all()
    assert ((tape > 0) == (costs["rule"] == "bptt")).all()
    assert (costs["parameter_bytes"] == 8 * costs["parameters"]).all()
    assert (costs["total_bytes"] == 3 * costs["parameter_bytes"] + tape + rule).all()
    text = as_text(costs)
    assert text.count("× 3 lanes") == 8
    assert text.count("live parameters") == 4
    assert "gru-14 at 90 % sparsity" in text


def test_sparsity_of_the_influence_matrix_falls_with_n():
    core = core_of(GRU(), units=20, sparsity=Uniform(0.9))
    found = [SnAp(n).cost(core, 1).influence_sparsity for n in (1, 2, 3)]
    assert all(x is not None for x in found)
    assert found == sorted(found, reverse=True)
    brute = 1 - core.pattern(2).mask_SP.double().mean().item()
    assert found[1] == pytest.approx(brute, abs=1e-12)
    assert torch.equal(core.pattern(None).mask_SP, core.pattern(40).mask_SP)


def test_masks_that_do_not_fit_are_refused_before_they_are_drawn(monkeypatch):
    monkeypatch.setattr(hardware, "available_bytes", lambda: (10**9, "in this test"))
    monkeypatch.setattr(RecurrentCore, "build", lambda *_: pytest.fail("drawn"))
    counts = {"inputs": 4, "horizon": 1, "lanes": 1, "moments": 2, "bytes_per_number": 4}
    with pytest.raises(UserError, match=r"sizes=20000@0: .* GB of memory, and 1 GB is left in"):
        count({"gru": GRU()}, [Size(20_000, 0)], {"bptt": BPTT()}, generator=Generator(), **counts)
