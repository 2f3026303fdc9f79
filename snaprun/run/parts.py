"""The parts of a run, or of a learner."""

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from snaprun.engine.optim import Optimiser
from snaprun.losses import Loss, Measure
from snaprun.model.network import Architecture
from snaprun.rules import LearningRule
from snaprun.run.machine import Machine
from snaprun.run.options import TrainOptions


class Data(Protocol):
    """What sizes depend on; every Task has it."""

    inputs: int
    outputs: int
    one_hot: bool
    loss: Loss
    measures: tuple[Measure, ...]
    held_out_lanes: int
    length_key: str

    def steps(self) -> int:
        """Return the most time steps that the next batch can have."""
        ...


DataT = TypeVar("DataT", bound=Data, covariant=True)


@dataclass(frozen=True)
class Parts(Generic[DataT]):
    """The plain objects that make up a run or a learner, built from a configuration or by hand."""

    task: DataT
    architecture: Architecture
    rule: LearningRule
    optimiser: Optimiser
    options: TrainOptions
    machine: Machine
