"""The readout maps the output h to the loss; its exact gradients are written out by hand.

Shape suffixes: B lanes, K units, H hidden, O outputs.
"""

import copy
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import Parameter

from snaprun.losses import Loss
from snaprun.tasks import Task


class Credit(NamedTuple):
    """The loss L of one step, summed over lanes, and its derivatives."""

    loss_B: Tensor  # the loss of each lane; 0 without a target
    credit_BK: Tensor  # δ = ∂L/∂h
    error_BO: Tensor  # ∂L/∂outputs
    outputs_BO: Tensor


class Readout:
    """Computes a loss on outputs = W h + b, or W₂ relu(W₁ h + b₁) + b₂ with `hidden` units.

    Weights and biases are drawn uniformly from ±1/√fan-in, as in `torch.nn.Linear`. `learn` adds
    the gradients to the parameters' `.grad`.
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
        self.loss = loss or Task.loss
        widths = [units, *([hidden] if hidden else []), outputs]
        self.parameters: list[Parameter] = []
        for fan_in, fan_out in pairwise(widths):
            for shape in ((fan_out, fan_in), (fan_out,)):
                drawn = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
                self.parameters.append(Parameter((drawn / fan_in**0.5).to(dtype), False))

    def to(self, device: torch.device | str) -> "Readout":
        """Move the parameters to `device` and return this readout."""
        self.parameters = [Parameter(p.to(device), False) for p in self.parameters]
        return self

    def at(self, parameters: list[Parameter]) -> "Readout":
        """Return a readout with the same loss and other parameters."""
        other = copy.copy(self)
        other.parameters = parameters
        return other

    @property
    def macs(self) -> int:
        """The number of multiply-adds of the forward pass, per lane and step."""
        return sum(p.numel() for p in self.parameters[::2])

    def outputs(self, h_BK: Tensor) -> Tensor:
        """Return the outputs, shape (B, O)."""
        return self._layers(h_BK)[-1]

    def no_targets(self, lanes: int) -> Tensor:
        """Return the targets of a step that has none: zeros, of the kind that the loss takes."""
        bias = self.parameters[-1]
        if self.loss.classes:
            return torch.zeros(lanes, dtype=torch.int64, device=bias.device)
        return bias.new_zeros(lanes, bias.numel())

    def judge(self, h_BK: Tensor, targets: Tensor, mask_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss (B,) and the outputs (B, O) that `learn` returns, bit by bit."""
        outputs_BO = self.outputs(h_BK)
        return self._judge(outputs_BO, targets, mask_B)[0], outputs_BO

    def learn(self, h_BK: Tensor, targets: Tensor, mask_B: Tensor) -> Credit:
        """Return loss and credit of the lanes in `mask_B` (boolean); add gradients to `.grad`."""
        *below, outputs_BO = self._layers(h_BK)
        loss_B, error_BO = self._judge(outputs_BO, targets, mask_B)

        credit = error_BO
        for layer in range(len(below) - 1, -1, -1):
            source = below[layer]
            _accumulate(self.parameters[2 * layer], credit.T @ source)
            _accumulate(self.parameters[2 * layer + 1], credit.sum(0))
            credit = credit @ self.parameters[2 * layer]
            if layer:
                credit = credit * (source > 0)
        return Credit(loss_B, credit, error_BO, outputs_BO)

    def _judge(self, outputs_BO: Tensor, targets: Tensor, mask_B: Tensor) -> tuple[Tensor, Tensor]:
        if not self.loss.classes:
            targets = targets.to(outputs_BO.dtype)
        return self.loss.value_and_error(outputs_BO, targets, mask_B)

    def _layers(self, h_BK: Tensor) -> list[Tensor]:
        """Return the input of every layer, then the outputs."""
        values = [h_BK]
        for weight, bias in zip(self.parameters[::2], self.parameters[1::2], strict=True):
            source = values[-1].relu() if len(values) > 1 else values[-1]
            values[-1] = source
            values.append(torch.addmm(bias, source, weight.T))
        return values


def _accumulate(parameter: Parameter, gradient: Tensor) -> None:
    parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
