"""The course of a run: what the training loop itself counts and holds between two time steps."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from torch import Tensor

from snaprun.engine.base import Begun
from snaprun.engine.saved import require_numbers, require_steps
from snaprun.losses import Columns, Sums
from snaprun.model.network import Network
from snaprun.require import (
    mismatch,
    require_count,
    require_entries,
    require_equal,
    require_number,
    require_tensor,
)
from snaprun.tasks import Batch


@dataclass
class Course:
    """The counters of a run; checkpoints store all of them."""

    log_at: int  # data-time of the next row
    eval_at: int  # data-time of the next validation
    tokens: int = 0  # data-time of all finished batches
    loss: float = 0.0  # summed over the targets since the last row
    targets: int = 0  # since the last row
    logged: int = 0  # data-time of the last row
    validated: int = 0  # data-time of the last validation
    seconds: float = 0.0  # wall clock of training
    in_engine: float = 0.0  # seconds spent in the engine, at most their processor time
    probed: int = 0  # the probe has looked at all data-time below this
    resumed: int = 0  # how often the run was resumed from a checkpoint
    last: dict[str, float] = field(default_factory=dict)  # the newest value of every metric
    begun: Begun | None = None
    measured: Sums = field(default_factory=dict)  # since the last row

    @property
    def at_validation(self) -> bool:
        """Whether nothing was done since the last validation."""
        return self.begun is None and 0 < self.validated == self.tokens

    def state_dict(self) -> dict[str, Any]:
        """Return all fields as numbers, dicts and tensors."""
        saved = stored(vars(self))
        if self.begun is not None:
            saved["begun"] = stored(vars(self.begun)) | {"batch": stored(vars(self.begun.batch))}
        return saved

    @classmethod
    def from_state_dict(
        cls, saved: Any, network: Network, lanes: int, columns: Columns
    ) -> "Course":
        """Rebuild the course from `saved`, a `state_dict`.

        Raises ValueError if a run of `network` with `lanes` lanes, whose rows have `columns`,
        cannot have written `saved`.
        """
        saved = taken("course", saved, cls)
        for f in fields(cls):
            if f.type is int:
                require_count(f"course.{f.name}", saved[f.name])
            elif f.type is float:
                require_number(f"course.{f.name}", saved[f.name], least=0)
        _require_sums(saved.get("measured", {}), columns)
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
        begun = saved["begun"]
        if begun is not None:
            begun = _begun(begun, network, lanes, bool(columns.outputs))
        return cls(**{**saved, "last": dict(last), "begun": begun})


# Checkpoints keep the names that snaprun 0.1.0 gave, and have some entries only if they are used.
STORED_AS = {"losses_TB": "nats_TB", "loss": "bits"}
IF_USED = ("measured", "outputs_TBO", "baseline")


def stored(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields `values` as a checkpoint stores them."""
    unused = [name for name in IF_USED if values.get(name) is None or values[name] == {}]
    return {STORED_AS.get(name, name): x for name, x in values.items() if name not in unused}


def taken(where: str, saved: Any, kind: type) -> dict[str, Any]:
    """Return the fields of a `kind` that a checkpoint stores as `saved`.

    Raises ValueError if one is missing or unknown.
    """
    names = {STORED_AS.get(f.name, f.name): f.name for f in fields(kind)}
    have = saved if isinstance(saved, dict) else {}
    require_entries(where, saved, [x for x in names if x not in IF_USED or x in have])
    return {names[name]: value for name, value in saved.items()}


def _require_sums(saved: Any, columns: Columns) -> None:
    where, have = "course.measured", saved if isinstance(saved, dict) else {}
    known = columns.outputs | columns.baseline
    require_entries(where, saved, [name for name in known if name in have])
    for name, sums in saved.items():
        if type(sums) is not list or not all(type(x) is float for x in sums):
            mismatch(f"{where}.{name}", "a list of floats", type(sums).__name__)
    try:
        columns.values(saved)
    except (ValueError, ArithmeticError) as error:
        mismatch(where, "sums of its measures", str(error))


def _begun(saved: Any, network: Network, lanes: int, measured: bool) -> Begun:
    where = "course.begun"
    saved = taken(where, saved, Begun)
    batch = taken(f"{where}.batch", saved["batch"], Batch)
    mask = batch["mask"]
    steps = len(mask) if isinstance(mask, Tensor) and mask.dim() else 0
    require_count(f"{where}.steps", saved["steps"], most=steps)
    require_equal(f"{where}.batch.ends", batch["ends"], True)
    shape = (steps, lanes)
    outputs = network.readout.parameters[-1].numel()
    require_steps(f"{where}.batch", batch, network, shape)
    if "baseline" in batch:
        require_numbers(f"{where}.batch.baseline", batch["baseline"], (*shape, outputs))
    require_tensor(f"{where}.losses_TB", saved["losses_TB"], network.dtype, shape)
    if measured or "outputs_TBO" in saved:
        own = saved.get("outputs_TBO")
        require_tensor(f"{where}.outputs_TBO", own, network.dtype, (*shape, outputs))
    device = network.core.device
    moved = {name: x.to(device) for name, x in saved.items() if isinstance(x, Tensor)}
    return Begun(**{**saved, **moved, "batch": Batch(**batch).to(device)})
