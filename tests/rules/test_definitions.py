"""Rules against one another and against networks through which credit flows only in part."""

from dataclasses import replace

import pytest
import torch

from snaprun.cells import GRU, LSTM, Vanilla
from snaprun.checks import UserError
from snaprun.core.jacobians import immediate_vjp
from snaprun.influence import BACKENDS
from snaprun.rules import BPTT, RFLO, RTRL, SnAp
from snaprun.sparsity import Dense, Diagonal, Uniform
from snaprun.verify import unrolled
from tests.cases import CELLS, close, problem, rng, steps_to_reach, without_resets
from tests.rules.contract import gradient


def diagonal(weights_MKJ, h_BK, x_BA):
    """U stop(h) + diag(stop U) (h - stop(h)): credit flows back within a unit alone."""
    own_MK = weights_MKJ[:, :, : h_BK.shape[1]].diagonal(dim1=1, dim2=2).detach()
    return unrolled.attached(weights_MKJ, h_BK.detach(), x_BA) + own_MK * (
        h_BK - h_BK.detach()
    ).unsqueeze(1)


def whole(cell):
    """The slots (m,) that reach at once every component that any slot reaches."""
    slope_CM = torch.tensor(cell.slope_pattern)
    return slope_CM[slope_CM.any(1)].all(0)


@pytest.mark.parametrize("sparsity", [Dense(), Uniform(level=0.6), Diagonal()])
@pytest.mark.parametrize("cell", CELLS)
def test_snap1_is_bptt_with_credit_within_a_unit(cell, sparsity):
    drawn = problem(CELLS[cell], sparsity)
    got_P = gradient(SnAp(1), drawn)
    want_P = unrolled.gradients(drawn, preactivations=diagonal)[0]
    # As the LSTM's o reaches c: by way of a self-connection, one step later than SnAp-1 looks.
    exact_P = whole(CELLS[cell])[drawn.core.layout.slot_P]
    close(got_P[exact_P], want_P[exact_P])


def test_snap1_of_the_lstm_is_so_throughout_without_self_connections():
    class NoSelf(Uniform):
        def recurrent(self, units, generator):
            return super().recurrent(units, generator) & ~torch.eye(units, dtype=torch.bool)

    drawn = problem(LSTM(), NoSelf(level=0.4))
    close(gradient(SnAp(1), drawn), unrolled.gradients(drawn, preactivations=diagonal)[0])


@pytest.mark.parametrize("cell", CELLS)
def test_snap1_of_a_stack_is_bptt_with_credit_within_a_unit_and_through_upper_layers(cell, graded):
    drawn = problem(CELLS[cell], units=(5, 4, 6))
    got_P, want_P = gradient(SnAp(1), drawn), unrolled.of_layers(drawn, diagonal)
    exact_P = whole(CELLS[cell])[drawn.core.layout.slot_P]
    close(got_P[exact_P], want_P[exact_P])
    lower_P = drawn.core.layout.unit_P < 5
    assert got_P[lower_P].abs().max() > 0.01


class OneStep(RFLO):
    """A rule without memory, of the direct credit and the products alone, as for one layer."""

    def step(self, state, record):
        if record.credit_BCK is None:
            return state
        of_lanes_BP = immediate_vjp(record, state.layout, record.credit_BCK)
        return replace(state, gradient_P=state.gradient_P + of_lanes_BP.sum(0))


@pytest.mark.parametrize("units", [5, (5, 4, 3)], ids=str)
def test_a_rule_written_for_a_layer_learns_all_layers_of_a_stack(units):
    drawn = problem(LSTM(), units=units)
    close(gradient(OneStep(), drawn), torch.stack(unrolled.gradients(drawn, every=1)).sum(0))


@pytest.mark.parametrize("units", [7, (4, 5, 3)], ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_exact_rules_agree(cell, units, graded):
    drawn = problem(CELLS[cell], Uniform(level=0.8 if units == 7 else 0.5), units, steps=12)
    exact_P = unrolled.gradients(drawn)[0]
    assert float(exact_P.abs().max()) > 0.1
    close(gradient(BPTT(), drawn), exact_P)
    close(gradient(RTRL(), drawn), exact_P)
    if units == 7:  # SnAp never sees what upper layers remember
        close(gradient(SnAp(drawn.core.states), drawn), exact_P)
    else:
        assert not gradient(SnAp(drawn.core.states), drawn).allclose(exact_P, rtol=0.01)


@pytest.mark.parametrize("cell", CELLS)
def test_snap_is_rtrl_where_nothing_further_is_reached(cell):
    steps = steps_to_reach(CELLS[cell], 1)  # the LSTM's o reaches c by way of h
    diagonal_recurrence = problem(CELLS[cell], Diagonal(level=0.5))
    close(gradient(SnAp(steps), diagonal_recurrence), gradient(RTRL(), diagonal_recurrence))
    dense = problem(CELLS[cell], Dense())
    close(gradient(SnAp(steps_to_reach(CELLS[cell], 2)), dense), gradient(RTRL(), dense))


@pytest.mark.parametrize("cell", CELLS)
def test_snap_errs_less_the_further_it_looks(cell, graded):
    drawn = without_resets(problem(CELLS[cell], Uniform(level=0.8), units=12, steps=12))
    exact_P = unrolled.gradients(drawn)[0]
    errors = [float((gradient(SnAp(n), drawn) - exact_P).norm()) for n in (1, 2, 3)]
    assert errors[0] > errors[1] > errors[2] > 1e-3


def test_rflo_is_snap1_less_the_self_connections():
    class NoSelf(Dense):
        def recurrent(self, units, generator):
            return ~torch.eye(units, dtype=torch.bool)

    drawn = problem(GRU(), NoSelf())
    close(gradient(RFLO(), drawn), gradient(SnAp(1), drawn))
    dense = problem(GRU(), Dense())
    assert not gradient(RFLO(), dense).allclose(gradient(SnAp(1), dense))


def test_rflo_of_murray_for_the_leaky_network():
    alpha, drawn = 0.3, problem(Vanilla(alpha=0.3))
    layout = drawn.core.layout
    trace_BP = torch.zeros(drawn.lanes, layout.size, dtype=torch.float64)
    want_P = torch.zeros_like(drawn.theta_P)
    weights_MKJ = layout.scatter(drawn.theta_P)
    for resets_B, record in drawn.records():
        trace_BP[resets_B] = 0
        slope_BK = 1 - torch.tanh(record.src_BJ @ weights_MKJ[0].T) ** 2
        immediate_BP = slope_BK[:, layout.unit_P] * record.src_BJ[:, layout.source_P]
        trace_BP = (1 - alpha) * trace_BP + alpha * immediate_BP
        if record.credit_BCK is not None:
            want_P += (record.credit_BCK[:, 0, layout.unit_P] * trace_BP).sum(0)
    close(gradient(RFLO(), drawn), want_P)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_gradient_does_not_depend_on_the_backend(backend):
    drawn = problem(LSTM(), Uniform(level=0.7))
    rule = SnAp(2)
    state = rule.init(drawn.setup(rng(), BACKENDS[backend]))
    for resets_B, record in drawn.records():
        state = rule.step(rule.reset(state, resets_B), record)
    close(rule.gradient(state)[0], gradient(rule, drawn))


def test_refuses_bad_arguments():
    with pytest.raises(UserError, match=r"rule\.n=0"):
        SnAp(0)
    with pytest.raises(UserError, match=r"rule\.feedback='own'"):
        RFLO("own")  # type: ignore[arg-type]
