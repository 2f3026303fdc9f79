"""The sizes that the bench measures: those of a full run, and smaller ones for a quick run."""

from dataclasses import dataclass, replace

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
    """Several rules on one network; `bptt/128` updates once in 128 steps."""

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
class Window:
    """BPTT over windows of many steps, in fractions of the memory of the full tape."""

    net: Net
    lanes: int
    steps: int
    budgets: tuple[float, ...]


@dataclass(frozen=True)
class Sizes:
    """Everything that a run of the bench measures."""

    budget: Budget
    kernel: tuple[Kernel, ...]
    threads: tuple[Kernel, ...]  # two threads against one
    step: tuple[Step, ...]  # whole steps
    python: tuple[Step, ...]  # steps of a Learner
    growth: tuple[Growth, ...]
    memory: tuple[Step, ...]  # the rule state of these, without torch.nn
    peers: tuple[Step, ...]  # with one update in 128 steps
    windows: tuple[Window, ...]  # of BPTT within a budget
    updates: int = UPDATES  # made before a network is timed
    side: int = SIDE  # the largest side of the matrices of a product


GRU128, GRU256 = Net("gru", 128, 0.75), Net("gru", 256, 0.9375)
TEXT128 = Net("gru", 128, 0.75, CHARACTERS)
CELLS = ("gru", "lstm", "vanilla")
ALIF128 = Net("alif", 128, 0.75)
SPIKING = ("frozen", "bptt/128", "eprop", "snap1")
ONLINE = ("frozen", "bptt/1", "rflo", "uoro", "snap1", "snap2")
SEQUENCE = ("snap1/128", "bptt/128")
BESIDE_BPTT = ("snap1", *SEQUENCE)
OVER_UNITS = ("snap1", "snap2", "bptt/128")
OVER_N = ("snap1", "snap2", "snap3", "bptt/128")

FULL = Sizes(
    budget=Budget(seconds=5, visit=0.05, least=7),
    kernel=(
        Kernel(GRU128, 16),
        Kernel(Net("vanilla", 256, 0.75), 16),
        Kernel(GRU256, 16),
        Kernel(Net("gru", 512, 0.984375), 16),
        Kernel(Net("lstm", 256, 0.9375), 16),
        Kernel(GRU256, 1),
    ),
    threads=(Kernel(GRU128, 16),),
    step=(
        Step(GRU128, 16, ONLINE + SEQUENCE),
        Step(GRU128, 1, ONLINE + SEQUENCE),
        Step(GRU256, 16, ("snap1", "snap2"), autograd=False),
        *(
            Step(Net(cell, 128, 0.75, task), lanes, BESIDE_BPTT)
            for task, cells in ((COPY, CELLS[1:]), (CHARACTERS, CELLS))
            for cell in cells
            for lanes in (16, 1)
        ),
        *(Step(ALIF128, lanes, SPIKING, autograd=False) for lanes in (16, 1)),
    ),
    python=(Step(GRU128, 1, ("snap1",)), Step(GRU128, 16, ("snap1",))),
    growth=(
        Growth("units", (Net("gru", 64, 0), GRU128, GRU256, Net("gru", 512, 0.984375)), OVER_UNITS),
        Growth("n", (GRU128,), OVER_N),
    ),
    memory=(
        Step(GRU128, 16, ("frozen", "bptt/128", "rflo", "uoro", "snap1", "snap2", "snap3")),
        Step(TEXT128, 16, ("bptt/128", "snap1")),
    ),
    peers=tuple(
        Step(Net(cell, 128, 0.75, task), 16, SEQUENCE)
        for task in (COPY, CHARACTERS)
        for cell in CELLS
    ),
    windows=(Window(GRU128, 16, 1000, (0.01, 0.02, 0.05, 0.1, 0.2)),),
)

QUICK = replace(
    FULL,
    budget=Budget(seconds=0.5, visit=0.01, least=3),
    step=(
        Step(GRU128, 16, ONLINE + SEQUENCE),
        Step(GRU128, 1, BESIDE_BPTT),
        Step(GRU256, 16, ("snap2",), autograd=False),
        Step(ALIF128, 16, ("snap1",), autograd=False),
        *(Step(Net(cell, 128, 0.75, CHARACTERS), 16, BESIDE_BPTT) for cell in ("gru", "lstm")),
    ),
    growth=(
        Growth(
            "units", (Net("gru", 32, 0), Net("gru", 64, 0.75), Net("gru", 128, 0.9375)), OVER_UNITS
        ),
        Growth("n", (Net("gru", 64, 0.75),), OVER_N),
    ),
    peers=(Step(TEXT128, 16, SEQUENCE),),
    windows=(Window(Net("gru", 64, 0.75), 16, 200, (0.05, 0.2)),),
)
