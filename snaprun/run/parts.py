"""The parts of a run."""

from dataclasses import dataclass

from snaprun.engine.optim import Optimiser
from snaprun.model.network import Architecture
from snaprun.rules import LearningRule
from snaprun.run.machine import Machine
from snaprun.run.options import TrainOptions
from snaprun.tasks import Task


@dataclass(frozen=True)
class Parts:
    """The plain objects that make up a run, built from a configuration or by hand."""

    task: Task
    architecture: Architecture
    rule: LearningRule
    optimiser: Optimiser
    options: TrainOptions
    machine: Machine
