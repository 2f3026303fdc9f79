"""Checks exact rules, and BPTT with cuts, against autograd through the unrolled network."""

import torch
from torch import Generator

from snaprun.rules import BPTT, LearningRule, SnAp
from snaprun.rules.bptt import bounded
from snaprun.rules.over_steps import gradients
from snaprun.rules.replay import Replay
from snaprun.verify import unrolled
from snaprun.verify.check import Check, equal
from snaprun.verify.problem import Problem


def checks(rule: LearningRule, problem: Problem) -> list[Check]:
    """Check the gradient of the whole sequence, and the gradients of its windows.

    RTRL carries its influence matrix through updates, so the gradients of its windows add up to
    that of the whole sequence. BPTT's tape is cut at every update, as autograd's tape is when the
    state is detached. If BPTT's memory is bounded, its steps are replayed.
    """
    every = max(1, problem.steps // 3)
    truncate = rule.truncate if isinstance(rule, BPTT) else None
    steps = list(problem.records())

    def found(every: int) -> torch.Tensor:
        setup = problem.setup(Generator())
        if replaying := bounded(rule):
            return torch.stack(_replayed(Replay(replaying, setup), problem, every))
        return torch.stack(gradients(rule, rule.init(setup), steps, every))

    whole = torch.stack(unrolled.gradients(problem, truncate=truncate))
    by = "autograd" if truncate is None else f"autograd with s cut every {truncate} steps"
    what, got, want = f"updates every {every} steps, {by}", found(every), whole
    if isinstance(rule, SnAp):
        what, got = f"Σ of {what}", got.sum(0, keepdim=True)
    else:
        want = torch.stack(unrolled.gradients(problem, every=every, truncate=truncate))
    return [equal(f"gradient, {by}", found(problem.steps), whole), equal(what, got, want)]


def _replayed(replay: Replay, problem: Problem, every: int) -> list[torch.Tensor]:
    """Return the gradients of the windows of `every` steps, by replaying them."""
    state_BCK = problem.core.initial_state(problem.lanes, torch.float64)
    found = []
    for start in range(0, problem.steps, every):
        replay.begin(min(every, problem.steps - start), state_BCK)
        for t in range(start, min(start + every, problem.steps)):
            state_BCK, linearise = problem.step(t, state_BCK)
            replay.follow(state_BCK, linearise)
        replay.reverse(problem.part(slice(start, None)))
        found.append(replay.finish())
    return found
