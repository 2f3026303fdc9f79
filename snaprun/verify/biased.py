"""Checks biased rules, which claim only their own definition, against that definition."""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from snaprun.checks import refuse
from snaprun.rules import RFLO, SAB, EProp, Frozen, LearningRule
from snaprun.rules.over_steps import advance
from snaprun.verify import recalled, unrolled
from snaprun.verify.check import Check, equal
from snaprun.verify.problem import NO_TARGET, Problem


def checks(rule: LearningRule, problem: Problem) -> list[Check]:
    """Check the gradient of the whole sequence against the rule's definition.

    Raises UserError if this file has no definition of the rule.
    """
    if isinstance(rule, SAB):
        return recalled.checks(rule, problem)
    state = rule.init(problem.setup(Generator().manual_seed(0)))
    state = advance(rule, state, problem.records())
    got_P, _ = rule.gradient(state)
    if isinstance(rule, Frozen):
        return [equal("gradient, 0", got_P, torch.zeros_like(got_P), 0.0)]
    if isinstance(rule, RFLO):
        what, loss = "gradient, autograd with U h detached", None
        sent = isinstance(rule, EProp) and problem.core.cell.spikes
        if sent:
            what = "gradient, autograd with the spikes sent detached"
        if state.feedback_OK is not None:
            what, loss = f"{what} and random feedback", _fed_back(problem, state.feedback_OK)
        want_P = unrolled.of_layers(problem, unrolled.detached, loss, sent=not sent)
        return [equal(what, got_P, want_P)]
    refuse(
        "rule",
        type(rule).__name__,
        "a rule whose claim is exact, masked or unbiased, or one that verify/biased.py defines",
        "Add what its definition implies there.",
    )


def _fed_back(problem: Problem, feedback_OK: Tensor) -> unrolled.Loss:
    """Return a loss with the derivative (∂L/∂logits) B with respect to the h of some units."""

    def loss(h_BK: Tensor, targets_B: Tensor, units: slice) -> Tensor:
        seen_BK = h_BK[:, -problem.readout_OK.shape[1] :].detach()
        logits_BO = (seen_BK @ problem.readout_OK.T).requires_grad_()
        total = F.cross_entropy(logits_BO, targets_B, ignore_index=NO_TARGET, reduction="sum")
        error_BO = torch.autograd.grad(total, logits_BO)[0]
        return (error_BO @ feedback_OK[:, units] * h_BK[:, units]).sum()

    return loss
