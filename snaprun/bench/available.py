"""The backends and engines that can be timed here; no other file knows how they differ."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any

import torch

from snaprun.engine.optim import Adam
from snaprun.engine.torch import TorchEngine
from snaprun.influence import BACKENDS, native
from snaprun.model.network import Network
from snaprun.rules import LearningRule
from snaprun.seeding import stream

NATIVE = "native"
TIMED = ("torch", NATIVE)  # the backend naive is a specification and is not timed
LR = 1e-6  # so small that the parameters hardly move, however long the measurement takes


@dataclass(frozen=True)
class Engine:
    """An engine by name; `refusal` says why the engine cannot run something (None: it can)."""

    name: str
    build: Callable[..., Any]
    refusal: Callable[[Network, LearningRule, Adam], str | None]
    refused: dict[str, str] = field(default_factory=dict)  # what it cannot run, and why

    def start(
        self,
        network: Network,
        rule: LearningRule,
        lanes: int,
        update_every: int | str,
        seed: int,
        lr: float = LR,
    ) -> Any | None:
        """Build the engine with Adam on this network; None if it cannot run the combination."""
        optimiser = Adam(lr=lr)
        reason = self.refusal(network, rule, optimiser)
        if reason is not None:
            cell = type(network.core.cell).__name__
            self.refused[f"{cell}, {type(rule).__name__}"] = reason
            return None
        return self.build(
            network,
            rule,
            optimiser,
            lanes=lanes,
            update_every=update_every,
            noise=stream(seed, "noise"),
        )


def backends() -> dict[str, ModuleType]:
    """Return the installed backends by name."""
    return {name: BACKENDS[name] for name in TIMED if name in BACKENDS}


def engines() -> dict[str, Engine]:
    """Return the installed engines by name, each with as many threads as PyTorch has."""
    on_torch = partial(TorchEngine, backend=BACKENDS["torch"])
    found = {"torch": Engine("torch", on_torch, lambda *_: None)}
    module = _native_engine()
    if module is not None:
        threads = torch.get_num_threads()
        build = partial(module.NativeEngine, threads=threads)
        found[NATIVE] = Engine(NATIVE, build, module.supports)
    return found


def stored(backend: ModuleType, J: Any) -> int:
    """Return how many numbers the storage of J has, padding included."""
    return sum(part.numel() for part in backend.tensors(J))


def native_isa() -> str | None:
    """Return the instruction set that the C++ extension chose, None if it was not built.

    Raises UserError if SNAPRUN_ISA asks for a set that is not available.
    """
    native.require_isa()
    return native.isa() if native.available() else None


def missing() -> list[str]:
    """Return one line for each backend or engine that is left out because it is not installed."""
    lines = []
    if NATIVE not in BACKENDS:
        lines.append("influence=native is not installed: left out of the kernel.")
    if _native_engine() is None:
        lines.append("engine=native is not installed: left out of the step and its growth.")
    return lines


def _native_engine() -> ModuleType | None:
    try:
        importlib.import_module("snaprun._native")
        return importlib.import_module("snaprun.engine.native")
    except ImportError:
        return None
