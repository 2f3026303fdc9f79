"""Makes every comparison that applies to a cell, a sparsity and a rule."""

from collections.abc import Sequence

import torch

from snaprun.cells import Cell
from snaprun.checks import UserError, refuse
from snaprun.core import Sizes
from snaprun.costs.memory import in_units
from snaprun.hardware import available_bytes
from snaprun.rules import BPTT, UORO, LearningRule, SnAp
from snaprun.sparsity import Sparsity
from snaprun.verify import biased, exact, expected, influence, jacobian, readout, unbiased
from snaprun.verify.check import Check
from snaprun.verify.problem import Problem


def verify(
    cell: Cell,
    units: int | Sequence[int],
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
    """Compare the cell's slopes and the rule with independent sources, in float64 on random data.

    Losses and slopes are compared with autograd, the Jacobians with `torch.func`. The claim
    of the rule decides what the rule is compared with. A rule with an influence matrix is also
    compared with equation (4) or (5), and on all backends. `draws` (≥ 100) counts for unbiased
    rules only. The gradient of UORO is also averaged over all signs of ν, on one unit and on two.
    Raises UserError if nothing is known to compare the rule with, or if memory does not suffice.

    >>> from snaprun.cells import Vanilla
    >>> from snaprun.rules import BPTT
    >>> from snaprun.sparsity import Uniform
    >>> sizes = {"inputs": 2, "outputs": 2, "lanes": 1, "steps": 3}
    >>> checks = verify(Vanilla(), 2, Uniform(0.5), BPTT(), **sizes, draws=100, seed=0)
    >>> all(check.passed for check in checks), checks[-2].what
    (True, 'gradient, autograd')
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
        reminder=rule.reminder,
    )
    checks = [*readout.loss_checks(device), *jacobian.cell_checks(cell, device)]
    checks += jacobian.product_checks(problem.plain, seed)
    if isinstance(rule, SnAp):
        checks += influence.definition_checks(rule, problem)
        checks += influence.backend_checks(rule, problem)
    if rule.claim == "exact" or (isinstance(rule, BPTT) and rule.truncate is not None):
        checks += exact.checks(rule, problem)
    elif rule.claim == "unbiased":
        if isinstance(rule, UORO):
            checks += expected.checks(rule, cell, len(problem.core.layers), seed)
        checks += unbiased.checks(rule, problem, draws, seed)
    elif rule.claim == "biased":
        checks += biased.checks(rule, problem)
    elif not isinstance(rule, SnAp):
        refuse("rule", type(rule).__name__, "a masked rule that keeps an influence matrix")
    return checks


_COPIES = 12  # of the dense Jacobian; measured: 13 with GRUs of 100 to 200 units


def _require_memory(
    cell: Cell, units: int | Sequence[int], sparsity: Sparsity, inputs: int, lanes: int
) -> None:
    """Raise UserError if the dense Jacobians of `torch.func` do not fit into memory."""
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
