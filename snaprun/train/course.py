"""Where a run stands between two time steps: what the loop itself counts and holds."""

from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from snaprun.tasks import Batch


@dataclass
class Begun:
    """A batch of which the first `steps` time steps are done, with their losses."""

    batch: Batch
    nats_TB: Tensor
    steps: int = 0


@dataclass
class Course:
    """The counters of a run; all of it goes into checkpoints."""

    log_at: int  # data-time of the next row
    eval_at: int  # data-time of the next validation
    tokens: int = 0  # data-time of all batches that are done
    bits: float = 0.0  # since the last row
    targets: int = 0  # since the last row
    logged: int = 0  # data-time of the last row
    validated: int = 0  # data-time of the last validation
    seconds: float = 0.0  # wall clock of training
    in_engine: float = 0.0  # seconds of it in the engine, at most its processor time
    probed: int = 0  # data-time below which a probe has looked
    resumed: int = 0  # how often the run has gone on from a checkpoint
    last: dict[str, float] = field(default_factory=dict)  # the newest value of every metric
    begun: Begun | None = None

    def state_dict(self) -> dict[str, Any]:
        """All fields as numbers, dicts and tensors."""
        saved = {f.name: getattr(self, f.name) for f in fields(self)}
        if self.begun is not None:
            batch = {f.name: getattr(self.begun.batch, f.name) for f in fields(Batch)}
            saved["begun"] = {**vars(self.begun), "batch": batch}
        return saved

    @classmethod
    def from_state_dict(cls, saved: dict[str, Any], device: torch.device) -> "Course":
        """The course that `state_dict` described, its batch on `device`; ValueError, KeyError."""
        for f in fields(cls):
            value = saved[f.name]
            if f.type in (int, float) and not (type(value) is f.type and value >= 0):
                raise ValueError(f"{f.name} is {value!r}, not a count")
        begun = saved["begun"]
        if begun is not None:
            batch = Batch(**begun["batch"]).to(device)
            begun = Begun(batch, begun["nats_TB"].to(device), begun["steps"])
        return cls(**{**saved, "begun": begun})
