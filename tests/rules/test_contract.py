"""The contract, for every rule on every cell."""

from itertools import product

import pytest

from snaprun.sparsity import Dense, Diagonal, Uniform
from tests.cases import CELLS, RULES, LeakyReLU, Lopsided, each_once, problem, suits
from tests.rules import contract


@pytest.fixture(params=RULES)
def rule(request):
    return RULES[request.param]


@pytest.mark.parametrize("cell", CELLS)
def test_contract(rule, cell):
    if not suits(rule, CELLS[cell]):
        pytest.skip("SAB needs a readout that sees h")
    contract.check(rule, problem(CELLS[cell], reminder=rule.reminder))


@pytest.mark.parametrize("sparsity", [Dense(), Diagonal(level=0.5), Uniform(level=0.95)])
def test_contract_on_other_masks(rule, sparsity):
    contract.check(rule, problem(CELLS["lstm"], sparsity, units=5, lanes=2, reminder=rule.reminder))


@pytest.mark.parametrize("units", [1, 2])
def test_contract_on_tiny_networks(rule, units):
    contract.check(rule, problem(CELLS["gru"], units=units, lanes=2, reminder=rule.reminder))


@pytest.mark.parametrize("cell", [LeakyReLU(), Lopsided()])
def test_contract_of_a_new_cell(rule, cell):
    contract.check(rule, problem(cell, reminder=rule.reminder))


@pytest.mark.parametrize(
    ("name", "cell"),
    each_once(
        (name, cell)
        for name, cell in product(RULES, [*CELLS, "lopsided"])
        if cell == "lopsided" or suits(RULES[name], CELLS[cell])
    ),
)
def test_contract_on_a_stack(name, cell):
    rule, made = RULES[name], {**CELLS, "lopsided": Lopsided()}[cell]
    contract.check(rule, problem(made, units=(4, 5, 3), lanes=2, reminder=rule.reminder))
