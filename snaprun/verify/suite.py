"""All the comparisons that a cell, a sparsity and a rule admit."""

import torch

from snaprun.cells import Cell
from snaprun.checks import UserError, refuse
from snaprun.core import Sizes
from snaprun.costs.memory import in_units
from snaprun.hardware import available_bytes
from snaprun.rules import LearningRule, SnAp
from snaprun.sparsity import Sparsity
from snaprun.verify import biased, exact, influence, jacobian, unbiased
from snaprun.verify.check import Check
from snaprun.verify.problem import Problem


def verify(
    cell: Cell,
    units: int,
    sparsity: Sparsity,
    rule: LearningRule,
    *,
    inputs: int,
    outputs: int,
    lanes: int,
    steps: int,
    draws: int,
    seed: int,
    device: torch.device | str = "cpu",
) -> list[Check]:
    """Compare, in float64 on random data, the cell's slopes and the rule with independent sources.

    The slopes and the Jacobians are compared with `torch.func`; what the rule is compared with
    follows from its claim. Rules that keep an influence matrix are also compared with equations
    (4) and (5) and over all backends. `draws` (≥ 100) is for unbiased rules. Raises UserError
    for a rule of which nothing is known to compare it with, and where memory does not suffice.
    """
    _require_memory(cell, units, sparsity, inputs, lanes)
    problem = Problem.draw(
        cell,
        sparsity,
        units=units,
        inputs=inputs,
        outputs=outputs,
        lanes=lanes,
        steps=steps,
        seed=seed,
        device=device,
    )
    checks = [*jacobian.cell_checks(cell, device), *jacobian.product_checks(problem, seed)]
    if isinstance(rule, SnAp):
        checks += influence.definition_checks(rule, problem)
        checks += influence.backend_checks(rule, problem)
    if rule.claim == "exact":
        checks += exact.checks(rule, problem)
    elif rule.claim == "unbiased":
        checks += unbiased.checks(rule, problem, draws, seed)
    elif rule.claim == "biased":
        checks += biased.checks(rule, problem)
    elif not isinstance(rule, SnAp):
        refuse("rule", type(rule).__name__, "a masked rule that keeps an influence matrix")
    return checks


_COPIES = 12  # measured: 13 with GRUs of 100 to 200 units


def _require_memory(cell: Cell, units: int, sparsity: Sparsity, inputs: int, lanes: int) -> None:
    """UserError where the Jacobians by all weights, as `torch.func` makes them, do not fit."""
    others = {"window": 1, "outputs": 1, "hidden": 0, "threads": 1}
    sizes = Sizes.before(cell, sparsity, units, inputs, lanes=lanes, itemsize=8, **others)
    needed = _COPIES * sizes.itemsize * lanes * sizes.states * sizes.dense
    left, bound = available_bytes()
    if needed > left:
        raise UserError(
            f"cell.units={units}, lanes={lanes}: the Jacobians by all weights need "
            f"{in_units(needed)} of memory or more, and {in_units(left)} is left {bound}. "
            "Take fewer cell.units or lanes."
        )
