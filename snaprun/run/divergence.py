"""A run has diverged if a number is not finite, or if the loss stays far above chance.

The loop looks for both at the end of every minibatch, so the finding depends neither on how often
rows are logged nor on where a run was stopped.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from snaprun.losses import Loss
from snaprun.require import require_count, require_number
from snaprun.run.course import stored, taken
from snaprun.store import BLOW_UP, NON_FINITE

FACTOR = 4.0  # a window is calm if its mean loss is below FACTOR times the loss of chance
WINDOW = 50  # a window lasts at least so many updates
STRETCH = 1000  # a run has blown up if its last STRETCH updates contain no calm window;
SHARE = 0.1  # in a short run, its last SHARE of all updates


@dataclass(frozen=True)
class Diverged:
    """How a run diverged; `because` is a sentence that the token completes."""

    at_token: int
    by: str  # NON_FINITE | BLOW_UP
    because: str


@dataclass
class Watch:
    """Watches the losses of a run in windows of updates; checkpoints store the fields.

    A window ends with a minibatch. A run has blown up if at its end every window of the last
    STRETCH updates, or of the last SHARE of all updates if those are fewer, had a mean loss of at
    least FACTOR times the loss of chance. The verdict is given only after the run has reached its
    tokens, so that it never stops a run that would recover.
    """

    begun_at: int = 0  # data-time where the open window began
    begun_updates: int = 0  # updates by then
    loss: float = 0.0  # in the open window, in reported units
    targets: int = 0  # in the open window
    calm_at: int = 0  # data-time where the last window below FACTOR ended
    calm_updates: int = 0  # updates by then

    def state_dict(self) -> dict[str, Any]:
        """Return all fields as numbers."""
        return stored(vars(self))

    @classmethod
    def from_state_dict(cls, saved: Any, tokens: int, updates: int) -> "Watch":
        """Rebuild the watch of a run at `tokens` from `saved`, a `state_dict`.

        If `saved` is None, the run was not watched so far, and watching begins now. Raises
        ValueError if `saved` does not fit such a run.
        """
        if saved is None:
            return cls(tokens, updates, 0.0, 0, tokens, updates)
        saved = taken("watch", saved, cls)
        require_number("watch.loss", saved["loss"], least=0)
        require_count("watch.targets", saved["targets"], most=tokens)
        for counter, most in (("at", tokens), ("updates", updates)):
            require_count(f"watch.begun_{counter}", saved[f"begun_{counter}"], most=most)
            most = saved[f"begun_{counter}"]
            require_count(f"watch.calm_{counter}", saved[f"calm_{counter}"], most=most)
        return cls(**saved)

    def count(self, loss: float, targets: int, *, chance: float, tokens: int, updates: int) -> None:
        """Count a minibatch that ended at `tokens` and `updates`; `chance` is per target."""
        self.loss, self.targets = self.loss + loss, self.targets + targets
        if updates - self.begun_updates < WINDOW or not self.targets:
            return
        if self.loss < FACTOR * chance * self.targets:
            self.calm_at, self.calm_updates = tokens, updates
        self.begun_at, self.begun_updates, self.loss, self.targets = tokens, updates, 0.0, 0

    def verdict(self, updates: int, chance: float, loss: Loss) -> Diverged | None:
        """Return how a run that ends after `updates` updates has blown up, or None."""
        above = self.begun_updates - self.calm_updates
        if not self.begun_updates and self.loss >= FACTOR * chance * max(self.targets, 1):
            above = updates  # of a run too short for a window
        if above and above >= min(STRETCH, SHARE * updates):
            level = f"{FACTOR * chance:g} {loss.unit}".rstrip()
            words = f"{loss.training.key} stayed above {level}, {FACTOR:g} times chance, from"
            return Diverged(self.calm_at, BLOW_UP, words)
        return None


def non_finite(losses_TB: Tensor, loss: float, finite: bool, tokens: int) -> Diverged | None:
    """Return how a minibatch that began at `tokens` made a loss or a parameter non-finite, or None.

    `loss` is the sum of the reported losses; `finite` says whether all parameters are finite.
    """
    if not math.isfinite(loss):
        total = losses_TB.flatten().cumsum(0, dtype=torch.float64)
        first = int((~total.isfinite()).nonzero()[0])
        return Diverged(tokens + first, NON_FINITE, "the loss became non-finite at")
    if not finite:
        words = "a parameter became non-finite by"
        return Diverged(tokens + losses_TB.numel(), NON_FINITE, words)
    return None
