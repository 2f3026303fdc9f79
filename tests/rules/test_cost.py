"""Counted state against what rules keep, where every number kept is counted exactly."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from snaprun.cells import GRU
from snaprun.core import RecurrentCore
from snaprun.influence import naive
from snaprun.rules import BPTT, RFLO, RTRL, SAB, UORO, Frozen, SnAp, bptt
from snaprun.rules.over_steps import advance
from snaprun.sparsity import Uniform
from snaprun.verify.problem import NO_TARGET
from tests.cases import CELLS, problem, rng, suits, without_resets
from tests.rules.contract import start


@pytest.fixture(params=CELLS)
def cell(request):
    return CELLS[request.param]


@pytest.fixture(params=[7, (6, 5)], ids=str)
def drawn(request, cell, graded):
    """Every step has a target in every lane, and sequences are long enough to reach all."""
    # So many links between layers that every unit gets credit at once.
    sparsity = Uniform(level=0.8 if request.param == 7 else 0.5)
    found = without_resets(problem(cell, sparsity, units=request.param, steps=20))
    targets_TB = found.targets_TB.masked_fill(found.targets_TB == NO_TARGET, 0)
    return replace(found, targets_TB=targets_TB)


@pytest.mark.parametrize("rule", [BPTT(), UORO()])
def test_state_is_what_is_kept_of_a_lane(rule, drawn):
    state = advance(rule, start(rule, drawn)[0], drawn.records())
    kept = sum(x.numel() for x in rule.kept(state))
    assert kept == drawn.lanes * rule.cost(drawn.core, drawn.steps).state


@pytest.mark.parametrize("rule", [SAB(), SAB(k_att=3, k_top=2), SAB(k_att=1, detach=True)])
def test_the_state_of_sab_is_the_tape_and_the_memories_of_a_lane(rule, drawn):
    if not suits(rule, drawn.core.cell):
        pytest.skip("SAB needs a readout that sees h")
    top = drawn.core.layout.layers[-1]
    drawn = replace(
        drawn,
        core=replace(drawn.core, reminder=rule.reminder),
        readout_OK=drawn.readout_OK.repeat(1, 2),
        attention=rule.reminder.draw(top, rng(), torch.float64),
    )
    state = advance(rule, start(rule, drawn)[0], drawn.records())
    kept = sum(x.numel() for x in rule.kept(state))
    assert kept == drawn.lanes * rule.cost(drawn.core, drawn.steps).state


def test_sab_without_memories_computes_bptt_in_blocks_and_its_attention(drawn):
    plain, k = drawn.core, drawn.core.layout.layers[-1]
    found = SAB(k_att=99, k_trunc=99).cost(plain, 20).macs - BPTT().cost(plain, 20).macs
    # W₂ ĥ, its credit and W₂'s; the score, s, ∂L/∂w, and the credit on m_0; ∂L/∂w₃ and on its key.
    assert found == 3 * k * k + (1 + 3 + 3) * k
    cut = SAB(k_att=99, k_trunc=1).cost(plain, 20).macs
    assert cut == BPTT().cost(plain, 1).macs + found
    deeper = [SAB(k_att=2, k_top=top).cost(plain, 20).macs for top in (1, 3, 5)]
    assert deeper == sorted(set(deeper))


@pytest.mark.parametrize("rule", [RFLO(), RFLO("random")])
def test_state_is_the_traces_that_can_differ_from_zero(rule, drawn):
    state = start(rule, drawn)[0]
    seen_CP = torch.zeros_like(state.trace_BCP[0], dtype=torch.bool)
    for step in drawn.records():
        state = advance(rule, state, [step])
        seen_CP |= (state.trace_BCP != 0).any(0)
    assert rule.cost(drawn.core, drawn.steps).state == seen_CP.sum()


@pytest.mark.parametrize("rule", [SnAp(1), SnAp(2), SnAp(3), RTRL()])
def test_state_is_the_entries_of_the_influence_matrix_that_can_differ_from_zero(rule, drawn):
    state = rule.init(drawn.setup(rng(), naive))
    seen_SP = torch.zeros(drawn.core.states, drawn.core.layout.size, dtype=torch.bool)
    for step in drawn.records():
        state = advance(rule, state, [step])
        seen_SP |= (naive.dense(state.plan, state.J) != 0).any(0)
    cost = rule.cost(drawn.core, drawn.steps)
    assert cost.state == seen_SP.sum()
    assert cost.influence_sparsity == pytest.approx(1 - seen_SP.double().mean().item())


def test_costs_rise_with_n_up_to_rtrl(drawn):
    macs = [rule.cost(drawn.core, 1).macs for rule in (SnAp(1), SnAp(2), SnAp(3), RTRL())]
    assert macs == sorted(macs)
    assert macs[0] < macs[-1]


def test_only_bptt_pays_for_the_horizon(drawn):
    for rule in (SnAp(2), RTRL(), UORO(), RFLO(), Frozen()):
        assert rule.cost(drawn.core, 1) == rule.cost(drawn.core, 50)
    short, long = (BPTT().cost(drawn.core, steps) for steps in (1, 50))
    assert long.state == 50 * short.state
    assert long.macs > short.macs


def nonzero_products(core, records) -> int:
    """Multiply-adds a lane of equation (6) whose factors differ from zero, forward steps included.

    Counted from the values of the records, with no mask or pattern at hand.
    """
    weights_MKJ, units = records[0].weights_MKJ, core.units
    recurrent = (weights_MKJ[:, :, :units] != 0).double()
    biased_M = torch.tensor([slot.bias is not None for slot in core.cell.slots])
    bias_MK1 = biased_M[:, None, None].expand(-1, units, -1)
    live_MK = torch.cat((weights_MKJ[:, :, :-1] != 0, bias_MK1), 2).double().sum(2)
    macs, later_CK = 0, torch.zeros_like(records[0].credit_BCK[0])
    for t in range(len(records) - 1, -1, -1):
        credit_CK = records[t].credit_BCK[0] + later_CK
        dsda_CMK, dsds_CCK = records[t].dsda_BCMK[0], records[t].dsds_BCCK[0]
        slot_MK = (credit_CK[:, None] * dsda_CMK).sum(0)
        for above, below in pairwise(reversed(records[t].layers)):
            links_MKV = weights_MKJ[:, above.units, above.inputs]
            handed_MK = slot_MK[:, above.units]
            macs += int(((links_MKV != 0) * (handed_MK != 0)[..., None]).sum())
            credit_CK[0, below.units] += (handed_MK[..., None] * links_MKV).sum((0, 1))
            slot_MK = (credit_CK[:, None] * dsda_CMK).sum(0)
        slots_CMK = credit_CK[:, None] * dsda_CMK
        macs += int((weights_MKJ[:, :, :-1] != 0).sum()) + int((slots_CMK != 0).sum())
        macs += int((live_MK * (slot_MK != 0)).sum())
        if t:
            macs += int((recurrent * (slot_MK != 0)[..., None]).sum())
            blocks_CCK = credit_CK[:, None] * dsds_CCK
            macs += int((blocks_CCK != 0).sum())
            later_CK = blocks_CCK.sum(0)
            later_CK[0] += (slot_MK.flatten() @ weights_MKJ[:, :, :units].flatten(0, 1)).view(-1)
    return macs


@pytest.mark.parametrize("steps", [1, 2, 3, 9])
def test_bptt_multiplies_what_differs_from_zero(steps, drawn, monkeypatch):
    formed = []
    vjp = bptt.dynamics_vjp
    monkeypatch.setattr(bptt, "dynamics_vjp", lambda *a: formed.append(0) or vjp(*a))
    rule = BPTT()
    # A sequence's first step has h = 0, which makes zeros that no structure has.
    window = list(drawn.records())[5 : 5 + steps]
    state = advance(rule, start(rule, drawn)[0], window)
    rule.gradient(state)
    assert len(formed) == steps - 1
    found = nonzero_products(drawn.core, [record for _, record in window])
    assert rule.cost(drawn.core, steps).macs == round(found / steps)


@pytest.mark.parametrize("steps", [1, 128])
def test_the_cost_of_bptt_on_a_large_gru_is_the_closed_form(steps):
    k, a, level = 128, 4, 0.75
    core = RecurrentCore.build(GRU(), Uniform(level), k, a, rng())
    recurrent, inputs = round(3 * (1 - level) * k * k), round(3 * (1 - level) * k * a)
    weights = recurrent + inputs
    once = weights + 4 * k + weights + 4 * k  # forward, λ ∂h/∂a, λ I with its biases
    back = recurrent + k
    assert BPTT().cost(core, steps).macs == round(once + back * (steps - 1) / steps)
    if steps == 1:
        assert once == 26_368
