"""Checks biased rules, which claim only their own definition, against that definition."""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from snaprun.checks import refuse
from snaprun.rules import RFLO, SAB, EProp, Frozen, LearningRule, Rate
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
    if isinstance(rule, Rate):
        return [equal("gradient, autograd on rates", got_P, of_rates(problem))]
    refuse(
        "rule",
        type(rule).__name__,
        "a rule whose claim is exact, masked or unbiased, or one that verify/biased.py defines",
        "Add what its definition implies there.",
    )


def of_rates(problem: Problem) -> Tensor:
    """Return the gradient (P,) of rate-based backpropagation, by autograd on a network of rates.

    At every step t with a target each layer is f = f_t + e_t ∘ (W r + b), its value f_t and its
    slope e_t = ∂f_t/∂(a of all steps, together), by autograd through a unit's own past. Its
    inputs r are the mean of x, or the f of the layer below.
    """
    total_P = 0 * problem.theta_P
    for b in range(problem.lanes):
        begins = problem.resets_TB[:, b].nonzero().flatten().tolist()
        for first, last in zip(begins, [*begins[1:], problem.steps], strict=True):
            for t in range(first, last):
                if problem.targets_TB[t, b] != NO_TARGET:
                    total_P += _of_rates(problem, b, first, t + 1)
    return total_P


def _of_rates(problem: Problem, b: int, first: int, last: int) -> Tensor:
    """Return the gradient of the loss of step last − 1 of lane b, whose sequence began at first."""
    core, theta_P = problem.core, problem.theta_P.clone().requires_grad_()
    x_TA = problem.inputs_TBA[first:last, b]
    rates_1A = x_TA.mean(0, keepdim=True)
    for units, weights_MKJ in unrolled.by_layer(core, theta_P):
        state_1CK = core.initial_state(1, torch.float64)[:, :, units]
        silent_1K = torch.zeros_like(state_1CK[:, 0])  # no unit sees h(t-1)
        shift_MK = torch.zeros_like(weights_MKJ[:, :, 0]).requires_grad_()
        sent = []
        for x_A in x_TA:
            pre_1MK = unrolled.attached(weights_MKJ.detach(), silent_1K, x_A[None])
            state_1CK = core.cell.transition(pre_1MK + shift_MK, state_1CK)
            sent.append(state_1CK[0, 0].detach())
        value_1K = state_1CK[:, core.cell.read]
        slope_MK = torch.autograd.grad(value_1K.sum(), shift_MK)[0]
        pre_1MK = unrolled.attached(weights_MKJ, silent_1K, rates_1A)
        rates_1A = value_1K.detach() + (slope_MK * (pre_1MK - pre_1MK.detach())).sum(1)
        x_TA = torch.stack(sent)
    targets_B = problem.targets_TB[last - 1, b : b + 1]
    loss = F.cross_entropy(rates_1A @ problem.readout_OK.T, targets_B, reduction="sum")
    return torch.autograd.grad(loss, theta_P)[0]


def _fed_back(problem: Problem, feedback_OK: Tensor) -> unrolled.Loss:
    """Return a loss with the derivative (∂L/∂logits) B with respect to the h of some units."""

    def loss(h_BK: Tensor, targets_B: Tensor, units: slice) -> Tensor:
        seen_BK = h_BK[:, -problem.readout_OK.shape[1] :].detach()
        logits_BO = (seen_BK @ problem.readout_OK.T).requires_grad_()
        total = F.cross_entropy(logits_BO, targets_B, ignore_index=NO_TARGET, reduction="sum")
        error_BO = torch.autograd.grad(total, logits_BO)[0]
        return (error_BO @ feedback_OK[:, units] * h_BK[:, units]).sum()

    return loss
