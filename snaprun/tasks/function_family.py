"""Learning to learn: every sequence is a new function, to be learned within it by fixed weights."""

import math
from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch import Generator, Tensor

from snaprun.checks import at_least, one_of
from snaprun.losses import MeanSquaredError
from snaprun.losses.measures import MeanLoss
from snaprun.metrics import Metric
from snaprun.tasks.base import Batch, Task
from snaprun.tasks.held_out import LANES, drawn

Family = Literal["network", "sine"]
HIDDEN = 10  # units of a target network


class TenthLoss(MeanLoss):
    """The mean loss of the first or the last tenth of the steps of a sequence."""

    def __init__(self, last: bool):
        name = "last" if last else "first"
        metric = Metric(f"mse_{name}_tenth", f"mse, {name} tenth of an episode", "", -1, 10.0)
        super().__init__(MeanSquaredError(), metric)
        self._last = last

    def sums(self, outputs_TBO: Tensor, targets: Tensor, mask_TB: Tensor) -> list[float]:
        """Returns the sum of the losses and the number of targets of that tenth."""
        tenth = math.ceil(len(mask_TB) / 10)
        part = slice(-tenth, None) if self._last else slice(tenth)
        return super().sums(outputs_TBO[part], targets[part], mask_TB[part])


class FunctionFamily(Task):
    """Say y_t = f(x_t) at every step; f is drawn anew for every sequence, an episode.

        input (x_t, y_(t−1)),    target y_t,    y_0 = 0

    `family=network`: f is a random network of two inputs, ten hidden sigmoid units and one output,
    its weights and biases uniform in [−1, 1], and x_t is uniform in [−1, 1]². `family=sine`:
    f(x) = A sin(x + φ), A uniform in [0.1, 5], φ in [0, π], and x_t is uniform in [−5, 5].

    The weights of the trained network hold what all f have in common; what a network learns of one
    f, it keeps in its state. So the error falls within an episode, under fixed weights: compare
    `mse_first_tenth` with `mse_last_tenth`. The baseline answers with the mean of the y before.
    Held out are 1024 episodes from a random stream of their own.

    Source: Bellec et al. 2018, arXiv 1803.09574, section 4; Hochreiter, Younger & Conwell 2001.

    >>> import torch
    >>> from snaprun.tasks import TASKS
    >>> batch = TASKS["function_family"](length=6).batch(lanes=2, generator=torch.Generator())
    >>> torch.equal(batch.inputs[1:, :, 2], batch.targets[:-1, :, 0])
    True
    """

    one_hot = False
    outputs = 1
    loss = MeanSquaredError()
    measures = (TenthLoss(last=True), TenthLoss(last=False))
    held_out_lanes = LANES
    length_key = "length"

    def __init__(self, family: Family = "network", length: int = 400) -> None:
        self.family = one_of("task.family", family, get_args(Family))
        self.length = at_least("task.length", length, 2)
        self.inputs = 3 if family == "network" else 2

    def batch(self, lanes: int, generator: Generator) -> Batch:
        """Return one episode of `length` steps for each lane."""
        of = self._networks if self.family == "network" else self._sines
        x_TBA, y_TB = of(lanes, generator)
        before_TB = torch.cat((torch.zeros(1, lanes), y_TB[:-1]))
        seen_T = torch.arange(self.length).clamp(min=1)
        mask = torch.ones(self.length, lanes, dtype=torch.bool)
        resets = torch.zeros_like(mask)
        resets[0] = True
        inputs = torch.cat((x_TBA, before_TB[..., None]), 2)
        baseline = (before_TB.cumsum(0) / seen_T[:, None])[..., None]
        return Batch(inputs, y_TB[..., None], mask, resets, baseline=baseline)

    def _networks(self, lanes: int, generator: Generator) -> tuple[Tensor, Tensor]:
        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator) * 2 - 1

        x_TBA = uniform(self.length, lanes, 2)
        inner_BHA, bias_BH = uniform(lanes, HIDDEN, 2), uniform(lanes, HIDDEN)
        outer_BH, bias_B = uniform(lanes, HIDDEN), uniform(lanes)
        hidden_TBH = torch.sigmoid(torch.einsum("tba,bha->tbh", x_TBA, inner_BHA) + bias_BH)
        return x_TBA, (hidden_TBH * outer_BH).sum(2) + bias_B

    def _sines(self, lanes: int, generator: Generator) -> tuple[Tensor, Tensor]:
        x_TB = torch.rand(self.length, lanes, generator=generator) * 10 - 5
        amplitude_B = 0.1 + 4.9 * torch.rand(lanes, generator=generator)
        phase_B = math.pi * torch.rand(lanes, generator=generator)
        return x_TB[..., None], amplitude_B * torch.sin(x_TB + phase_B)

    def steps(self) -> int:
        """Return `length`."""
        return self.length

    @property
    def chance(self) -> float:
        """The mean squared error of answering 0, E y².

        A sine has E A² / 2, about 4.4. A network has 1/3 of its bias and, for each hidden unit h,
        a variance E h² / 3 of at most 1/3: at most 11/3.
        """
        return 11 / 3 if self.family == "network" else (5**3 - 0.1**3) / (3 * 4.9) / 2

    def validation(self, tokens: int | None) -> Iterator[Batch]:
        """Return held-out episodes, as snaprun.tasks.held_out.drawn says."""
        return drawn(self.batch, self.length, tokens)
