"""What every task offers: training batches, a curriculum, held-out data, and what is recorded."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from snaprun.losses import Loss, SoftmaxCrossEntropy
from snaprun.metrics import Metric


@dataclass(frozen=True)
class Batch:
    """A minibatch of sequences: T time steps × B lanes, one token per step and lane."""

    inputs: Tensor  # (T, B) int64 indices of one-hot inputs, or (T, B, a) float
    targets: Tensor  # (T, B) int64 classes, or (T, B, O) numbers; 0 where mask is False
    mask: Tensor  # (T, B) bool: the step has a target
    resets: Tensor  # (T, B) bool: a sequence begins here; state and influence are zeroed before it
    ends: bool = True  # with its last step; False for a piece with more of the batch to come

    def to(self, device: torch.device | str) -> "Batch":
        """Return the same batch with all four tensors on `device`."""
        return Batch(
            self.inputs.to(device),
            self.targets.to(device),
            self.mask.to(device),
            self.resets.to(device),
            self.ends,
        )

    def piece(self, first: int, steps: int) -> "Batch":
        """Return the steps from `first` on, `steps` of them or as many as there are.

        Training on the pieces one after another is training on the whole.
        """
        last = first + steps
        return Batch(
            self.inputs[first:last],
            self.targets[first:last],
            self.mask[first:last],
            self.resets[first:last],
            self.ends and last >= len(self.mask),
        )


class Task(ABC):
    """A stream of sequences to learn online; the constructor's arguments are its config keys."""

    inputs: int  # a, the width of the (one-hot) input
    outputs: int  # of the readout; for a loss of classes, how many there are
    loss: Loss = SoftmaxCrossEntropy()
    held_out_lanes: int = 0  # of a held-out batch, at most
    declared: tuple[Metric, ...] = ()  # its metrics, as figures and panels take them
    length_key: str = ""  # the argument that says how long a batch is, where there is one

    @abstractmethod
    def batch(self, lanes: int, generator: torch.Generator) -> Batch:
        """Return the next training minibatch of `lanes` lanes; all randomness is `generator`'s."""

    def steps(self) -> int:
        """Return the time steps of the longest batch that is known to come; nothing is drawn."""
        return 1

    @property
    def chance(self) -> float:
        """The loss, as reported, of a guess that gives all classes the same probability."""
        return math.log2(self.outputs)

    def prepare(self, lanes: int) -> None:
        """Take notice, before anything is written, that batches will have `lanes` lanes."""
        del lanes

    def observe(self, loss: float) -> None:
        """Take the mean loss, as reported, of the last minibatch; a curriculum moves by it."""
        del loss

    def metrics(self) -> dict[str, float]:
        """Return the task's own columns of a metric row."""
        return {}

    def validation(self, tokens: int | None) -> Iterator[Batch] | None:
        """Return held-out batches of about `tokens` tokens (None: all), the same at every call.

        None when the task has no held-out data. Batches differ in size: weigh by their mask.
        """
        del tokens
        return None

    def held_out(
        self, loss: Callable[[Iterator[Batch]], float], tokens: int | None
    ) -> dict[str, float]:
        """Return the metrics of frozen weights on held-out data, the same at every call.

        `loss` gives the mean loss, as reported, of the network on batches; `tokens` is as of
        `validation`.
        """
        batches = self.validation(tokens)
        return {} if batches is None else {self.loss.held_out.key: loss(batches)}

    def facts(self) -> dict[str, object]:
        """Return what identifies the data, for summary.json."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return what the next batch depends on besides the generator, as ints and tensors."""
        return {}

    def load_state_dict(self, state: Any, drawn: int | None = None) -> None:
        """Continue from a `state_dict()` of a task with the same arguments.

        `drawn` is the number of time steps of all batches so far, where it is known. Raises
        ValueError for a state that no such task can be in by then.
        """
        del drawn
        if state != {}:
            raise ValueError("task mismatch: expected no state.")
