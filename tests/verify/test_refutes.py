"""verify() fails where it should: the mistakes that public implementations made, and others."""

from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import pytest
import torch

from snaprun.cells import CELLS as CELL_TYPES
from snaprun.cells import GRU, LSTM, Vanilla
from snaprun.checks import UserError
from snaprun.core import reminder
from snaprun.influence import BACKENDS
from snaprun.influence import torch as torch_backend
from snaprun.losses import LOSSES, MeanSquaredError
from snaprun.rules import BPTT, RFLO, RTRL, SAB, UORO, Frozen, SnAp
from snaprun.verify import expected
from snaprun.verify.problem import Problem
from tests.cases import CELLS, each_once
from tests.verify.test_passes import failures, run


def failed(cell, rule, **sizes):
    return [check.what for check in failures(run(cell, rule, **sizes))]


class SlopeOfTheLogistic(GRU):
    """σ'(x) written σ(x) σ(1-x) for the update gate."""

    def slopes(self, pre_BMK, state_BCK):
        dsda_BCMK, dsds_BCCK = super().slopes(pre_BMK, state_BCK)
        z = pre_BMK[:, 0]
        wrong = torch.sigmoid(1 - z) / (1 - torch.sigmoid(z))
        return torch.cat((dsda_BCMK[:, :, :1] * wrong[:, None, None], dsda_BCMK[:, :, 1:]), 2), (
            dsds_BCCK
        )


@pytest.mark.parametrize("rule", [BPTT(), SnAp(1), RFLO()])
def test_a_wrong_slope(rule):
    found = failed(SlopeOfTheLogistic(), rule)
    assert "∂s'/∂a of the cell, autograd" in found
    assert any(what.startswith("gradient, ") for what in found)


class Unscaled(MeanSquaredError):
    """A mean squared error whose slope lacks its 2."""

    def value_and_error(self, outputs_BO, targets, mask_B):
        value_B, error_BO = super().value_and_error(outputs_BO, targets, mask_B)
        return value_B, error_BO / 2


def test_a_wrong_slope_of_a_loss(monkeypatch):
    monkeypatch.setitem(LOSSES, "unscaled", Unscaled)
    found = failed(Vanilla(), BPTT())
    assert found == ["gradients of the readout under the loss unscaled, autograd"]


class TooNarrow(LSTM):
    """An LSTM that forgets that f reaches c."""

    @property
    def slope_pattern(self):
        return ((True, True, True, True), (True, False, True, False))


def test_a_slope_pattern_that_is_too_narrow():
    assert "∂s'/∂a outside its pattern, 0" in failed(TooNarrow(), BPTT())
    assert any("jacrev" in what for what in failed(TooNarrow(), SnAp(2)))


class OneSlot(SnAp):
    """SnAp-2 that takes the recurrent graph of the first slot for the whole cell's."""

    def init(self, setup):
        core = setup.core
        live_MKJ = core.layout.live_MKJ.clone()
        live_MKJ[1:, :, : core.units] = False
        narrow = replace(core, layout=replace(core.layout, live_MKJ=live_MKJ))
        plan = setup.backend.plan(core, narrow.pattern(2))
        return replace(super().init(setup), plan=plan, J=setup.backend.init(plan, 3, setup.dtype))


def test_a_pattern_of_one_slot():
    assert any("J of every step, equation (5)" in what for what in failed(GRU(), OneSlot(2)))
    assert failed(Vanilla(), OneSlot(2)) == []  # it has no other slot


class WithoutDynamics(UORO):
    """s̃ ← ρ1 ν: the estimate forgets the past."""

    def step(self, state, record):
        return super().step(replace(state, s_BCK=torch.zeros_like(state.s_BCK)), record)


class WithoutScale(UORO):
    """θ̃ scaled by 1.2 in the gradient."""

    def gradient(self, state):
        gradient_P, state = super().gradient(state)
        return 1.2 * gradient_P, state


class WithoutReset(UORO):
    """The estimate outlives its sequence."""

    def reset(self, state, lanes_B):
        return state


class WhereThereIsATarget(UORO):
    """The estimate stands still at a step without a target."""

    def step(self, state, record):
        stepped = super().step(state, record)
        if record.credit_BCK is None:
            return replace(stepped, s_BCK=state.s_BCK, theta_BP=state.theta_BP)
        return stepped


class WithoutAComponent(UORO):
    """The last component that a slope carries on acts on nothing."""

    def step(self, state, record):
        s_BCK = state.s_BCK.clone()
        s_BCK[:, -1] = 0
        return super().step(replace(state, s_BCK=s_BCK), record)


BIASED = [WithoutDynamics(), WithoutScale(), WithoutReset(), WhereThereIsATarget()]


@pytest.mark.parametrize(
    ("cell", "rule"),
    each_once(product(CELLS, [*BIASED, WithoutAComponent()])),
    ids=lambda x: x if isinstance(x, str) else type(x).__name__,
)
def test_a_biased_estimate_by_all_signs(cell, rule):
    assert any("all signs" in what for what in failed(CELLS[cell], rule, draws=100))


@pytest.mark.parametrize("rule", BIASED, ids=lambda r: type(r).__name__)
@pytest.mark.parametrize(
    "kind",
    [pytest.param("lif", marks=pytest.mark.slow), "alif", "deep_lif"],  # alif is lif, and more
)
def test_a_biased_estimate_on_spiking_cells_as_they_are_by_default(kind, rule):
    for layers, seed in ((1, 0), (1, 1), (2, 0)):
        assert failures(expected.checks(rule, CELL_TYPES[kind](), layers, seed)) != []


class Twice(UORO):
    """Another unbiased estimate, whose signs are the products of two draws."""

    def step(self, state, record):
        draw = state.draw
        twice = replace(state, draw=lambda shape: draw(shape) * draw(shape))
        return replace(super().step(twice, record), draw=draw)


class Gaussian(UORO):
    """Another unbiased estimate, by normal deviates."""

    def step(self, state, record):
        drawn = replace(state, draw=torch.randn)
        return replace(super().step(drawn, record), draw=state.draw)


@pytest.mark.parametrize("rule", [Twice(), Gaussian()], ids=lambda r: type(r).__name__)
def test_an_estimate_that_draws_otherwise_has_no_mean_over_signs(rule):
    assert not any("all signs" in check.what for check in run(GRU(), rule, draws=100))


@pytest.mark.parametrize("rule", [WithoutDynamics(), WithoutScale()])
@pytest.mark.parametrize("cell", [name for name in CELLS if not CELLS[name].spikes])
def test_a_biased_estimate_by_a_sample(cell, rule):
    found = failed(CELLS[cell], rule, draws=32_768, steps=5)
    assert any("draws" in what or "the same along" in what for what in found)


class Forgetful(BPTT):
    """Credit flows on past the beginning of a sequence."""

    def reset(self, state, lanes_B):
        return state


class Unmasked(RTRL):
    """An influence matrix that outlives its sequence."""

    def reset(self, state, lanes_B):
        return state


class MeanOverLanes(RTRL):
    """Gradients averaged instead of summed."""

    def gradient(self, state):
        gradient_P, state = super().gradient(state)
        return gradient_P / 3, state


class NoTrace(RFLO):
    """RFLO without its memory."""

    def step(self, state, record):
        return super().step(replace(state, trace_BCP=torch.zeros_like(state.trace_BCP)), record)


class Thawed(Frozen):
    """A frozen core that moves by rounding."""

    def gradient(self, state):
        return state.zero_P + 1e-300, state


class NotANumber(BPTT):
    def gradient(self, state):
        gradient_P, state = super().gradient(state)
        return gradient_P * float("nan"), state


@pytest.mark.parametrize(
    "rule",
    [Unmasked(), MeanOverLanes(), NoTrace(), NoTrace("random"), Thawed(), NotANumber()],
    ids=lambda rule: type(rule).__name__,
)
def test_a_wrong_rule(rule):
    assert any(what.startswith("gradient, ") for what in failed(GRU(), rule))


def test_credit_that_flows_past_a_reset():
    assert len(failed(GRU(), Forgetful())) == 2  # the whole sequence, and windows with a reset


class WholeTape(BPTT):
    """Truncated BPTT that never cuts its tape."""

    def gradient(self, state):
        gradient_P, _ = super().gradient(state)
        return gradient_P, state


def test_a_tape_that_is_not_cut():
    found = failed(GRU(), WholeTape())
    assert found == ["updates every 2 steps, autograd"]


class CutLate(BPTT):
    """Truncated BPTT that cuts a step later."""

    def cuts(self, t):
        return super().cuts(t - 1)


class NoCut(BPTT):
    def cuts(self, t):
        return False


@pytest.mark.parametrize(
    "rule", [CutLate(truncate=3), NoCut(0.4, truncate=3)], ids=["late", "none"]
)
def test_credit_that_is_cut_elsewhere(rule):
    assert len(failed(GRU(), rule)) >= 1


def test_a_replay_that_forgets_a_reset(monkeypatch):
    assert not failed(GRU(), BPTT(0.4))
    monkeypatch.setattr(Problem, "begins", lambda problem, t: None)
    assert len(failed(GRU(), BPTT(0.4))) == 2


def backend(**changed):
    functions = ("plan", "init", "reset", "step", "tensors", "dense")
    return SimpleNamespace(**{name: getattr(torch_backend, name) for name in functions} | changed)


def off_by_a_little(plan, J, record):
    J, gradient_P = torch_backend.step(plan, J, record)
    return J, None if gradient_P is None else gradient_P * (1 + 1e-9)


def forgets_to_reset(plan, J, lanes_B):
    pass


@pytest.mark.parametrize(
    "broken",
    [backend(step=off_by_a_little), backend(reset=forgets_to_reset)],
    ids=["step", "reset"],
)
def test_a_backend_with_an_error(monkeypatch, broken):
    monkeypatch.setitem(BACKENDS, "broken", broken)
    found = failed(LSTM(), SnAp(2))
    assert found != []
    assert all("influence=broken" in what for what in found)


class Unknown(BPTT):
    """A rule of which verify knows nothing but its claim."""

    def __init__(self, claim):
        self.claim = claim


@pytest.mark.parametrize("claim", ["masked", "biased"])
def test_refuses_a_rule_without_a_definition(claim):
    with pytest.raises(UserError, match="Unknown"):
        run(GRU(), Unknown(claim))


def test_refuses_too_few_draws():
    with pytest.raises(UserError, match="draws=99"):
        run(GRU(), UORO(), draws=99)


ATTENTIVE = SAB(k_att=1, k_top=2, k_trunc=3)


def swept_by(other):
    """A rule whose sweep back is that of another one."""

    class Swept(SAB):
        def gradient(self, state):
            return other.gradient(state)

    return Swept(ATTENTIVE.k_att, ATTENTIVE.k_top, ATTENTIVE.k_trunc)


@pytest.mark.parametrize(
    "wrong", [{"k_trunc": 2}, {"k_trunc": 4}, {"k_att": 2}, {"detach": True}], ids=str
)
def test_a_sweep_that_is_cut_elsewhere(wrong):
    found = failed(GRU(), swept_by(SAB(**(vars(ATTENTIVE) | wrong))))
    assert found == ["gradient, autograd with cuts", "the same with those of W₁, W₂ and w₃"]
    assert failed(GRU(), swept_by(ATTENTIVE)) == []


def test_a_threshold_without_credit(monkeypatch):
    exact = reminder.sparsify_vjp

    def without(sparse, credit_RB):
        of_scores_RB = exact(sparse, credit_RB)
        of_scores_RB[0] = 0
        return of_scores_RB

    monkeypatch.setattr(reminder, "sparsify_vjp", without)
    assert "gradient, autograd with cuts" in failed(GRU(), ATTENTIVE)


def test_an_attention_that_ignores_the_query(monkeypatch):
    exact = reminder.Reminder.sparse

    def blind(self, bank, h_BK):
        return exact(self, bank, 0 * h_BK)

    monkeypatch.setattr(reminder.Reminder, "sparse", blind)
    assert "gradient, autograd with cuts" in failed(GRU(), ATTENTIVE)
