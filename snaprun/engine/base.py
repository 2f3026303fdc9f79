"""What an engine is."""

from typing import Any, Protocol

from torch import Tensor

from snaprun.model.network import Network
from snaprun.rules import LearningRule
from snaprun.tasks import Batch


class Engine(Protocol):
    """What the training loop needs of an engine; TorchEngine is the specification."""

    network: Network
    rule: LearningRule
    in_core: bool  # the C++ core does the work

    @property
    def isa(self) -> str:
        """The instruction sets that the numbers depend on."""
        ...

    @property
    def updates(self) -> int:
        """Steps of the optimiser."""
        ...

    @property
    def finite(self) -> bool:
        """Whether all parameters were numbers when `run` last returned."""
        ...

    @property
    def longest_window(self) -> int:
        """Steps between updates, at most so far."""
        ...

    @property
    def rule_bytes(self) -> int:
        """The most that the rule has kept at the end of a window."""
        ...

    def run(self, batch: Batch) -> Tensor:
        """Train on a batch or a piece of one; the losses, shape (T, B)."""
        ...

    def measure(self) -> None:
        """Take note of the length of the window so far, and of what the rule keeps."""
        ...

    def average(self) -> list[Tensor] | None:
        """A copy of the average of the parameters; None where none is kept, or nothing updated."""
        ...

    def update(self) -> None:
        """End the window of updates here: the optimiser steps if there was a target."""
        ...

    def reset(self) -> None:
        """Be as before the first step, on the network as it is now."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """A copy of all that training goes on from, in the form of snaprun.engine.saved."""
        ...

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on where `saved` was taken; ValueError, and no use of this engine, if it cannot."""
        ...
