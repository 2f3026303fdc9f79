"""Which engine trains a run: the C++ one where it can, else PyTorch's."""

import logging
from typing import Any, Protocol

from torch import Generator, Tensor

from snaprun import checks
from snaprun.rules import LearningRule
from snaprun.tasks import Batch
from snaprun.train import native
from snaprun.train.engine import TorchEngine
from snaprun.train.machine import Machine
from snaprun.train.network import Network
from snaprun.train.optim import Optimiser

log = logging.getLogger(__name__)


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
        """Train on a batch or a piece of one; the losses in nats, shape (T, B)."""
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

    def start(self) -> None:
        """Be as before the first step, on the network as it is now."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """A copy of all that training goes on from, in the form of snaprun.train.saved."""
        ...

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on where `saved` was taken; ValueError, and no use of this engine, if it cannot."""
        ...


def takes_native(machine: Machine, lacks: str | None) -> bool:
    """Whether the C++ engine trains a run; `lacks` says in words why it cannot, None if it can."""
    return machine.engine != "torch" and machine.influence not in ("naive", "torch") and not lacks


def build(
    machine: Machine,
    network: Network,
    rule: LearningRule,
    optimiser: Optimiser,
    *,
    lanes: int,
    update_every: int | str,
    noise: Generator,
    average: float | None = None,
) -> Engine:
    """The engine that `machine.engine` asks for; UserError where native is asked for in vain.

    `auto` takes the native one where it supports the run, else says once why it does not. An
    influence backend that is named is one of the torch engine's.
    """
    reason = native.supports(network, rule, optimiser)
    if machine.influence in ("naive", "torch"):
        reason = f"influence={machine.influence} is a backend of the torch engine"
    elif reason and machine.engine == "auto":
        log.warning("engine=auto takes the torch engine: %s.", reason)
    if machine.engine == "native" and reason:
        checks.refuse("engine", "native", f"auto or torch: {reason}")
    if not takes_native(machine, reason):
        return TorchEngine(
            network,
            rule,
            optimiser,
            lanes=lanes,
            update_every=update_every,
            noise=noise,
            backend=machine.backend,
            average=average,
        )
    return native.NativeEngine(
        network,
        rule,
        optimiser,
        lanes=lanes,
        update_every=update_every,
        noise=noise,
        threads=machine.threads,
        average=average,
    )
