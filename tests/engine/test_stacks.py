"""Stacks of layers in the native engine against the torch engine, its specification."""

import itertools
from functools import partial

import pytest

from snaprun.cells import GRU
from snaprun.engine.optim import SGD, Adam
from snaprun.sparsity import Diagonal, Uniform
from tests.cases import each_once
from tests.engine.engines import hidden_units
from tests.engine.test_native_engine import (
    CELLS,
    HIDDEN,
    LANES,
    ONE_HOT,
    RULES,
    batches,
    compare,
    engines,
    network,
)

UNITS = {"leaky": (5, 7), "gru": (4, 4, 4), "lstm": (6, 1, 5)}


@pytest.mark.parametrize(("cell", "rule"), each_once(itertools.product(UNITS, RULES)))
def test_a_stack_agrees_after_two_hundred_updates(cell, rule):
    hidden = hidden_units(RULES[rule], 9)
    ours, theirs = engines(
        lambda: network(CELLS[cell], hidden, UNITS[cell]), RULES[rule], Adam(lr=3e-3), 1, 3
    )
    compare(ours, theirs, batches(3, 240, 1))
    assert ours.updates >= 200


STACK_GRID = [
    (rule, every, next(LANES), next(HIDDEN), next(ONE_HOT))
    for rule, every in itertools.product(RULES, (3, "sequence"))
]


@pytest.mark.parametrize(("rule", "every", "lanes", "hidden", "one_hot"), STACK_GRID)
def test_a_stack_trains_as_the_torch_engine(rule, every, lanes, hidden, one_hot):
    optimiser = SGD(lr=0.05, momentum=0.9, clip=0.5)
    for units, sparsity in (((7, 9, 1, 8), Uniform(0.6, share_slots=True)), ((1, 1), Diagonal())):
        ours, theirs = engines(
            partial(network, GRU(), hidden_units(RULES[rule], hidden), units, sparsity=sparsity),
            RULES[rule],
            optimiser,
            every,
            lanes,
        )
        compare(ours, theirs, batches(lanes, 12, every, one_hot))
