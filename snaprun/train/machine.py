"""Where a computation runs and in which precision."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch

from snaprun import checks, hardware
from snaprun.influence import choose, native

Device = Literal["cpu", "cuda", "auto"]
Precision = Literal["float32", "float64"]
EngineName = Literal["auto", "native", "torch"]
DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in get_args(Precision)}


class Machine:
    """Where a computation runs and in which precision; the keys that every command shares."""

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
        """Set the threads of this process."""
        use_threads(self.threads)


def use_threads(threads: int) -> None:
    """Set the threads of PyTorch, by which the C++ core goes: no more than there are cores.

    Where the system does not start as many, OpenMP would end the process: it gets fewer.
    """
    torch.set_num_threads(native.startable_threads(min(threads, hardware.cores())))


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """PyTorch takes numbers too small for full precision as zero, as the C++ core does by itself.

    The traces of rare inputs decay into them, and a CPU takes a hundred times as long for each.
    The mode is the thread's, and is as before afterwards.
    """
    # PyTorch tells no other way.
    before = not (torch.tensor(torch.finfo(torch.float64).tiny, dtype=torch.float64) * 0.5).item()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
