"""The base of the engines: what an engine is built from, and how the training loop calls it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

import torch
from numpy import ndarray
from torch import Generator, Tensor

from snaprun import checks
from snaprun.engine.optim import Optimiser
from snaprun.engine.saved import require_fit, require_window, set_noise
from snaprun.influence import choose
from snaprun.model.network import Network
from snaprun.require import MOST, require_equal
from snaprun.rules import LearningRule
from snaprun.rules.bptt import bounded
from snaprun.tasks import Batch

SEQUENCE = "sequence"


@dataclass
class Begun:
    """A batch in progress: its first `steps` time steps are done.

    `losses_TB` holds the losses of the finished steps. `outputs_TBO` are their outputs, if they are
    asked for.
    """

    batch: Batch
    losses_TB: Tensor
    steps: int = 0
    outputs_TBO: Tensor | None = None

    def take(self, t: int, loss_B: Tensor, outputs_BO: Tensor) -> None:
        """Take the loss and the outputs of step t."""
        self.losses_TB[t] = loss_B
        if self.outputs_TBO is not None:
            self.outputs_TBO[t] = outputs_BO


class Engine(ABC):
    """Trains a network on batches of sequences, one time step at a time.

    After `update_every` steps, or at the end of every batch for "sequence", the optimiser steps
    along the mean gradient over the (lane, step) pairs with a target since the last update; a
    window without a target makes no update. The network's state and the rule's state are carried
    across updates and batches, and are zeroed only in lanes where a sequence begins. `noise`
    is the rule's generator, `average` the decay of the average of the parameters (None: no average
    is kept). `backend`, the module that stores the influence matrix (None: the fastest), is for
    TorchEngine alone, and `threads` for NativeEngine. TorchEngine specifies NativeEngine.

    Raises UserError if the rule needs another core or another `update_every`.
    """

    in_core: ClassVar[bool]  # whether the C++ core does the work
    isa: str  # the instruction sets on which the computed numbers depend
    steps: int  # time steps since the last update
    targets: int  # (lane, step) pairs with a target since the last update
    updates: int  # the number of steps that the optimiser has made
    longest_window: int  # the largest number of steps between two updates so far
    # The most bytes that the rule has kept so far, measured at the ends of windows; of a rule that
    # replays, measured all the time.
    rule_bytes: int

    def __init__(
        self,
        network: Network,
        rule: LearningRule,
        optimiser: Optimiser,
        *,
        lanes: int,
        update_every: int | str,
        noise: Generator,
        average: float | None = None,
        backend: ModuleType | None = None,
        threads: int = 1,
    ):
        rule.require_core(network.core)
        if rule.once_a_sequence and update_every != SEQUENCE:
            checks.refuse(
                "train.update_every",
                update_every,
                f"{SEQUENCE} for the rule {type(rule).__name__}",
                f"Set train.update_every={SEQUENCE}.",
            )
        if rule.adapts and len(network.readout.parameters) > 2:
            remedy = "Set readout=linear, or rule.feedback=random."
            accepted = "a linear readout for feedback that adapts to its weights"
            checks.refuse("readout", "mlp", accepted, remedy)
        self.network, self.rule, self.optimiser = network, rule, optimiser
        self.replaying = bounded(rule)  # the rule, if it replays
        self.lanes, self.update_every, self.noise = lanes, update_every, noise
        self.decay, self.backend, self.threads = average, backend or choose("auto"), threads
        self.reset()

    @property
    def finite(self) -> bool:
        """Whether all parameters were finite when `run` last returned."""
        return self.network.finite

    def run(self, batch: Batch, outputs_TBO: Tensor | None = None) -> Tensor:
        """Train on a batch, or on a piece of one.

        A batch may be cut into pieces anywhere: the results are the same bit by bit. Returns the
        loss of every step, computed before the update of that step, shape (T, B). The outputs that
        the loss is computed from are written to `outputs_TBO`, of the network's dtype, if it is
        given; a step without a target in any lane has none, and leaves its entries as they are.
        """
        begun = self.begun(batch, outputs_TBO)
        while not self.done(begun):
            self.advance(begun, MOST)
        return begun.losses_TB

    def begun(self, batch: Batch, outputs_TBO: Tensor | None = None) -> Begun:
        """Return a batch of which no step is done."""
        losses_TB = torch.zeros_like(batch.mask, dtype=self.network.dtype)
        return Begun(batch, losses_TB, outputs_TBO=outputs_TBO)

    def done(self, begun: Begun) -> bool:
        """Return whether nothing is left to do for a batch."""
        return begun.steps == len(begun.batch.mask) and not self.owes

    @property
    def owes(self) -> bool:
        """Whether a window has had its last step, and its reverse pass is yet to be finished."""
        return False

    @property
    def state_bytes(self) -> tuple[int, int]:
        """The bytes of a hidden and of an internal state on the stack of a rule that replays."""
        return 0, 0

    def window_steps(self, left: int | None) -> int:
        """Return the steps of the window that begins, of a rule that replays.

        `left` is how many steps of the sequence are left, or None if that is not known. Raises
        ValueError if it is needed.
        """
        steps = left if self.update_every == SEQUENCE else self.update_every
        if not isinstance(steps, int):
            raise ValueError(
                "a rule that replays needs the whole sequence for update_every=sequence"
            )
        return steps

    @property
    def number_bytes(self) -> int:
        """The bytes of a number of every lane; where the rule replays, padded lanes count."""
        network = self.network
        return self.state_bytes[0] // network.core.states or self.lanes * network.dtype.itemsize

    @property
    def forwards(self) -> int | None:
        """The time steps that were made so far, replayed ones included; None: none is replayed."""
        return None

    @abstractmethod
    def advance(self, begun: Begun, steps: int) -> int:
        """Train on a batch in progress, as `run` does, for up to `steps` further steps of work.

        A step of work is a time step, or one that is replayed or reversed where the rule replays.
        Returns how many were done. Raises ValueError if the rule replays, updates come at the end
        of sequences, and the batch is a piece that is not the last one, whose length is unknown.
        """

    @abstractmethod
    def predict(self, inputs: ndarray, resets_B: ndarray | None = None) -> ndarray:
        """Advance the state by one step and return the outputs, shape (B, O).

        `inputs` are indices (B,) of one-hot inputs, int64, or numbers (B, a); a sequence begins in
        the lanes `resets_B`. The same step of `run` is `predict` and then `learn`, bit by bit.
        The returned array is the engine's own: the next call of `predict` may change its values.
        """

    @abstractmethod
    def learn(self, targets: ndarray | None = None, mask_B: ndarray | None = None) -> ndarray:
        """Take the targets of the predicted step and return its loss, shape (B,).

        `targets` are classes (B,), int64, or numbers (B, O), in the lanes `mask_B` (None: in all);
        without targets the step has none. The optimiser steps if the window is full. The returned
        array is the engine's own, as in `predict`. Raises ValueError if no predicted step waits.
        """

    @property
    @abstractmethod
    def predicted(self) -> bool:
        """Whether a predicted step waits for its targets."""

    def require_settled(self) -> None:
        """Raise ValueError if a predicted step waits for its targets."""
        if self.predicted:
            raise ValueError("a prediction waits for learn or undo")

    @abstractmethod
    def undo(self) -> None:
        """Forget the predicted step that waits for its targets; the reset lanes stay reset.

        The same `predict`, with the same resets, then returns the same outputs, also in an engine
        that has loaded a `state_dict` made now.
        """

    @abstractmethod
    def measure(self) -> None:
        """Record the length of the open window and the bytes that the rule keeps."""

    @abstractmethod
    def average(self) -> list[Tensor] | None:
        """Return a copy of the averaged parameters; None if none is kept or before an update."""

    @abstractmethod
    def update(self) -> None:
        """End the window here: the optimiser steps if the window had a target."""

    @abstractmethod
    def reset(self) -> None:
        """Return to the state before the first step, with the network as it is now."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return a copy of everything needed to continue, in the form of snaprun.engine.saved."""

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue from `saved`, a `state_dict`.

        Raises ValueError if `saved` does not fit; the engine is then unusable.
        """
        require_fit(saved, self.state_dict(), self.update_every)
        if (reminder := self.network.core.reminder) is not None:
            bank, joined = saved["bank"], saved["steps"] // reminder.k_att
            require_equal("state.bank.older", bank["older"], len(bank["memories"]) - joined)
        if self.replaying:
            require_window(saved, self.network, self.state_bytes, self.update_every)
        self.network.load_state_dict(saved["network"])
        set_noise(self.noise, saved["noise"])
        self._load(saved)

    @abstractmethod
    def _load(self, saved: dict[str, Any]) -> None:
        """Take the rest of `saved`, which fits."""


def require_new(holds: bool) -> None:
    """Raise UserError if a lane `holds` memories of an earlier batch where the next one begins."""
    if holds:
        raise checks.UserError(
            "A lane continues the sequence of the batch before, and would keep ever more memories: "
            "expected a task whose sequences end with the batch, such as recall_after_delay, copy "
            "or digits."
        )
