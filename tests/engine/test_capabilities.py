"""What the C++ core says it can train, beside what Python knows under the same names."""

import inspect

import pytest

from snaprun.cells import CELLS
from snaprun.engine.adapters import adapter
from snaprun.engine.optim import OPTIMISERS, SHARED
from snaprun.losses import LOSSES
from snaprun.rules import BPTT, RULES, SnAp

native = pytest.importorskip("snaprun._native")
KNOWN = native.capabilities()


@pytest.mark.parametrize("name", KNOWN["cells"])
def test_a_cell_is_the_same_in_both(name):
    known, cell = KNOWN["cells"][name], CELLS[name]()
    assert (known["slots"], known["components"]) == (len(cell.slots), cell.components)
    assert known["reach"] == ["".join("01"[r] for r in row) for row in cell.slope_pattern]
    assert all(isinstance(getattr(cell, key), float | int) for key in known["constants"])


@pytest.mark.parametrize("name", KNOWN["optimisers"])
def test_an_optimiser_has_the_same_constants_in_both(name):
    keys = inspect.signature(OPTIMISERS[name]).parameters
    assert set(keys) - {*SHARED} == set(KNOWN["optimisers"][name]["constants"])


@pytest.mark.parametrize("name", KNOWN["losses"])
def test_a_loss_has_the_same_targets_in_both(name):
    assert KNOWN["losses"][name]["classes"] == LOSSES[name].classes


def test_every_rule_of_the_core_has_an_adapter_and_no_adapter_is_without_one():
    rules = [*(kind() for kind in RULES.values()), SnAp(1), BPTT(memory=0.5)]
    assert {suited.name for rule in rules if (suited := adapter(rule))} == set(KNOWN["rules"])
