"""verify() passes for what is right: every cell × rule, odd networks, and a new cell."""

from itertools import product

import pytest
import torch

from snaprun.cells import LSTM
from snaprun.checks import UserError
from snaprun.sparsity import Dense, Diagonal, Uniform
from snaprun.verify import Check, verify
from snaprun.verify.check import as_text, equal
from tests.cases import (
    CELLS,
    RULES,
    SPARSITIES,
    STACKS,
    LeakyReLU,
    Lopsided,
    each_once,
    in_pairs,
    suits,
)

SIZES = {"inputs": 3, "outputs": 4, "lanes": 3, "steps": 7, "draws": 1024, "seed": 0}


@pytest.fixture(params=RULES)
def rule(request):
    return RULES[request.param]


def run(cell, rule, units=7, sparsity=None, **sizes):
    sparsity = sparsity or Uniform(level=0.6)
    return verify(cell, units, sparsity, rule, **{**SIZES, **sizes}, device="cpu")


def failures(checks):
    return [check for check in checks if not check.passed]


@pytest.mark.parametrize(("cell", "name", "sparsity"), in_pairs(product(CELLS, RULES, SPARSITIES)))
def test_every_cell_rule_and_sparsity(cell, name, sparsity):
    rule, units = RULES[name], 5 if isinstance(CELLS[cell], LSTM) else 7
    if not suits(rule, CELLS[cell]):
        with pytest.raises(UserError, match="a cell whose readout sees h"):
            run(CELLS[cell], rule)
        return
    checks = run(CELLS[cell], rule, units, SPARSITIES[sparsity])
    assert failures(checks) == []
    of_the_rule = [check for check in checks if "gradient" in check.what or "draws" in check.what]
    assert of_the_rule != []


@pytest.mark.parametrize("units", [1, 2])
def test_tiny_networks(units, rule):
    assert failures(run(CELLS["gru"], rule, units=units, sparsity=Dense(), lanes=1)) == []


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_short_sequences(steps, rule):
    assert failures(run(CELLS["gru"], rule, steps=steps, units=3, lanes=2)) == []


@pytest.mark.parametrize("cell", [LeakyReLU(), Lopsided()])
def test_a_new_cell(rule, cell):
    assert failures(run(cell, rule)) == []


QUICK = {"vanilla": "3 layers", "gru": "2 layers", "lstm": "layers of 1 unit"}


@pytest.mark.parametrize(("cell", "name"), each_once(product(QUICK, RULES)))
def test_stacks(cell, name):
    assert failures(run(CELLS[cell], RULES[name], units=STACKS[QUICK[cell]], steps=5)) == []


MASKS = {"dense": Dense(), "diagonal": Diagonal(0.3), "sparse": Uniform(0.9, share_slots=True)}


@pytest.mark.parametrize(("name", "mask"), each_once(product(RULES, MASKS)))
def test_a_stack_of_a_new_cell(name, mask):
    assert failures(run(Lopsided(), RULES[name], (3, 4, 2), MASKS[mask], steps=5)) == []


@pytest.mark.slow
@pytest.mark.parametrize("units", [(7,), (7, 7), (7, 7, 7), (5, 1, 8, 3)], ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_every_stack(cell, units, rule):
    """With the sizes of `snaprun verify`."""
    assert failures(run(CELLS[cell], rule, units, steps=11, draws=20000)) == []


def test_a_seed_decides_everything():
    found = [run(CELLS["gru"], RULES["uoro"], seed=seed, steps=4) for seed in (3, 3, 4)]
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_more_draws_narrow_the_interval():
    few, many = (run(CELLS["gru"], RULES["uoro"], steps=4, draws=d)[-1] for d in (1024, 16384))
    assert few.what == many.what
    width = [float(check.detail.split("±")[1].split()[0]) for check in (few, many)]
    assert width[1] < width[0] / 2


def test_equal_measures_against_the_largest_entry_wanted():
    want = torch.tensor([1.0, -4.0])
    assert equal("x", want + torch.tensor([0.0, 2.0]), want).error == 0.5
    assert equal("x", torch.tensor([0.25]), torch.zeros(1)).error == 0.25
    assert not equal("x", torch.tensor([float("nan")]), torch.zeros(1)).passed
    assert not equal("x", torch.zeros(2), torch.zeros(3)).passed
    assert equal("x", want, want, 0.0).passed


def test_table_has_a_row_for_every_check():
    checks = [Check("gradient", 2e-16, 1e-10), Check("J of every step", 0.25, 1e-10, "of 3")]
    assert as_text(checks).splitlines() == [
        "compared           error    bound",
        "gradient         2.0e-16  1.0e-10  ok",
        "J of every step  2.5e-01  1.0e-10  MISMATCH  of 3",
    ]
