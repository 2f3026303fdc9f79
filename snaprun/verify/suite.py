"""All the comparisons that a cell, a sparsity and a rule admit."""

import torch

from snaprun.cells import Cell
from snaprun.checks import refuse
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
    for a rule of which nothing is known to compare it with.
    """
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
