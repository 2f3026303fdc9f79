"""The interface of an engine."""

from typing import Any, Protocol

from torch import Tensor

from snaprun.model.network import Network
from snaprun.rules import LearningRule
from snaprun.tasks import Batch


class Engine(Protocol):
    """The training loop calls an engine through this interface; TorchEngine specifies it."""

    network: Network
    rule: LearningRule
    in_core: bool  # whether the C++ core does the work

    @property
    def isa(self) -> str:
        """The instruction sets on which the computed numbers depend."""
        ...

    @property
    def updates(self) -> int:
        """The number of steps that the optimiser has made."""
        ...

    @property
    def finite(self) -> bool:
        """Whether all parameters were finite when `run` last returned."""
        ...

    @property
    def longest_window(self) -> int:
        """The largest number of steps between two updates so far."""
        ...

    @property
    def rule_bytes(self) -> int:
        """The most bytes that the rule has kept at the end of a window so far."""
        ...

    def run(self, batch: Batch) -> Tensor:
        """Train on a batch, or on a piece of one, and return the losses, shape (T, B)."""
        ...

    def measure(self) -> None:
        """Record the length of the open window and the bytes that the rule keeps."""
        ...

    def average(self) -> list[Tensor] | None:
        """Return a copy of the averaged parameters; None if none is kept or before an update."""
        ...

    def update(self) -> None:
        """End the window here: the optimiser steps if the window had a target."""
        ...

    def reset(self) -> None:
        """Return to the state before the first step, with the network as it is now."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of everything needed to continue, in the form of snaprun.engine.saved."""
        ...

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue from `saved`, a `state_dict`.

        Raises ValueError if `saved` does not fit; the engine is then unusable.
        """
        ...
