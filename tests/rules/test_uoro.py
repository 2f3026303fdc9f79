"""UORO: unbiased over many draws, and its recursion written out."""

import pytest
import torch

from snaprun.core.jacobians import dynamics, immediate
from snaprun.rules import UORO
from snaprun.rules.over_steps import advance
from snaprun.sparsity import Uniform
from snaprun.verify import unbiased
from tests.cases import CELLS, close, problem, rng
from tests.rules.contract import start


@pytest.mark.parametrize("cell", CELLS)
def test_unbiased(cell):
    drawn = problem(CELLS[cell], Uniform(level=0.5), units=5, lanes=2, steps=5)
    checks = unbiased.checks(UORO(), drawn, draws=4096, seed=1)
    assert [check for check in checks if not check.passed] == []


@pytest.mark.parametrize("cell", CELLS)
def test_recursion(cell):
    drawn = problem(CELLS[cell], lanes=1, steps=5)
    core, noise = drawn.core, rng(3)
    state, _ = start(UORO(), drawn, seed=3)
    s_S = torch.zeros(core.states, dtype=torch.float64)
    theta_P = torch.zeros_like(drawn.theta_P)
    want_P = torch.zeros_like(drawn.theta_P)
    for resets_B, record in drawn.records():
        if resets_B[0]:
            s_S, theta_P = 0 * s_S, 0 * theta_P
        sign_S = torch.randint(0, 2, (core.states,), generator=noise) * 2 - 1
        nu_S = sign_S.double()
        forward_S = dynamics(record)[0] @ s_S
        immediate_P = nu_S @ immediate(record, core.layout)[0]
        rho0 = ((theta_P.norm() + 1e-7) / (forward_S.norm() + 1e-7)).sqrt()
        rho1 = ((immediate_P.norm() + 1e-7) / (nu_S.norm() + 1e-7)).sqrt()
        s_S = rho0 * forward_S + rho1 * nu_S
        theta_P = theta_P / rho0 + immediate_P / rho1
        if record.credit_BCK is not None:
            want_P = want_P + (record.credit_BCK.flatten() @ s_S) * theta_P
    state = advance(UORO(), state, drawn.records())
    close(UORO().gradient(state)[0], want_P)


def test_lanes_have_noise_of_their_own():
    drawn = problem(CELLS["gru"], lanes=1).repeated(2)
    state = advance(UORO(), start(UORO(), drawn)[0], drawn.records())
    assert not state.theta_BP[0].allclose(state.theta_BP[1])


def test_a_seed_decides_the_estimate():
    drawn = problem(CELLS["gru"])
    found = []
    for seed in (1, 1, 2):
        state, _ = start(UORO(), drawn, seed)
        found.append(UORO().gradient(advance(UORO(), state, drawn.records()))[0])
    assert found[0].equal(found[1])
    assert not found[0].allclose(found[2])
