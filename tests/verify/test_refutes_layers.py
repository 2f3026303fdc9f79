"""verify() fails where a rule or a backend gets a network of layers wrong."""

from dataclasses import replace

import pytest

from snaprun.cells import GRU, LSTM
from snaprun.core import jacobians
from snaprun.influence import BACKENDS
from snaprun.influence import torch as torch_backend
from snaprun.rules import BPTT, RFLO, RTRL, UORO, SnAp
from tests.verify.test_refutes import backend, failed

STACK = (5, 4, 3)


def within_layers(record, x_BCK):
    """Nothing goes from layer to layer."""
    return x_BCK


def of_the_next_alone(passed):
    """What goes from layer to layer goes no further than the next."""

    def broken(record, x_BCK):
        further = sum(
            passed(replace(record, layers=record.layers[i : i + 2]), x_BCK) - x_BCK
            for i in range(len(record.layers) - 1)
        )
        return x_BCK + further

    return broken


def by_recurrent_weights(passed):
    """What goes from layer to layer takes the weights of h(t-1) for those of h(t)."""

    def broken(record, x_BCK):
        first, *upper = record.layers
        wrong = [layer._replace(inputs=layer.units) for layer in upper]
        return passed(replace(record, layers=(first, *wrong)), x_BCK)

    return broken


@pytest.mark.parametrize(
    "broken",
    [lambda passed: within_layers, of_the_next_alone, by_recurrent_weights],
    ids=["none", "next", "recurrent"],
)
@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("pass_up", {"D v of every step, torch.func", "D of every step, torch.func"}),
        ("pass_down", {"λ D of every step, torch.func", "δ (1 − E)⁻¹ of every step, torch.func"}),
    ],
)
def test_what_goes_wrong_between_layers(monkeypatch, name, seen, broken):
    monkeypatch.setattr(jacobians, name, broken(getattr(jacobians, name)))
    units = (4, 4, 4)
    rules = (UORO(),) if name == "pass_up" else (BPTT(), SnAp(1), RFLO())
    for rule in rules:
        found = failed(GRU(), rule, units=units, draws=32768, steps=5)
        assert seen <= set(found)
        of_the_rule = [what for what in found if "autograd" in what or "gradient" in what]
        assert of_the_rule != []


class Direct(SnAp):
    """SnAp with the credit of the readout alone, which lower layers never see."""

    def credited(self, record):
        return record


class PassedTwice(RTRL):
    """RTRL with the credit that SnAp takes: the way through upper layers counts twice."""

    def credited(self, record):
        return jacobians.passed_down(record)


class Layered(RTRL):
    """RTRL whose influence matrix has no rows of upper layers."""

    def init(self, setup):
        core = setup.core
        plan = setup.backend.plan(core, core.pattern(core.states))
        return replace(super().init(setup), plan=plan, J=setup.backend.init(plan, 3, setup.dtype))


def named(rule):
    return f"{type(rule).__name__}{rule.n}"


@pytest.mark.parametrize("rule", [Direct(1), Direct(2), PassedTwice(), Layered()], ids=named)
def test_a_rule_that_gets_the_layers_wrong(rule):
    found = failed(LSTM(), rule, units=STACK)
    assert any("gradient, equation" in what for what in found)
    assert failed(LSTM(), rule, units=5) == []  # a single layer has nothing to get wrong


class BetweenLayers(RFLO):
    """RFLO whose credit stays in the uppermost layer."""

    def step(self, state, record):
        return super().step(state, replace(record, layers=record.layers[-1:]))


def test_rflo_without_the_credit_of_lower_layers():
    assert len(failed(GRU(), BetweenLayers(), units=STACK)) == 1
    assert failed(GRU(), BetweenLayers("random"), units=STACK) == []  # B feeds every layer


def without_links(plan, J, record):
    return torch_backend.step(replace(plan, layers=1), J, record)


def test_a_backend_that_forgets_the_links_between_layers(monkeypatch):
    monkeypatch.setitem(BACKENDS, "broken", backend(step=without_links))
    found = failed(LSTM(), RTRL(), units=STACK)
    assert found != []
    assert all("influence=broken" in what for what in found)
    assert failed(LSTM(), RTRL(), units=5) == failed(LSTM(), SnAp(2), units=STACK) == []
