"""Runs a rule over recorded steps: steps with the weights held fixed, or steps of a past run."""

from collections.abc import Iterable

from torch import Tensor

from snaprun.core import Record
from snaprun.rules.base import LearningRule, State

Step = tuple[Tensor, Record]  # the lanes (B,) that begin before the step, and its record


def advance(rule: LearningRule[State], state: State, steps: Iterable[Step]) -> State:
    """Returns the rule's state after some steps and the resets before them."""
    for resets_B, record in steps:
        if resets_B.any():
            state = rule.reset(state, resets_B)
        state = rule.step(state, record)
    return state


def gradients(
    rule: LearningRule[State], state: State, steps: Iterable[Step], every: int
) -> list[Tensor]:
    """Returns the rule's gradients after every `every` steps and at the end, from `state` on."""
    remaining, found = list(steps), []
    for start in range(0, len(remaining), every):
        state = advance(rule, state, remaining[start : start + every])
        gradient_P, state = rule.gradient(state)
        found.append(gradient_P)
    return found
