"""One step of the core against equation (1) written out, and its initialisation."""

import pytest
import torch

from snaprun.cells import GRU, LSTM, Vanilla
from snaprun.sparsity import Dense, Uniform
from tests.cases import CELLS, LeakyReLU, close, core, problem, rng


@pytest.mark.parametrize("cell", CELLS)
def test_step_is_equation_1_and_the_transition(cell):
    drawn = problem(CELLS[cell])
    built, x_BA = drawn.core, drawn.inputs_TBA[0]
    weights_MKJ = built.layout.scatter(drawn.theta_P)
    shape = (3, built.cell.components, 7)
    state_BCK = torch.randn(shape, generator=rng(), dtype=torch.float64)
    pre_BMK = torch.zeros(3, len(built.cell.slots), 7, dtype=torch.float64)
    for p in range(built.layout.size):
        m, u, j = (
            int(x[p]) for x in (built.layout.slot_P, built.layout.unit_P, built.layout.source_P)
        )
        source_B = state_BCK[:, 0, j] if j < 7 else x_BA[:, j - 7] if j < 10 else 1.0
        pre_BMK[:, m, u] += drawn.theta_P[p] * source_B
    next_BCK, linearise = built.step(weights_MKJ, state_BCK, x_BA)
    close(next_BCK, built.cell.transition(pre_BMK, state_BCK))
    record = linearise()
    for got, want in zip(
        (record.dsda_BCMK, record.dsds_BCCK), built.cell.slopes(pre_BMK, state_BCK), strict=True
    ):
        close(got, want)
    assert record.credit_BCK is None
    assert record.error_BO is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_indices_stand_for_one_hot_inputs(dtype):
    built = core(GRU(), inputs=5)
    weights_MKJ = built.layout.scatter(built.initial_parameters(rng(), dtype))
    state_BCK = torch.randn(4, 1, 7, generator=rng(), dtype=dtype)
    x_B = torch.tensor([4, 0, 2, 2])
    by_index, _ = built.step(weights_MKJ, state_BCK, x_B)
    by_vector, _ = built.step(weights_MKJ, state_BCK, torch.eye(5, dtype=dtype)[x_B])
    assert by_index.equal(by_vector)
    assert by_index.dtype == dtype


def test_weights_are_scaled_by_the_live_fan_in_and_biases_are_the_slots():
    built = core(LSTM(), Uniform(level=0.75), units=64, inputs=32)
    dense_MKJ = built.layout.scatter(built.initial_parameters(rng(), torch.float64))
    live_MKJ = built.layout.live_MKJ
    for part in (slice(0, 64), slice(64, 96)):
        fan_in = live_MKJ[:, :, part].sum(2, keepdim=True)
        normal = (dense_MKJ[:, :, part] * fan_in.sqrt())[live_MKJ[:, :, part]]
        # 4096 or 2048 draws: the deviation of the sample's is 1/√(2N).
        assert normal.std().item() == pytest.approx(1, abs=5 / (2 * len(normal)) ** 0.5)
        assert normal.mean().item() == pytest.approx(0, abs=5 / len(normal) ** 0.5)
    assert dense_MKJ[:, :, -1].equal(
        torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64)[:, None].expand(4, 64)
    )


def test_the_draw_does_not_depend_on_the_mask():
    dense, sparse = core(GRU(), Dense()), core(GRU(), Uniform(level=0.6))
    full_MKJ, kept_MKJ = (
        built.layout.scatter(built.initial_parameters(rng(3), torch.float64))
        for built in (dense, sparse)
    )
    live_MKJ = sparse.layout.live_MKJ
    for part, fan_in in ((slice(0, 7), 7), (slice(7, 10), 3)):
        live = live_MKJ[:, :, part]
        normal = full_MKJ[:, :, part] * fan_in**0.5
        kept = kept_MKJ[:, :, part] * live.sum(2, keepdim=True).double().sqrt()
        close(kept[live], normal[live])


def test_float32_is_the_rounded_float64():
    built = core(Vanilla())
    theta_P = built.initial_parameters(rng(), torch.float64)
    assert built.initial_parameters(rng(), torch.float32).equal(theta_P.float())


def test_the_state_starts_at_zero():
    state_BCK = core(LSTM()).initial_state(3, torch.float32)
    assert state_BCK.shape == (3, 2, 7)
    assert not state_BCK.any()


def test_a_new_cell_has_a_core():
    built = core(LeakyReLU())
    assert built.states == 7
    assert built.pattern(1).live == built.layout.size
