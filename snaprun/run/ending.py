"""What ends a run before its tokens: the best value so far of the task's own metric."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from snaprun import checks
from snaprun.metrics import Metric, judged_by
from snaprun.require import mismatch, require_count, require_number
from snaprun.run.course import stored, taken
from snaprun.run.options import TrainOptions
from snaprun.tasks import Batch, Task


@dataclass
class Best:
    """The best value so far of the task's own metric on held-out data; checkpoints store it.

    The metric is the first one on held-out data that the task declares. An equal value is no
    improvement, and a value that is not finite never is one.
    """

    metric: str = ""  # its key
    value: float | None = None  # None: there is none yet
    tokens: int = 0  # data-time of the best value
    stale: int = 0  # validations since then

    def take(self, metric: Metric | None, values: Mapping[str, float], tokens: int) -> bool:
        """Take the `values` of a validation, and return whether `metric` has improved."""
        if metric is None:
            return False
        value = values[metric.key]
        old = -math.inf if self.value is None else self.value * metric.better
        if not (math.isfinite(value) and value * metric.better > old):
            self.stale += 1
            return False
        self.metric, self.value, self.tokens, self.stale = metric.key, float(value), tokens, 0
        return True

    def told(self) -> dict[str, Any]:
        """Return the entry of a summary's extras, if there is a best value."""
        own = {"metric": self.metric, "value": self.value, "tokens": self.tokens}
        return {} if self.value is None else {"best": own}

    def state_dict(self) -> dict[str, Any]:
        """Return all fields."""
        return stored(vars(self))

    @classmethod
    def from_state_dict(cls, saved: Any, tokens: int) -> "Best":
        """Rebuild the best of a run at `tokens` from `saved`; None: it was not followed so far.

        Raises ValueError if `saved` does not fit such a run.
        """
        if saved is None:
            return cls()
        saved = taken("best", saved, cls)
        if saved["value"] is not None:
            require_number("best.value", saved["value"])
        if type(saved["metric"]) is not str:
            mismatch("best.metric", "a word", type(saved["metric"]).__name__)
        for name in ("tokens", "stale"):
            require_count(f"best.{name}", saved[name], most=tokens)
        return cls(**saved)


def held_out(task: Task, options: TrainOptions) -> set[str]:
    """Return the keys of the held-out metrics that a run of a prepared task has."""
    return set(task.held_out(_Unasked(task), options.eval_tokens))


def require_judged(task: Task, options: TrainOptions) -> None:
    """Raise UserError if `options` ask for patience and no held-out metric can be judged."""
    if options.patience is None:
        return
    if judged_by(task.declared, held_out(task, options)) is None:
        accepted = "null for a task that declares and holds out no metric"
        checks.refuse("train.patience", options.patience, accepted)


@dataclass
class _Unasked:
    """Answers for a network that nobody asks, to learn which metrics the task would report."""

    task: Task

    def __call__(self, batches: Iterable[Batch], /) -> float:
        """Return an infinite loss."""
        return math.inf

    def metrics(self, batches: Iterable[Batch], /) -> dict[str, float]:
        """Return one for every metric."""
        return {metric.key: math.inf for metric in self.task.declared}
