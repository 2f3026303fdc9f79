"""The machine chooses a device, a precision, a number of threads and an engine."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, get_args

import torch

from snaprun import checks, hardware
from snaprun.engine.base import Engine
from snaprun.engine.native import NativeEngine, supports
from snaprun.engine.optim import Optimiser
from snaprun.engine.torch import TorchEngine
from snaprun.influence import choose, native
from snaprun.model.network import Network
from snaprun.rules import LearningRule

log = logging.getLogger(__name__)

Device = Literal["cpu", "cuda", "auto"]
Precision = Literal["float32", "float64"]
EngineName = Literal["auto", "native", "torch"]
DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in get_args(Precision)}


class Machine:
    """The device, precision, threads and engine of a computation, and its seed.

    Its arguments are keys that commands share. `influence` is the backend of the influence matrix,
    by name. Raises UserError for a value that this machine does not support.

    >>> machine = Machine(seed=1, dtype="float64")
    >>> machine.seed, machine.device, machine.dtype, machine.threads, machine.engine
    (1, 'cpu', torch.float64, 1, 'auto')
    """

    def __init__(
        self,
        seed: int = 0,
        device: Device = "cpu",
        dtype: Precision = "float32",
        threads: int = 1,
        influence: str = "auto",
        engine: EngineName = "auto",
    ):
        self.seed = checks.at_least("seed", seed, 0, most=2**63 - 1)
        checks.one_of("device", device, get_args(Device))
        if device == "cuda" and not torch.cuda.is_available():
            checks.refuse("device", device, "cpu or auto on a machine without a CUDA device")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = device
        self.dtype = DTYPES[checks.one_of("dtype", dtype, list(DTYPES))]
        self.threads = checks.at_least("threads", threads, 1, most=1024)
        native.require_isa()
        self.influence = influence
        self.backend = choose(influence, device)
        self.engine = checks.one_of("engine", engine, get_args(EngineName))

    def start(self) -> None:
        """Set the number of threads of this process."""
        use_threads(self.threads)


def use_threads(threads: int) -> None:
    """Set the number of threads of PyTorch and of the C++ core, at most the number of cores.

    If the system cannot start so many threads, fewer are set, because OpenMP would end the process.
    """
    torch.set_num_threads(_startable(threads))


def _startable(threads: int) -> int:
    return native.startable_threads(min(threads, hardware.cores()))


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Make PyTorch treat denormal numbers as zero inside the block, as the C++ core always does.

    The traces of rare inputs decay into denormal numbers, and an operation on one takes a CPU a
    hundred times as long. The mode belongs to the thread; it is restored afterwards.
    """
    # PyTorch has no function that returns the mode.
    before = not (torch.tensor(torch.finfo(torch.float64).tiny, dtype=torch.float64) * 0.5).item()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def as_in_a_run(threads: int) -> Callable[[], AbstractContextManager[None]]:
    """Return a context in which PyTorch computes as in a run on so many threads, bit by bit."""
    most = _startable(threads)

    @contextmanager
    def computing() -> Iterator[None]:
        before = torch.get_num_threads()
        torch.set_num_threads(most)
        try:
            with denormals_flushed():
                yield
        finally:
            torch.set_num_threads(before)

    return computing


def takes_native(machine: Machine, lacks: str | None) -> bool:
    """Return whether the C++ engine trains a run; `lacks` is in words why it cannot, or None."""
    return machine.engine != "torch" and machine.influence not in ("naive", "torch") and not lacks


def build_engine(
    machine: Machine,
    network: Network,
    rule: LearningRule,
    optimiser: Optimiser,
    **options: Any,
) -> Engine:
    """Build the engine that `engine_kind` returns; `options` are further arguments of Engine."""
    kind = engine_kind(machine, network, rule, optimiser)
    given = {"backend": machine.backend, "threads": machine.threads}
    return kind(network, rule, optimiser, **given, **options)


def engine_kind(
    machine: Machine, network: Network, rule: LearningRule, optimiser: Optimiser
) -> type[Engine]:
    """Return the class of the engine that `machine.engine` names.

    "auto" is the native engine if it supports the run, else the torch engine with a warning that
    says why. Naming the influence backend "naive" or "torch" chooses the torch engine. Raises
    UserError if "native" is named and the native engine does not support the run.
    """
    reason = supports(network, rule, optimiser)
    if machine.influence in ("naive", "torch"):
        reason = f"influence={machine.influence} is a backend of the torch engine"
    elif reason and machine.engine == "auto":
        log.warning("engine=auto takes the torch engine: %s.", reason)
    if machine.engine == "native" and reason:
        checks.refuse("engine", "native", f"auto or torch: {reason}")
    return NativeEngine if takes_native(machine, reason) else TorchEngine
