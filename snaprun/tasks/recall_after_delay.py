"""Recall after a delay: some symbols are kept through a long silence and then produced."""

import math
from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch import Tensor

from snaprun.checks import at_least, one_of
from snaprun.losses import Accuracy, SoftmaxCrossEntropy
from snaprun.losses.measures import MeanLoss
from snaprun.metrics import Metric
from snaprun.tasks.base import Batch, Task
from snaprun.tasks.held_out import LANES, drawn

SYMBOLS = 8  # the symbols are the classes 0 … 7
BLANK, CUE = SYMBOLS, SYMBOLS + 1
IMPOSSIBLE = -1e3  # a logit whose softmax is 0
Scope = Literal["all", "recall"]
Code = Literal["onehot", "scalar"]

RECALL_CROSS_ENTROPY = Metric(
    "recall_cross_entropy", "cross-entropy of the recall", "nats", -1, 10.0, smoothing=0.02
)


def _recalled(targets: Tensor, mask_TB: Tensor) -> Tensor:
    """Return where a symbol is to be recalled, (T, B); elsewhere the target is the blank."""
    return mask_TB & (targets < SYMBOLS)


class RecallAccuracy(Accuracy):
    """The share of the symbols to be recalled whose class has the greatest output."""

    def sums(self, outputs_TBO: Tensor, targets: Tensor, mask_TB: Tensor) -> list[float]:
        """Return the numbers of right answers and of symbols to be recalled."""
        return super().sums(outputs_TBO, targets, _recalled(targets, mask_TB))


class RecallCrossEntropy(MeanLoss):
    """The mean loss of the symbols to be recalled."""

    def sums(self, outputs_TBO: Tensor, targets: Tensor, mask_TB: Tensor) -> list[float]:
        """Return the sum of the losses and the number of symbols to be recalled."""
        return super().sums(outputs_TBO, targets, _recalled(targets, mask_TB))


class RecallAfterDelay(Task):
    """Read n symbols, stay silent for `delay` steps, then produce the symbols in their order.

        steps      n              delay − 1        1     n
        input      s₁ … sₙ        blank … blank    cue   blank … blank
        target     blank … blank  blank … blank    blank s₁ … sₙ          scope=all
        target     -   …   -      -   …   -        -     s₁ … sₙ          scope=recall

    `symbols` is n. They are drawn uniformly from eight, so there are ten classes: the symbols
    0 … 7, the blank 8 and the cue 9. code=onehot: the input is a class. code=scalar: it is one
    number, the class divided by 9.

    The loss is the cross-entropy over the steps with a target. Accuracy and `recall_cross_entropy`
    are those of the n recalled symbols under either scope, so that runs can be compared. The
    baseline has no memory: it knows when to be silent and guesses each symbol. Its accuracy is 1/8
    and its cross-entropy ln 8 a symbol, a loss of n ln 8 / (delay + 2 n) under scope=all. Held out
    are 1024 sequences from a random stream of their own.

    Source: Hochreiter & Schmidhuber 1997, doi 10.1162/neco.1997.9.8.1735, in the form of Arjovsky
    et al. 2016, arXiv 1511.06464 (the copying memory problem).

    >>> import torch
    >>> from snaprun.tasks import TASKS
    >>> task = TASKS["recall_after_delay"](delay=3)
    >>> batch = task.batch(lanes=1, generator=torch.Generator())
    >>> batch.inputs[10:13, 0].tolist()  # two blanks and the cue
    [8, 8, 9]
    >>> torch.equal(batch.targets[13:], batch.inputs[:10])
    True
    """

    inputs = outputs = SYMBOLS + 2
    loss = SoftmaxCrossEntropy(bits=False)
    measures = (RecallAccuracy(), RecallCrossEntropy(loss, RECALL_CROSS_ENTROPY))
    held_out_lanes = LANES
    length_key = "delay"

    def __init__(
        self, delay: int = 100, scope: Scope = "all", code: Code = "onehot", symbols: int = 10
    ) -> None:
        self.delay = at_least("task.delay", delay, 1)
        self.scope = one_of("task.scope", scope, get_args(Scope))
        self.code = one_of("task.code", code, get_args(Code))
        self.symbols = at_least("task.symbols", symbols, 1)
        if code == "scalar":
            self.inputs, self.one_hot = 1, False

    def batch(self, lanes: int, generator: torch.Generator) -> Batch:
        """Return one sequence of delay + 2 n steps for each lane."""
        n = self.symbols
        symbols = torch.randint(0, SYMBOLS, (n, lanes), generator=generator)
        inputs = torch.full((self.steps(), lanes), BLANK)  # (T, B)
        inputs[:n] = symbols
        inputs[-n - 1] = CUE

        mask = torch.zeros(inputs.shape, dtype=torch.bool)
        resets = torch.zeros_like(mask)
        mask[0 if self.scope == "all" else -n :] = resets[0] = True
        targets = torch.where(mask, BLANK, 0)
        targets[-n:] = symbols

        baseline = torch.full((*inputs.shape, self.outputs), IMPOSSIBLE)
        baseline[:-n, :, BLANK] = 0
        baseline[-n:, :, :SYMBOLS] = 0
        if self.code == "scalar":
            inputs = inputs[..., None] / CUE
        return Batch(inputs, targets, mask, resets, baseline=baseline)

    def steps(self) -> int:
        """Return delay + 2 n."""
        return self.delay + 2 * self.symbols

    @property
    def chance(self) -> float:
        """The loss of a guess: among the symbols for scope=recall, among all classes for all.

        Under scope=all the memoryless baseline is no guess: a run that has yet to learn silence is
        far above it and has not blown up.
        """
        return math.log(SYMBOLS) if self.scope == "recall" else super().chance

    def validation(self, tokens: int | None) -> Iterator[Batch]:
        """Return held-out sequences, as snaprun.tasks.held_out.drawn says."""
        return drawn(self.batch, self.steps(), tokens)
