"""The interface of every task: training batches, a curriculum, held-out data and metrics."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, cast

import torch
from torch import Tensor

from snaprun.checks import refuse
from snaprun.losses import Loss, Measure, SoftmaxCrossEntropy
from snaprun.losses.measures import declared
from snaprun.metrics import Metric
from snaprun.tasks import local


@dataclass(frozen=True)
class Batch:
    """A minibatch of sequences: T time steps × B lanes, one token per step and lane."""

    inputs: Tensor  # (T, B) int64 indices of one-hot inputs, or (T, B, a) float
    targets: Tensor  # (T, B) int64 classes, or (T, B, O) numbers; 0 where mask is False
    mask: Tensor  # (T, B) bool: the step has a target
    resets: Tensor  # (T, B) bool: a sequence begins here; state and influence are zeroed before it
    ends: bool = True  # False for a piece that is not the last one of its batch
    # (T, B, O): the outputs of a simple answer, such as the persistence forecast, to compare with
    baseline: Tensor | None = None

    def to(self, device: torch.device | str) -> "Batch":
        """Return the same batch with all tensors on `device`."""
        return self._each(lambda tensor: tensor.to(device), self.ends)

    def piece(self, first: int, steps: int) -> "Batch":
        """Return the steps from `first` on, `steps` of them or as many as there are.

        Training on all pieces in order gives the same result as training on the whole batch.
        """
        last = first + steps
        return self._each(lambda tensor: tensor[first:last], self.ends and last >= len(self.mask))

    def _each(self, of: Callable[[Tensor], Tensor], ends: bool) -> "Batch":
        tensors = {name: of(x) for name, x in vars(self).items() if isinstance(x, Tensor)}
        return replace(self, **tensors, ends=ends)


class Evaluation(Protocol):
    """The network with frozen weights, as a task asks it about held-out batches."""

    def __call__(self, batches: Iterator[Batch], /) -> float:
        """Return the mean loss over all targets, in reported units."""
        ...

    def metrics(self, batches: Iterator[Batch], /) -> dict[str, float]:
        """Return the loss, the task's measures, and those of the batches' baseline, by column."""
        ...


class _Declared:
    """The metrics of the loss and the measures that a task, or a class of tasks, has."""

    def __get__(self, task: "Task | None", kind: "type[Task]") -> tuple[Metric, ...]:
        of = kind if task is None else task
        return declared(of.loss, of.measures)


class Task(ABC):
    """A stream of sequences to learn online; the constructor's arguments are its config keys."""

    inputs: int  # a, the width of the (one-hot) input
    one_hot: bool = True  # whether inputs are indices; False: numbers
    outputs: int  # the width of the readout; for a loss over classes, the number of classes
    loss: Loss = SoftmaxCrossEntropy()
    held_out_lanes: int = 0  # the most lanes of a held-out batch
    measures: tuple[Measure, ...] = ()  # what rows tell beside the loss, in training and held out
    # The metrics that figures and panels use: those of the loss and the measures, unless a task
    # lists its own. The first is what runs are compared by, with those that it is `shown` with.
    declared: tuple[Metric, ...] = cast(Any, _Declared())
    length_key: str = ""  # the argument that sets the length of a batch, if there is one
    # The arguments that may name a file, each with the fact that holds the sha256 of the file.
    files: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def batch(self, lanes: int, generator: torch.Generator) -> Batch:
        """Return the next training minibatch of `lanes` lanes, drawn with `generator` alone."""

    def steps(self) -> int:
        """Return the most time steps that the next batch can have, without drawing the batch."""
        return 1

    @property
    def chance(self) -> float:
        """The loss, in reported units, of a guess that knows nothing of the data.

        If the loss does not know it, as of mean squared errors, a task overrides it with the loss
        of its best constant guess; otherwise none of its runs counts as blown up.
        """
        return self.loss.reported(self.loss.chance(self.outputs))

    def prepare(self, lanes: int) -> None:
        """Check `lanes`, the lanes of all batches to come, before the run writes any file."""
        del lanes

    def observe(self, loss: float) -> None:
        """Take the mean loss of the last minibatch, in reported units, for a curriculum to use."""
        del loss

    def metrics(self) -> dict[str, float]:
        """Return the task's own columns of a metric row."""
        return {}

    def validation(self, tokens: int | None) -> Iterator[Batch] | None:
        """Return held-out batches of about `tokens` tokens (None: all), the same at every call.

        Returns None if the task has no held-out data. Batches differ in size: weigh by their mask.
        """
        del tokens
        return None

    def held_out(self, loss: Evaluation, tokens: int | None) -> dict[str, float]:
        """Return the metrics of frozen weights on held-out data, the same at every call.

        `loss` gives the mean loss, and all metrics, of the network on batches. `tokens` is the
        argument of `validation`.
        """
        batches = self.validation(tokens)
        return {} if batches is None else loss.metrics(batches)

    def facts(self) -> dict[str, object]:
        """Return what identifies the data, for summary.json; names of checksums end in _sha256."""
        return {}

    @classmethod
    def sha256(cls, name: str) -> str | None:
        """Return the sha256 that the file which one of `files` names has now; None: unreadable.

        A later launch of the same run refuses a file whose sha256 is no longer that of the facts.
        """
        return local.sha256(name)

    def state_dict(self) -> dict[str, Any]:
        """Return, as ints and tensors, what the next batch depends on besides the generator."""
        return {}

    def load_state_dict(self, state: Any, drawn: int | None = None) -> None:
        """Continue from a `state_dict()` of a task with the same arguments.

        `drawn` is the number of time steps of all batches so far, or None if it is unknown. Raises
        ValueError if a task with these arguments cannot have this state after `drawn` steps.
        """
        del drawn
        if state != {}:
            raise ValueError("task mismatch: expected no state.")


def require_lanes(lanes: int, began: int) -> None:
    """Raise UserError if a stream that `began` with other lanes (0: not yet) is to have `lanes`."""
    if began not in (0, lanes):
        remedy = "A stream keeps the lanes that it began with."
        refuse("train.lanes", lanes, str(began), remedy)
