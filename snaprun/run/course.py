"""The course of a run: what the training loop itself counts and holds between two time steps."""

from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from snaprun.model.network import Network
from snaprun.require import (
    require_count,
    require_entries,
    require_equal,
    require_number,
    require_tensor,
)
from snaprun.tasks import Batch


@dataclass
class Begun:
    """A batch in progress: its first `steps` time steps are done and have losses."""

    batch: Batch
    nats_TB: Tensor
    steps: int = 0


@dataclass
class Course:
    """The counters of a run; checkpoints store all of them."""

    log_at: int  # data-time of the next row
    eval_at: int  # data-time of the next validation
    tokens: int = 0  # data-time of all finished batches
    bits: float = 0.0  # summed loss since the last row
    targets: int = 0  # since the last row
    logged: int = 0  # data-time of the last row
    validated: int = 0  # data-time of the last validation
    seconds: float = 0.0  # wall clock of training
    in_engine: float = 0.0  # seconds spent in the engine, at most their processor time
    probed: int = 0  # the probe has looked at all data-time below this
    resumed: int = 0  # how often the run was resumed from a checkpoint
    last: dict[str, float] = field(default_factory=dict)  # the newest value of every metric
    begun: Begun | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return all fields as numbers, dicts and tensors."""
        saved = {f.name: getattr(self, f.name) for f in fields(self)}
        if self.begun is not None:
            batch = {f.name: getattr(self.begun.batch, f.name) for f in fields(Batch)}
            saved["begun"] = {**vars(self.begun), "batch": batch}
        return saved

    @classmethod
    def from_state_dict(cls, saved: Any, network: Network, lanes: int) -> "Course":
        """Rebuild the course from `saved`, a `state_dict`.

        Raises ValueError if a run of `network` with `lanes` lanes cannot have written `saved`.
        """
        require_entries("course", saved, [f.name for f in fields(cls)])
        for f in fields(cls):
            if f.type is int:
                require_count(f"course.{f.name}", saved[f.name])
            elif f.type is float:
                require_number(f"course.{f.name}", saved[f.name], least=0)
        tokens = saved["tokens"]
        for name in ("logged", "validated", "targets"):
            require_count(f"course.{name}", saved[name], most=tokens)
        require_count("course.probed", saved["probed"], most=tokens + 1)
        require_count("course.log_at", saved["log_at"], least=tokens + 1)
        if tokens % lanes:
            raise ValueError(f"course.tokens mismatch: {tokens} is no multiple of {lanes} lanes.")
        last = saved["last"]
        require_entries("course.last", last, last if isinstance(last, dict) else ())
        for name, value in last.items():
            if type(value) is not float:  # a metric of the averaged weights may be infinite
                require_number(f"course.last.{name}", value)
        begun = None if saved["begun"] is None else _begun(saved["begun"], network, lanes)
        return cls(**{**saved, "last": dict(last), "begun": begun})


def _begun(saved: Any, network: Network, lanes: int) -> Begun:
    where = "course.begun"
    require_entries(where, saved, [f.name for f in fields(Begun)])
    names = [f.name for f in fields(Batch)]
    require_entries(f"{where}.batch", saved["batch"], names)
    batch = saved["batch"]
    mask = batch["mask"]
    steps = len(mask) if isinstance(mask, Tensor) and mask.dim() else 0
    require_count(f"{where}.steps", saved["steps"], most=steps - 1)
    require_equal(f"{where}.batch.ends", batch["ends"], True)
    shape = (steps, lanes)
    core, outputs = network.core, network.readout.parameters[-1].numel()
    for name in ("mask", "resets"):
        require_tensor(f"{where}.batch.{name}", batch[name], torch.bool, shape)
    targets = batch["targets"]
    if network.readout.loss.classes:
        require_tensor(f"{where}.batch.targets", targets, torch.int64, shape, below=outputs)
    else:
        dtype = targets.dtype if isinstance(targets, Tensor) else network.dtype
        require_tensor(f"{where}.batch.targets", targets, dtype, (*shape, outputs))
    inputs = batch["inputs"]
    if isinstance(inputs, Tensor) and inputs.is_floating_point():
        require_tensor(f"{where}.batch.inputs", inputs, inputs.dtype, (*shape, core.inputs))
    else:
        require_tensor(f"{where}.batch.inputs", inputs, torch.int64, shape, below=core.inputs)
    require_tensor(f"{where}.nats_TB", saved["nats_TB"], network.dtype, shape)
    return Begun(Batch(**batch).to(core.device), saved["nats_TB"].to(core.device), saved["steps"])
