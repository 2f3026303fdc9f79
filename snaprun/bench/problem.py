"""The networks, rules and batches that are timed."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from snaprun.cells import CELLS
from snaprun.core import Record
from snaprun.rules import BPTT, RFLO, RTRL, UORO, Frozen, LearningRule, SnAp
from snaprun.sparsity import Pattern, Uniform
from snaprun.tasks import Batch
from snaprun.tasks.copy import Copy
from snaprun.train.network import Architecture, Network
from snaprun.train.seeding import stream

RULES: dict[str, Callable[[], LearningRule]] = {
    "frozen": Frozen,
    "bptt": BPTT,
    "rflo": RFLO,
    "uoro": UORO,
    "snap1": partial(SnAp, 1),
    "snap2": partial(SnAp, 2),
    "snap3": partial(SnAp, 3),
    "rtrl": RTRL,
}
STEPS = 128  # T: of a batch, and of a sequence that is unrolled
WARM_UP = 8  # steps that bring the state of a kernel's record into its usual range


@dataclass(frozen=True)
class Net:
    """A recurrent network, and the inputs and readout that it is timed with."""

    cell: str
    units: int
    level: float  # of sparsity
    inputs: int = Copy.inputs
    outputs: int = Copy.outputs
    hidden: int = 256  # of the readout; 0: linear

    @property
    def name(self) -> str:
        """As `gru-128@0.75`."""
        return f"{self.cell}-{self.units}@{self.level:g}"

    def build(self, seed: int) -> Network:
        """The float32 network of this seed."""
        parts = Architecture(CELLS[self.cell](), self.units, Uniform(self.level), self.hidden)
        return parts.build(self.inputs, self.outputs, seed)


def copy_batch(lanes: int, seed: int, steps: int = STEPS) -> Batch:
    """Steps of the copy task with a target each; state is carried from call to call."""
    task = Copy(bpc_scope="all", fixed_length=-(-steps // 2))
    return part(task.batch(lanes, stream(seed, "data")), steps)


def dense_batch(net: Net, lanes: int, seed: int, steps: int = STEPS) -> Batch:
    """Normal inputs and random classes."""
    data = stream(seed, "data")
    inputs = torch.randn(steps, lanes, net.inputs, generator=data)
    targets = torch.randint(0, net.outputs, (steps, lanes), generator=data)
    mask = torch.ones(steps, lanes, dtype=torch.bool)
    return Batch(inputs, targets, mask, torch.zeros_like(mask))


def part(batch: Batch, steps: int) -> Batch:
    """The first steps of a batch, and no sequence that begins in them."""
    return Batch(
        batch.inputs[:steps],
        batch.targets[:steps],
        batch.mask[:steps],
        torch.zeros_like(batch.mask[:steps]),
    )


def record(network: Network, lanes: int, seed: int) -> Record:
    """What a backend sees of a step in the course of a sequence, with credit."""
    core, weights_MKJ = network.core, network.weights()
    noise = stream(seed, "noise")
    state_BCK = core.initial_state(lanes, network.dtype)
    made: Record | None = None
    for _ in range(WARM_UP):
        x_BA: Tensor = torch.randn(lanes, core.layout.inputs, generator=noise)
        state_BCK, linearise = core.step(weights_MKJ, state_BCK, x_BA)
        made = linearise()
    assert made is not None
    credit_BK = torch.randn(state_BCK[:, 0].shape, generator=noise)
    return made.with_credit(credit_BK, torch.zeros(lanes, 1))


def immediate_macs(pattern: Pattern) -> int:
    """Multiply-adds of I_t a lane and step."""
    return int((pattern.own_SG.sum(0) * pattern.columns_G).sum())
