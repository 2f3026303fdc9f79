"""The sizes that the bench measures: those of a full run, and smaller ones for a quick run."""

from dataclasses import dataclass

from snaprun.bench.contenders import UPDATES
from snaprun.bench.interleave import Budget
from snaprun.bench.problem import CHARACTERS, COPY, Net
from snaprun.bench.roofline import SIDE


@dataclass(frozen=True)
class Kernel:
    """One step of the influence matrix of SnAp-n on `lanes` lanes."""

    net: Net
    lanes: int
    n: int = 2


@dataclass(frozen=True)
class Step:
    """Whole steps of several rules on one network; `bptt/128` updates once in 128 steps."""

    net: Net
    lanes: int
    rules: tuple[str, ...]
    autograd: bool = True  # whether torch.nn is timed too


@dataclass(frozen=True)
class Growth:
    """One axis along which step time and memory grow."""

    axis: str  # units | n
    nets: tuple[Net, ...]
    rules: tuple[str, ...]
    lanes: int = 16


@dataclass(frozen=True)
class Memory:
    """A network, and the rules for which the rule state is measured on it."""

    net: Net
    lanes: int
    rules: tuple[str, ...]


@dataclass(frozen=True)
class Sizes:
    """Everything that a run of the bench measures."""

    budget: Budget
    kernel: tuple[Kernel, ...]
    threads: tuple[Kernel, ...]  # two threads against one
    step: tuple[Step, ...]
    growth: tuple[Growth, ...]
    memory: tuple[Memory, ...]
    peers: tuple[Step, ...]  # with one update in 128 steps
    updates: int = UPDATES  # made before a network is timed
    side: int = SIDE  # the largest side of the matrices of a product


GRU128, GRU256 = Net("gru", 128, 0.75), Net("gru", 256, 0.9375)
ONLINE = ("frozen", "bptt/1", "rflo", "uoro", "snap1", "snap2")
SEQUENCE = ("snap1/128", "bptt/128")
BESIDE_BPTT = ("snap1", *SEQUENCE)

_KERNEL = (
    Kernel(GRU128, 16),
    Kernel(Net("vanilla", 256, 0.75), 16),
    Kernel(GRU256, 16),
    Kernel(Net("gru", 512, 0.984375), 16),
    Kernel(Net("lstm", 256, 0.9375), 16),
    Kernel(GRU256, 1),
)
_COPY = tuple(
    Step(Net(cell, 128, 0.75), lanes, BESIDE_BPTT)
    for cell in ("lstm", "vanilla")
    for lanes in (16, 1)
)
_CHARACTERS = tuple(
    Step(Net(cell, 128, 0.75, CHARACTERS), lanes, BESIDE_BPTT)
    for cell in ("gru", "lstm", "vanilla")
    for lanes in (16, 1)
)
_MEMORY = (
    Memory(GRU128, 16, ("frozen", "bptt/128", "rflo", "uoro", "snap1", "snap2", "snap3")),
    Memory(Net("gru", 128, 0.75, CHARACTERS), 16, ("bptt/128", "snap1")),
)

FULL = Sizes(
    budget=Budget(seconds=5, visit=0.05, least=7),
    kernel=_KERNEL,
    threads=(Kernel(GRU128, 16),),
    step=(
        Step(GRU128, 16, ONLINE + SEQUENCE),
        Step(GRU128, 1, ONLINE + SEQUENCE),
        Step(GRU256, 16, ("snap1", "snap2"), autograd=False),
        *_COPY,
        *_CHARACTERS,
    ),
    growth=(
        Growth(
            "units",
            (Net("gru", 64, 0), GRU128, GRU256, Net("gru", 512, 0.984375)),
            ("snap1", "snap2", "bptt/128"),
        ),
        Growth("n", (GRU128,), ("snap1", "snap2", "snap3", "bptt/128")),
    ),
    memory=_MEMORY,
    peers=tuple(
        Step(Net(cell, 128, 0.75, task), 16, SEQUENCE)
        for task in (COPY, CHARACTERS)
        for cell in ("gru", "lstm", "vanilla")
    ),
)

QUICK = Sizes(
    budget=Budget(seconds=0.5, visit=0.01, least=3),
    kernel=_KERNEL,
    threads=(Kernel(GRU128, 16),),
    step=(
        Step(GRU128, 16, ONLINE + SEQUENCE),
        Step(GRU128, 1, BESIDE_BPTT),
        Step(GRU256, 16, ("snap2",), autograd=False),
        *(Step(Net(cell, 128, 0.75, CHARACTERS), 16, BESIDE_BPTT) for cell in ("gru", "lstm")),
    ),
    growth=(
        Growth(
            "units",
            (Net("gru", 32, 0), Net("gru", 64, 0.75), Net("gru", 128, 0.9375)),
            ("snap1", "snap2", "bptt/128"),
        ),
        Growth("n", (Net("gru", 64, 0.75),), ("snap1", "snap2", "snap3", "bptt/128")),
    ),
    memory=_MEMORY,
    peers=(Step(Net("gru", 128, 0.75, CHARACTERS), 16, SEQUENCE),),
)
