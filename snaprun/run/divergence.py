"""When a run has diverged: a number is none, or the loss stays far above that of chance.

Both are looked for at the end of every minibatch, so what is found depends neither on the rows that
are logged nor on where a run was stopped.
"""

import math
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from snaprun.losses import Loss
from snaprun.require import require_count, require_entries, require_number
from snaprun.store import BLOW_UP, NON_FINITE

FACTOR = 4.0  # times the bits of chance
WINDOW = 50  # updates, at least, over which the loss is averaged
STRETCH = 1000  # updates without a window below FACTOR at the end of a run, or, of a short one,
SHARE = 0.1  # of all its updates


@dataclass(frozen=True)
class Diverged:
    """How a run diverged; `words` end before the token."""

    token: int
    by: str  # NON_FINITE | BLOW_UP
    words: str


@dataclass
class Watch:
    """The losses of a run in windows of updates, each ending with a minibatch; in checkpoints.

    A run has blown up if at its end the mean loss of every window has been at least FACTOR times
    that of chance for STRETCH updates, or for SHARE of all if those are fewer. The verdict falls
    when the run has reached its tokens: it never stops a run, so none that would recover.
    """

    begun_at: int = 0  # data-time where the open window began
    begun_updates: int = 0  # updates by then
    bits: float = 0.0  # in the open window
    targets: int = 0  # in the open window
    calm_at: int = 0  # data-time where the last window below FACTOR ended
    calm_updates: int = 0  # updates by then

    @classmethod
    def from_state_dict(cls, saved: Any, tokens: int, updates: int) -> "Watch":
        """The watch whose fields are `saved`, of a run at `tokens`; ValueError where they are none.

        None stands for a run that was not watched up to there.
        """
        if saved is None:
            return cls(tokens, updates, 0.0, 0, tokens, updates)
        require_entries("watch", saved, [f.name for f in fields(cls)])
        require_number("watch.bits", saved["bits"], least=0)
        require_count("watch.targets", saved["targets"], most=tokens)
        for counter, most in (("at", tokens), ("updates", updates)):
            require_count(f"watch.begun_{counter}", saved[f"begun_{counter}"], most=most)
            most = saved[f"begun_{counter}"]
            require_count(f"watch.calm_{counter}", saved[f"calm_{counter}"], most=most)
        return cls(**saved)

    def count(self, bits: float, targets: int, *, chance: float, tokens: int, updates: int) -> None:
        """Take a minibatch that ended at `tokens` after `updates`; `chance` is in bits a target."""
        self.bits, self.targets = self.bits + bits, self.targets + targets
        if updates - self.begun_updates < WINDOW or not self.targets:
            return
        if self.bits < FACTOR * chance * self.targets:
            self.calm_at, self.calm_updates = tokens, updates
        self.begun_at, self.begun_updates, self.bits, self.targets = tokens, updates, 0.0, 0

    def verdict(self, updates: int, chance: float, loss: Loss) -> Diverged | None:
        """Whether a run that ends after so many updates has blown up, and since when."""
        above = self.begun_updates - self.calm_updates
        if not self.begun_updates and self.bits >= FACTOR * chance * max(self.targets, 1):
            above = updates  # of a run too short for a window
        if above and above >= min(STRETCH, SHARE * updates):
            words = f"{loss.training.key} stayed above {FACTOR * chance:g} {loss.unit}, "
            words += f"{FACTOR:g} times chance, from"
            return Diverged(self.calm_at, BLOW_UP, words)
        return None


def non_finite(nats_TB: Tensor, bits: float, finite: bool, tokens: int) -> Diverged | None:
    """What is no number after a minibatch that began at `tokens`: a loss, or a parameter.

    `bits` is the sum of the losses as reported, `finite` says that all parameters are numbers.
    """
    if not math.isfinite(bits):
        total = nats_TB.flatten().cumsum(0, dtype=torch.float64)
        first = int((~total.isfinite()).nonzero()[0])
        return Diverged(tokens + first, NON_FINITE, "the loss became non-finite at")
    if not finite:
        words = "a parameter became non-finite by"
        return Diverged(tokens + nats_TB.numel(), NON_FINITE, words)
    return None
