"""Checks rules that claim the exact gradient against autograd through the unrolled network."""

import torch
from torch import Generator

from snaprun.influence import choose
from snaprun.rules import LearningRule, SnAp
from snaprun.rules.over_steps import gradients
from snaprun.verify import unrolled
from snaprun.verify.check import Check, equal
from snaprun.verify.problem import Problem


def checks(rule: LearningRule, problem: Problem) -> list[Check]:
    """Check the gradient of the whole sequence, and the gradients of its windows.

    RTRL carries its influence matrix through updates, so the gradients of its windows add up to
    that of the whole sequence. BPTT's tape is cut at every update, as autograd's tape is when the
    state is detached.
    """
    every = max(1, problem.steps // 3)
    steps = list(problem.records())

    def found(every: int) -> torch.Tensor:
        setup = problem.setup(Generator(), choose("auto", problem.core.device.type))
        return torch.stack(gradients(rule, rule.init(setup), steps, every))

    whole = torch.stack(unrolled.gradients(problem))
    checks = [equal("gradient, autograd", found(problem.steps), whole)]
    if isinstance(rule, SnAp):
        total = found(every).sum(0, keepdim=True)
        checks.append(equal(f"Σ of updates every {every} steps, autograd", total, whole))
    else:
        cut = torch.stack(unrolled.gradients(problem, every=every))
        checks.append(equal(f"updates every {every} steps, autograd", found(every), cut))
    return checks
