"""The networks, rules and data that a bench times."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from snaprun import rule_names
from snaprun.cells import CELLS
from snaprun.core import Record
from snaprun.model.network import Architecture, Network
from snaprun.rules import RULES, LearningRule
from snaprun.seeding import stream
from snaprun.sparsity import Pattern, Uniform
from snaprun.tasks import Batch, Task
from snaprun.tasks.charlm import CharLM
from snaprun.tasks.copy import Copy

STEPS = 128  # T, the steps of a batch and of an unrolled sequence
COPY, CHARACTERS = "copy", "characters"
# Each task, and what makes its sequences at least as long as the steps asked for.
TASKS: dict[str, tuple[type[Task], Callable[[int], dict[str, Any]]]] = {
    COPY: (Copy, lambda steps: {"bpc_scope": "all", "fixed_length": -(-steps // 2)}),
    CHARACTERS: (CharLM, lambda steps: {"text": "pydoc", "crop": steps}),
}
BATCHES = 8  # in a feed, before it starts over
WARM_UP = 8  # steps before a kernel's record, so that the state is in its usual range


@dataclass(frozen=True)
class Net:
    """A recurrent network, the task that it is timed on, and its readout."""

    cell: str
    units: int
    level: float  # of sparsity
    task: str = COPY
    hidden: int = 256  # of the readout; 0: linear

    @property
    def name(self) -> str:
        """The name of the network.

        >>> Net("gru", 128, 0.75).name
        'gru-128@0.75'
        """
        return f"{self.cell}-{self.units}@{self.level:g}"

    @property
    def inputs(self) -> int:
        """The number of one-hot inputs of the network."""
        return TASKS[self.task][0].inputs

    @property
    def outputs(self) -> int:
        """The number of classes that the network predicts."""
        return TASKS[self.task][0].outputs

    def columns(self, lanes: int) -> dict[str, object]:
        """Return the first columns of a table about the network on `lanes` lanes."""
        return {"network": self.name, "task": self.task, "inputs": self.inputs, "lanes": lanes}

    def build(self, seed: int) -> Network:
        """Build the float32 network of this seed."""
        parts = Architecture(CELLS[self.cell](), self.units, Uniform(self.level), self.hidden)
        return parts.build(self.inputs, self.outputs, seed)


class Feed:
    """Repeats some batches without end, as whole batches or as pieces of them."""

    def __init__(self, batches: Sequence[Batch]):
        self._batches, self._steps = batches, len(batches[0].mask)
        self._at = 0  # in steps

    def sequences(self, count: int) -> Iterator[Batch]:
        """Yield the next `count` whole batches, leaving out the rest of a batch that has begun."""
        first = -(-self._at // self._steps)
        self._at = (first + count) * self._steps
        for number in range(first, first + count):
            yield self._batches[number % len(self._batches)]

    def pieces(self, steps: int) -> Iterator[Batch]:
        """Yield the next `steps` steps, in as few pieces as the batches allow."""
        while steps:
            number, done = divmod(self._at, self._steps)
            piece = self._batches[number % len(self._batches)].piece(done, steps)
            self._at += len(piece.mask)
            steps -= len(piece.mask)
            yield piece


def batches(
    task: str, lanes: int, seed: int, steps: int = STEPS, count: int = BATCHES
) -> list[Batch]:
    """Draw minibatches of a task as in a run, cut to `steps`; each begins with a reset."""
    kind, arguments = TASKS[task]
    made, data = kind(**arguments(max(steps, STEPS))), stream(seed, "data")
    return [replace(made.batch(lanes, data).piece(0, steps), ends=True) for _ in range(count)]


def rule_of(word: str) -> LearningRule:
    """Build the rule of a word of snaprun.rule_names with a name and n, as in `bptt` or `snap2`."""
    chosen = rule_names.choices(word)
    kind = RULES[chosen.pop("rule.name")]
    return kind(**{key.removeprefix("rule."): value for key, value in chosen.items()})


def record(network: Network, lanes: int, seed: int) -> Record:
    """Return the record, with credit, of a step in the middle of a sequence."""
    core, weights_MKJ = network.core, network.weights()
    noise = stream(seed, "noise")
    state_BCK = core.initial_state(lanes, network.dtype)
    made: Record | None = None
    for _ in range(WARM_UP):
        x_BA: Tensor = torch.randn(lanes, core.inputs, generator=noise)
        state_BCK, linearise = core.step(weights_MKJ, state_BCK, x_BA)
        made = linearise()
    assert made is not None
    credit_BK = torch.randn(state_BCK[:, 0].shape, generator=noise)
    return made.with_credit(credit_BK, torch.zeros(lanes, 1))


def immediate_macs(pattern: Pattern) -> int:
    """Count the multiply-adds of I_t per lane and step."""
    return int((pattern.own_SG.sum(0) * pattern.columns_G).sum())
