"""Every cell, sparsity, rule and backend of the registries, and small problems to try them on."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations, product
from random import Random

import pytest
import torch
from torch import Generator

from snaprun.cells import CELLS as CELL_TYPES
from snaprun.cells import Cell, Slot, Vanilla
from snaprun.core import RecurrentCore, Reminder
from snaprun.influence import BACKENDS
from snaprun.rules import RULES as RULE_TYPES
from snaprun.rules import LearningRule
from snaprun.sparsity import SPARSITIES as SPARSITY_TYPES
from snaprun.sparsity import Sparsity, Uniform
from snaprun.verify.problem import Problem

# Arguments to try besides the defaults.
RULE_ARGUMENTS = {
    "bptt": [{}, {"memory": 0.3}, {"truncate": 4}],
    "snap": [{"n": 1}, {"n": 2}, {"n": 3}],
    "rflo": [{}, {"feedback": "random"}],
    "eprop": [{}, {"feedback": "random"}, {"feedback": "adaptive", "decay": 0.1}],
    "sab": [{}, {"k_att": 2, "k_top": 2, "k_trunc": 3, "detach": True}],
}

# A short memory, so that many units spike and many are near their threshold.
LIVELY = {"tau_m": 1.0, "tau_out": 3.0, "v_th": 0.5, "refractory": 2}
CELL_ARGUMENTS = {"lif": LIVELY, "alif": {**LIVELY, "tau_a": 5.0, "adaptive": 1.0}}

# A cell without recurrent weights, and the rule for it: tests/rules/test_rate.py has them.
APART = ("deep_lif", "rate")

CELLS: dict[str, Cell] = {
    **{
        name: kind(**CELL_ARGUMENTS.get(name, {}))
        for name, kind in CELL_TYPES.items()
        if name not in APART
    },
    "vanilla, leaky": Vanilla(alpha=0.6),
}
SPARSITIES: dict[str, Sparsity] = {
    **{name: kind() for name, kind in SPARSITY_TYPES.items()},
    "uniform, shared": Uniform(level=0.6, share_slots=True),
    "uniform, units without a weight": Uniform(level=0.95),
}
RULES: dict[str, LearningRule] = {
    " ".join([name, *map(str, arguments.values())]): kind(**arguments)
    for name, kind in RULE_TYPES.items()
    if name not in APART
    for arguments in RULE_ARGUMENTS.get(name, [{}])
}
FAST_BACKENDS = [name for name in BACKENDS if name != "naive"]


def in_pairs(cases, of=None):
    """As parameters of a test: few cases that have every pair of arguments; the others are slow.

    Pairs are those of the first `of` arguments (None: of all) that some case has; the other
    arguments are drawn. scripts/test_slow.sh runs the other cases.
    """
    cases = list(cases)
    return _covering(cases if of is None else Random(0).sample(cases, len(cases)), 2, of)


def each_once(cases):
    """As `in_pairs`, but of drawn cases that have every argument, as most pairs meet elsewhere."""
    cases = list(cases)
    return _covering(Random(0).sample(cases, len(cases)), 1)


def _covering(cases, together, of=None):
    met, chosen = set(), []
    for case in cases:
        found = set(combinations(enumerate(case[:of]), together))
        chosen.append(pytest.param(*case, marks=pytest.mark.slow if found <= met else ()))
        met |= found
    return chosen


def suits(rule: LearningRule, cell: Cell) -> bool:
    """Whether a rule trains a cell: SAB adds memories to h, which the readout must see."""
    return rule.reminder is None or cell.read == 0


class LeakyReLU(Cell):
    """h' = max(a, a/10): a cell that the package does not know."""

    slots = (Slot("a"),)

    def transition(self, pre_BMK, state_BCK):
        return torch.where(pre_BMK > 0, pre_BMK, 0.1 * pre_BMK)

    def slopes(self, pre_BMK, state_BCK):
        slope_BMK = torch.where(pre_BMK > 0, torch.ones_like(pre_BMK), 0.1)
        return slope_BMK.unsqueeze(1), torch.zeros_like(state_BCK).unsqueeze(1)


class Lopsided(Cell):
    """h' = tanh(a) σ(b) + q/2, q' = (tanh(c) + 4q + h)/8.

    Slot b takes no input, so that in a stack it hears nothing of the layer below, and c no h(t-1).
    """

    slots = (Slot("a"), Slot("b", input=False, bias=0.5), Slot("c", recurrent=False))
    components = 2
    slope_pattern = ((True, True, False), (False, False, True))
    state_pattern = ((False, True), (True, True))

    def transition(self, pre_BMK, state_BCK):
        a, b, c = pre_BMK.unbind(1)
        h, q = state_BCK.unbind(1)
        after = torch.tanh(a) * torch.sigmoid(b) + q / 2, (torch.tanh(c) + 4 * q + h) / 8
        return torch.stack(after, 1)

    def slopes(self, pre_BMK, state_BCK):
        a, b, c = pre_BMK.unbind(1)
        a, b, c = torch.tanh(a), torch.sigmoid(b), torch.tanh(c)
        zero, one = torch.zeros_like(a), torch.ones_like(a)
        dh_BMK = torch.stack(((1 - a * a) * b, a * b * (1 - b), zero), 1)
        dq_BMK = torch.stack((zero, zero, (1 - c * c) / 8), 1)
        dsds_BCCK = torch.stack((zero, one / 2, one / 8, one / 2), 1).unflatten(1, (2, 2))
        return torch.stack((dh_BMK, dq_BMK), 1), dsds_BCCK


STACKS = {"2 layers": (6, 6), "3 layers": (4, 7, 5), "layers of 1 unit": (1, 3, 1, 1)}


def rng(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def core(
    cell: Cell,
    sparsity: Sparsity | None = None,
    units: int | Sequence[int] = 7,
    inputs: int = 3,
    seed: int = 0,
) -> RecurrentCore:
    return RecurrentCore.build(cell, sparsity or Uniform(level=0.6), units, inputs, rng(seed))


def problem(
    cell: Cell,
    sparsity: Sparsity | None = None,
    units: int | Sequence[int] = 7,
    lanes: int = 3,
    steps: int = 7,
    seed: int = 0,
    reminder: Reminder | None = None,
) -> Problem:
    return Problem.draw(
        cell,
        sparsity or Uniform(level=0.6),
        units=units,
        inputs=3,
        outputs=4,
        lanes=lanes,
        steps=steps,
        seed=seed,
        reminder=reminder,
    )


def without_resets(problem: Problem) -> Problem:
    """The same problem where sequences begin at step 0 alone."""
    resets_TB = problem.resets_TB.clone()
    resets_TB[1:] = False
    return replace(problem, resets_TB=resets_TB)


def lane(problem: Problem, b: int) -> Problem:
    """One lane of a problem."""
    cut: Callable[[torch.Tensor], torch.Tensor] = lambda x: x[:, b : b + 1]  # noqa: E731
    return replace(
        problem,
        inputs_TBA=cut(problem.inputs_TBA),
        targets_TB=cut(problem.targets_TB),
        resets_TB=cut(problem.resets_TB),
    )


def steps_to_reach(cell: Cell, units: int) -> int:
    """After how many steps a parameter of unit 0 reaches no further, by brute force over masks.

    All units see one another, or, with one unit, the unit sees itself alone.
    """
    slopes, blocks = cell.slope_pattern, cell.state_pattern
    heard = [
        any(s and slot.recurrent for s, slot in zip(row, cell.slots, strict=True)) for row in slopes
    ]
    states = list(product(range(cell.components), range(units)))
    D = {
        ((p, u), (q, v))
        for (p, u), (q, v) in product(states, states)
        if (u == v and blocks[p][q]) or (q == 0 and heard[p])
    }
    steps = []
    for slot in range(len(cell.slots)):
        reached = {(p, 0) for p in range(cell.components) if slopes[p][slot]}
        steps.append(1)
        while (more := reached | {to for to, at in D if at in reached}) != reached:
            reached, steps[-1] = more, steps[-1] + 1
    return max(steps)


def close(got: torch.Tensor, want: torch.Tensor, tolerance: float = 1e-12) -> None:
    """Equal up to `tolerance` times the largest entry wanted."""
    assert got.shape == want.shape
    scale = float(want.abs().max()) if want.numel() else 0.0
    torch.testing.assert_close(got, want, rtol=0, atol=tolerance * (scale or 1.0))
