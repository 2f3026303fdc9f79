"""The memory of a module between time steps, and the credit of a step.

Shape suffixes: B lanes, C components, K units, A inputs, P live parameters.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from snaprun.checks import UserError
from snaprun.core import Record, RecurrentCore
from snaprun.core.jacobians import input_vjp
from snaprun.rules import LearningRule


class State:
    """The memory of the past that a module returns at a time step and takes at the next.

    It holds the recurrent state `s_BCK` (batch, components, units), which no gradient reaches, and
    the memory of the learning rule. The rule advances its memory in place, so a state serves once.
    """

    def __init__(
        self,
        core: RecurrentCore,
        rule: LearningRule[Any],
        s_BCK: Tensor,
        memory: Any,
        record: Record | None = None,
    ):
        self.core, self.s_BCK = core, s_BCK
        self._rule, self._memory = rule, memory
        self._record = record  # of the step that led here, until the rule has taken it
        self._spent = False

    def __reduce__(self) -> Any:
        raise UserError(
            "A state is neither copied nor pickled: it serves once. Take another initial_state."
        )

    @property
    def lanes(self) -> int:
        """B, the sequences side by side."""
        return len(self.s_BCK)

    @property
    def h(self) -> Tensor:
        """The output of the uppermost layer, shape (B, k)."""
        return self.core.output(self.s_BCK)

    def spend(self) -> Any:
        """Return the rule's memory, which leaves this state; a step without credit goes in so."""
        if self._spent:
            raise UserError(
                "This state was used before: expected the one that the last step or reset returned."
            )
        memory, record = self._memory, self._record
        self._spent, self._memory, self._record = True, None, None
        return memory if record is None else self._rule.step(memory, record)

    def credited(self, credit_BK: Tensor) -> Tensor:
        """Give the step its credit ∂L/∂h, and return the rule's gradient (P,) of the step."""
        if self._spent:
            raise UserError(
                "backward() came after the next step or a reset: call it before them, "
                "because the rule has gone on without this loss."
            )
        record, self._record = self._record, None
        assert record is not None
        self._memory = self._rule.step(self._memory, record.with_credit(credit_BK))
        gradient_P, self._memory = self._rule.gradient(self._memory)
        return gradient_P


@contextmanager
def plain(device: torch.device) -> Iterator[None]:
    """Compute without autograd and autocast, on tensors that later steps may write to."""
    with torch.inference_mode(False), torch.no_grad(), torch.autocast(device.type, enabled=False):
        yield


class ByParameters(Function):
    """The output of a step as a function of the live weights, with the rule's gradient."""

    @staticmethod
    def forward(ctx: Any, state: State, *thetas: Tensor) -> Tensor:
        """Return h, shape (B, k)."""
        ctx.state, ctx.sizes = state, [len(theta) for theta in thetas]
        return state.h.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *credit: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        """Return the gradient of each layer's live weights."""
        if (state := ctx.state) is None:
            raise UserError(
                "backward() came twice for one step: add the losses of a step, and call it once."
            )
        with plain(credit[0].device):
            gradient_P = state.credited(credit[0])
        ctx.state = None  # else a graph that lives on would keep the rule's memory
        return None, *gradient_P.split(ctx.sizes)


class ByInput(Function):
    """The output of a step as a function of its input, with the exact derivative of the step."""

    @staticmethod
    def forward(ctx: Any, h_BK: Tensor, x_BA: Tensor, record: Record) -> Tensor:
        """Return h, shape (B, k)."""
        ctx.record = record
        return h_BK.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *credit: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        """Return ∂L/∂h and ∂L/∂x."""
        record = ctx.record.with_credit(credit[0])
        with plain(credit[0].device):
            return credit[0], input_vjp(record, record.credit_BCK), None
