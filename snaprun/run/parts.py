"""What a run is composed of."""

from dataclasses import dataclass

from snaprun.engine.optim import Optimiser
from snaprun.model.network import Architecture
from snaprun.rules import LearningRule
from snaprun.run.machine import Machine
from snaprun.run.options import TrainOptions
from snaprun.tasks import Task


@dataclass(frozen=True)
class Parts:
    """The plain objects of a run, made from its configuration or by hand."""

    task: Task
    architecture: Architecture
    rule: LearningRule
    optimiser: Optimiser
    options: TrainOptions
    machine: Machine
