"""From the output h to the loss and back: exact gradients, written out.

Shape suffixes: B lanes, K units, H hidden, O outputs.
"""

import copy
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import Parameter

from snaprun.losses import Loss, SoftmaxCrossEntropy


class Credit(NamedTuple):
    """The loss of one step and its derivatives."""

    loss_B: Tensor  # of each lane; 0 without a target
    credit_BK: Tensor  # δ = ∂L/∂h, L the sum over lanes
    error_BO: Tensor  # ∂L/∂outputs


class Readout:
    """A loss on outputs = W h + b, or W₂ relu(W₁ h + b₁) + b₂ with `hidden` units.

    Weights and biases start uniform in ±1/√fan-in, as `torch.nn.Linear` does. `learn` adds to
    the parameters' `.grad`.
    """

    def __init__(
        self,
        units: int,
        outputs: int,
        hidden: int,
        generator: Generator,
        dtype: torch.dtype,
        loss: Loss | None = None,
    ):
        self.loss = loss or SoftmaxCrossEntropy()
        widths = [units, *([hidden] if hidden else []), outputs]
        self.parameters: list[Parameter] = []
        for fan_in, fan_out in pairwise(widths):
            for shape in ((fan_out, fan_in), (fan_out,)):
                drawn = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
                self.parameters.append(Parameter((drawn / fan_in**0.5).to(dtype), False))

    def to(self, device: torch.device | str) -> "Readout":
        """The same readout, its parameters moved to `device`."""
        self.parameters = [Parameter(p.to(device), False) for p in self.parameters]
        return self

    def at(self, parameters: list[Parameter]) -> "Readout":
        """The same readout with other parameters."""
        other = copy.copy(self)
        other.parameters = parameters
        return other

    @property
    def macs(self) -> int:
        """Multiply-adds a lane and step of the forward pass."""
        return sum(p.numel() for p in self.parameters[::2])

    def outputs(self, h_BK: Tensor) -> Tensor:
        """Shape (B, O)."""
        return self._layers(h_BK)[-1]

    def learn(self, h_BK: Tensor, targets: Tensor, mask_B: Tensor) -> Credit:
        """The loss of the lanes in `mask_B` (boolean) and its credit; gradients go to `.grad`."""
        *below, outputs_BO = self._layers(h_BK)
        loss_B, error_BO = self.loss.value_and_error(outputs_BO, targets, mask_B)

        credit = error_BO
        for layer in range(len(below) - 1, -1, -1):
            source = below[layer]
            _accumulate(self.parameters[2 * layer], credit.T @ source)
            _accumulate(self.parameters[2 * layer + 1], credit.sum(0))
            credit = credit @ self.parameters[2 * layer]
            if layer:
                credit = credit * (source > 0)
        return Credit(loss_B, credit, error_BO)

    def _layers(self, h_BK: Tensor) -> list[Tensor]:
        """The input of every layer, and the logits."""
        values = [h_BK]
        for weight, bias in zip(self.parameters[::2], self.parameters[1::2], strict=True):
            source = values[-1].relu() if len(values) > 1 else values[-1]
            values[-1] = source
            values.append(torch.addmm(bias, source, weight.T))
        return values


def _accumulate(parameter: Parameter, gradient: Tensor) -> None:
    parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
