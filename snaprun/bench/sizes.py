"""What is measured: the sizes of issue 3's table, and smaller ones for a quick run."""

from dataclasses import dataclass

from snaprun.bench.interleave import Budget
from snaprun.bench.problem import Net


@dataclass(frozen=True)
class Kernel:
    """One step of SnAp-2's influence matrix on this many lanes."""

    net: Net
    lanes: int
    n: int = 2


@dataclass(frozen=True)
class Step:
    """Whole online steps of several rules on one network; `bptt/128` updates once in 128 steps."""

    net: Net
    lanes: int
    rules: tuple[str, ...]
    autograd: bool = True  # beside torch.nn


@dataclass(frozen=True)
class Growth:
    """One axis along which step time and memory grow."""

    axis: str  # units | n
    nets: tuple[Net, ...]
    rules: tuple[str, ...]
    lanes: int = 16


@dataclass(frozen=True)
class Sizes:
    """All that a run of the bench measures."""

    budget: Budget
    kernel: tuple[Kernel, ...]
    threads: tuple[Kernel, ...]  # two threads against one
    step: tuple[Step, ...]
    published: tuple[Net, ...]  # beside the times of the public JAX implementation
    growth: tuple[Growth, ...]
    memory: tuple[tuple[Net, int], ...]  # network and lanes
    side: int = 1024  # of the sgemm


GRU128, GRU256 = Net("gru", 128, 0.75), Net("gru", 256, 0.9375)
ONLINE = ("frozen", "bptt/1", "rflo", "uoro", "snap1", "snap2")
SEQUENCE = ("snap1/128", "bptt/128")


def tanh(units: int, level: float) -> Net:
    """The tanh network of the published times: 16 dense inputs, 16 outputs, linear readout."""
    return Net("vanilla", units, level, inputs=16, outputs=16, hidden=0)


_KERNEL = (
    Kernel(GRU128, 16),
    Kernel(Net("vanilla", 256, 0.75), 16),
    Kernel(GRU256, 16),
    Kernel(Net("gru", 512, 0.984375), 16),
    Kernel(Net("lstm", 256, 0.9375), 16),
    Kernel(GRU256, 1),
)
_PUBLISHED = (tanh(128, 0.9375), tanh(128, 0.75), tanh(256, 0.9375), tanh(256, 0.75))

FULL = Sizes(
    budget=Budget(seconds=6, visit=0.05, least=7),
    kernel=_KERNEL,
    threads=(Kernel(GRU128, 16),),
    step=(
        Step(GRU128, 16, ONLINE + SEQUENCE),
        Step(GRU128, 1, ONLINE + SEQUENCE),
        Step(GRU256, 16, ("snap1", "snap2"), autograd=False),
        Step(Net("lstm", 128, 0.75), 16, ("snap1", *SEQUENCE)),
        Step(Net("lstm", 128, 0.75), 1, ("snap1", *SEQUENCE)),
        Step(Net("vanilla", 128, 0.75), 16, ("snap1", *SEQUENCE)),
        Step(Net("vanilla", 128, 0.75), 1, ("snap1", *SEQUENCE)),
    ),
    published=_PUBLISHED,
    growth=(
        Growth(
            "units",
            (Net("gru", 64, 0), GRU128, GRU256, Net("gru", 512, 0.984375)),
            ("snap1", "snap2", "bptt/128"),
        ),
        Growth("n", (GRU128,), ("snap1", "snap2", "snap3", "bptt/128")),
    ),
    memory=((GRU128, 16),),
)

QUICK = Sizes(
    budget=Budget(seconds=0.5, visit=0.01, least=3),
    kernel=_KERNEL,
    threads=(Kernel(GRU128, 16),),
    step=(
        Step(GRU128, 16, ONLINE + SEQUENCE),
        Step(GRU128, 1, ("snap1", *SEQUENCE)),
        Step(GRU256, 16, ("snap2",), autograd=False),
    ),
    published=_PUBLISHED,
    growth=(
        Growth(
            "units",
            (Net("gru", 32, 0), Net("gru", 64, 0.75), Net("gru", 128, 0.9375)),
            ("snap1", "snap2", "bptt/128"),
        ),
        Growth("n", (Net("gru", 64, 0.75),), ("snap1", "snap2", "snap3", "bptt/128")),
    ),
    memory=((GRU128, 16),),
)
