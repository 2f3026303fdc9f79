"""Checks rules that claim the exact gradient against autograd through the unrolled network."""

import torch
from torch import Generator

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
        state = rule.init(problem.setup(Generator()))
        return torch.stack(gradients(rule, state, steps, every))

    whole = torch.stack(unrolled.gradients(problem))
    what, got, want = f"updates every {every} steps, autograd", found(every), whole
    if isinstance(rule, SnAp):
        what, got = f"Σ of {what}", got.sum(0, keepdim=True)
    else:
        want = torch.stack(unrolled.gradients(problem, every=every))
    return [equal("gradient, autograd", found(problem.steps), whole), equal(what, got, want)]
