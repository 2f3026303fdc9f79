"""Products with D and I against the Jacobians of the one-step map by autograd."""

import pytest
import torch

from snaprun.core import jacobians
from snaprun.core.jacobians import DynamicsEntries
from tests.cases import CELLS, LeakyReLU, close, problem, rng

ALL = {**CELLS, "new": LeakyReLU()}
BOUND = 1e-13


@pytest.fixture(params=ALL)
def step(request):
    """The record of a step from a random state, and D and I of its lanes by autograd."""
    drawn = problem(ALL[request.param], lanes=4)
    core, x_BA = drawn.core, drawn.inputs_TBA[0]
    shape = (4, core.cell.components, core.units)
    state_BCK = torch.randn(shape, generator=rng(5), dtype=torch.float64)

    def next_state(state_BCK, theta_P):
        return core.step(core.layout.scatter(theta_P), state_BCK, x_BA)[0].flatten(1)

    by_state, I_BSP = torch.autograd.functional.jacobian(next_state, (state_BCK, drawn.theta_P))
    lanes = torch.arange(4)
    D_BSS = by_state.flatten(3)[lanes, :, lanes]
    _, linearise = core.step(core.layout.scatter(drawn.theta_P), state_BCK, x_BA)
    return core, linearise(), D_BSS, I_BSP


def vector(core, seed):
    shape = (4, core.cell.components, core.units)
    return torch.randn(shape, generator=rng(seed), dtype=torch.float64)


def test_dense_jacobians(step):
    core, record, D_BSS, I_BSP = step
    close(jacobians.dynamics(record), D_BSS, BOUND)
    close(jacobians.immediate(record, core.layout), I_BSP, BOUND)


def test_products(step):
    core, record, D_BSS, I_BSP = step
    v_BCK = vector(core, 6)
    v_BS = v_BCK.flatten(1)
    close(
        jacobians.dynamics_jvp(record, v_BCK).flatten(1), (D_BSS @ v_BS[:, :, None])[..., 0], BOUND
    )
    close(jacobians.dynamics_vjp(record, v_BCK).flatten(1), (v_BS[:, None] @ D_BSS)[:, 0], BOUND)
    close(jacobians.immediate_vjp(record, core.layout, v_BCK), (v_BS[:, None] @ I_BSP)[:, 0], BOUND)


def test_products_leave_their_arguments_alone(step):
    core, record, _, _ = step
    v_BCK = vector(core, 7)
    kept = [x.clone() for x in (v_BCK, record.dsda_BCMK, record.dsds_BCCK, record.src_BJ)]
    jacobians.dynamics_jvp(record, v_BCK)
    jacobians.dynamics_vjp(record, v_BCK)
    jacobians.immediate_vjp(record, core.layout, v_BCK)
    for now, before in zip(
        (v_BCK, record.dsda_BCMK, record.dsds_BCCK, record.src_BJ), kept, strict=True
    ):
        assert now.equal(before)


def test_chosen_entries(step):
    core, record, D_BSS, _ = step
    chosen = torch.randperm(core.states**2, generator=rng(8))[: core.states**2 // 3]
    rows_E, columns_E = chosen // core.states, chosen % core.states
    entries = DynamicsEntries.of(rows_E, columns_E, core.units, core.cell.components)
    close(entries.values(record), D_BSS[:, rows_E, columns_E], BOUND)
    none = DynamicsEntries.of(rows_E[:0], columns_E[:0], core.units, core.cell.components)
    assert none.values(record).shape == (4, 0)
