"""The gradient that a rule computes over given steps, starting from its initial state.

Shape suffixes: N draws, P live recurrent parameters.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Generator, Tensor

from snaprun.core import RecurrentCore
from snaprun.rules import LearningRule, Setup
from snaprun.rules.base import State
from snaprun.rules.over_steps import Step, advance
from snaprun.seeding import stream


@dataclass(frozen=True)
class Replay:
    """All that a rule's initial state depends on, except its noise."""

    core: RecurrentCore
    lanes: int
    dtype: torch.dtype
    outputs: int
    backend: ModuleType
    seed: int  # of the run
    pause: Callable[[], None] = lambda: None  # called between windows and steps; it may raise

    def begin(self, rule: LearningRule[State], noise: int) -> State:
        """Return the rule's state before the first step.

        What a rule draws once, such as random feedback, is the same as in the run; what it draws
        at every step follows from the seed `noise`.
        """
        generator = stream(self.seed, "noise")
        setup = Setup(self.core, self.lanes, self.dtype, self.outputs, generator, self.backend)
        state = rule.init(setup)
        generator.manual_seed(noise)
        return state

    def whole(
        self, rule: LearningRule, steps: Sequence[Step], noise: int = 0, every: int | None = None
    ) -> Tensor:
        """Return the sum (P,) of the gradients taken every `every` steps; None: one, at the end."""
        state, apart, found = self.begin(rule, noise), every or len(steps), list[Tensor]()
        for start in range(0, len(steps), apart):
            self.pause()
            state = advance(rule, state, steps[start : start + apart])
            gradient_P, state = rule.gradient(state)
            found.append(gradient_P)
        return torch.stack(found).sum(0)


def seed(generator: Generator) -> int:
    """Draw a seed from `generator`."""
    return int(torch.randint(2**62, (), generator=generator))
