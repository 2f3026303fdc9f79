"""The spike of a neuron, a step function whose slope is declared."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.autograd import Function


class Spike(Function):
    """H(x) with a surrogate as its slope: `Spike.apply(x, surrogate)`, surrogate(x) = ∂H/∂x."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, surrogate: Callable[[Tensor], Tensor]) -> Tensor:
        """Returns 1 where x > 0, else 0."""
        del surrogate
        return (x > 0).to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keeps x and its surrogate."""
        del output
        x, ctx.surrogate = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, *credit: Tensor) -> tuple[Tensor, None]:  # pyright: ignore
        """Returns the credit times the surrogate."""
        (x,) = ctx.saved_tensors
        return credit[0] * ctx.surrogate(x), None
