"""Counted state against what rules keep, where every number kept is counted exactly."""

from dataclasses import replace

import pytest
import torch

from snaprun.influence import naive
from snaprun.rules import BPTT, RFLO, RTRL, UORO, SnAp
from snaprun.rules.replay import advance
from snaprun.sparsity import Uniform
from snaprun.verify.problem import NO_TARGET
from tests.cases import CELLS, problem, rng, without_resets
from tests.rules.contract import start


@pytest.fixture(params=CELLS)
def drawn(request):
    """Every step has a target in every lane, and sequences are long enough to reach all."""
    found = without_resets(problem(CELLS[request.param], Uniform(level=0.8), steps=20))
    targets_TB = found.targets_TB.masked_fill(found.targets_TB == NO_TARGET, 0)
    return replace(found, targets_TB=targets_TB)


@pytest.mark.parametrize("rule", [BPTT(), UORO()])
def test_state_is_what_is_kept_of_a_lane(rule, drawn):
    state = advance(rule, start(rule, drawn)[0], drawn.records())
    kept = sum(x.numel() for x in rule.kept(state))
    assert kept == drawn.lanes * rule.cost(drawn.core, drawn.steps).state


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
    for rule in (SnAp(2), RTRL(), UORO(), RFLO()):
        assert rule.cost(drawn.core, 1) == rule.cost(drawn.core, 50)
    short, long = (BPTT().cost(drawn.core, steps) for steps in (1, 50))
    assert long.state == 50 * short.state
    assert long.macs == short.macs
