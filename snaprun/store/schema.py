"""The files of a run, `results/<experiment>/<run_id>/`, and the content of its summary.

- `config.yaml`: the resolved configuration, a nested dict.
- `metrics.jsonl`: one JSON object a row, each with the three `COUNTERS`.
- `checkpoint.pt`: all that the run needs to go on, and how far its metrics went by then.
- `best.pt`: the network where the task's own metric on held-out data was best.
- `summary.json`: written last, by rename, so its presence means *done*.
- `failure.log`: the traceback of the error that ended the last attempt, if one did.
- `owner.json`: the host and process that write the run; removed when the process is done.
- `events.out.tfevents.…`, `wandb/`: what the trackers TensorBoard and W&B write, if the user asked
  for them, and `trackers.json`: the names by which trackers find the run again.

Two hidden folders lie beside the folders of the runs, and a search for runs skips them: `.locks/`
holds a lock for each run, `.replaced/` the runs that `restart=true` has set aside.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from snaprun.metrics import COUNTERS, Metric, from_json
from snaprun.store.extent import Extent

CONFIG = "config.yaml"
METRICS = "metrics.jsonl"
SUMMARY = "summary.json"
CHECKPOINT = "checkpoint.pt"
BEST = "best.pt"
FAILURE = "failure.log"
OWNER = "owner.json"
LOCKS = ".locks"  # in the folder of the experiment
REPLACED = ".replaced"  # in the folder of the experiment

# The most bytes that a file of ours can have; metrics and checkpoints grow with the run.
MOST_OF_CONFIG = 2**22
MOST_OF_SUMMARY = 2**24
MOST_OF_METRICS = 2**30  # some millions of rows
MOST_OF_OWNER = 2**12

FINISHED = "finished"
DIVERGED = "diverged"
NON_FINITE, BLOW_UP = "non-finite", "blow-up"  # how a run diverged: `diverged_by` of its extras
INCOMPLETE = "incomplete"  # never written: a run without a summary, in one of the next three states
RUNNING = "running"  # a live process writes the run
FAILED = "failed"  # the last attempt ended with an error
STOPPED = "stopped"  # the run was interrupted or killed, and no process writes it

ALIGNMENT = "align"  # keys align.*, and the columns align/<rule>/<slot>/<quantity> of metrics
LAYER = "layer "  # before the number of a layer, in the place of a slot
WHOLE = "whole"  # the slot that stands for all recurrent parameters


@dataclass(frozen=True)
class Summary:
    """How a run ended, what it reached and what it cost; the file holds `extras` beside these."""

    status: str  # FINISHED | DIVERGED
    tokens: int  # data-time: time steps × lanes
    updates: int  # optimiser steps
    seconds: float  # wall clock of the training loop
    metrics: Mapping[str, float | None]  # final values
    # ms_per_token, macs_per_token, state_bytes (all lanes), peak_bytes, …
    cost: Mapping[str, float | None]
    extras: Mapping[str, Any] = field(default_factory=dict)  # versions, text_sha256, parameters, …
    declared: tuple[Metric, ...] = ()  # by the task; none in runs of snaprun 0.1.0

    def complete(self, extent: Extent) -> bool:
        """Return whether nothing is left to do for a run that goes as far as `extent`."""
        # A run that has blown up might recover, so a larger extent continues it.
        ended = self.status == DIVERGED and self.extras.get("diverged_by") != BLOW_UP
        return ended or bool(extent.ended_by(self.tokens, self._trained, self._stale))

    @property
    def _trained(self) -> float:
        seconds = self.extras.get("trained_seconds")
        return seconds if isinstance(seconds, int | float) else self.seconds

    @property
    def _stale(self) -> int:
        stale = self.extras.get("stale")
        return stale if type(stale) is int else 0

    def to_json(self) -> dict[str, Any]:
        """Return the object of `summary.json`: the fields, and each extra as a key of its own."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "extras"}
        own["declared"] = [metric.to_json() for metric in self.declared]
        return {**own, **self.extras}

    @classmethod
    def from_json(cls, data: Any) -> "Summary":
        """Return the summary in `data`; raises ValueError, which names a missing or wrong key."""
        if not isinstance(data, dict):
            raise ValueError("no JSON object")
        own = {f.name for f in fields(cls)} - {"extras", "declared"}
        if missing := sorted(own - data.keys()):
            raise ValueError(f"no {', '.join(missing)}")
        if data["status"] not in (FINISHED, DIVERGED):
            raise ValueError(f"status {data['status']!r}, not {FINISHED} or {DIVERGED}")
        check_counters(data)
        for name in ("metrics", "cost"):
            if not isinstance(data[name], dict):
                raise ValueError(f"{name} is no JSON object")
            for key, value in data[name].items():
                if value is not None and type(value) not in (int, float):
                    raise ValueError(f"{name}.{key}={value!r}, not a number or null")
        declared = from_json(data.get("declared", []))
        extras = {key: value for key, value in data.items() if key not in (*own, "declared")}
        return cls(**{key: data[key] for key in own}, extras=extras, declared=declared)


def check_counters(row: Any) -> None:
    """Raise ValueError unless `row` is an object with counts of tokens, updates and seconds."""
    if not isinstance(row, dict):
        raise ValueError("no JSON object")
    for name in COUNTERS:
        value = row.get(name)
        # bool is an int to Python, and a float count is no count.
        kinds = (int, float) if name == "seconds" else (int,)
        if value is None or type(value) not in kinds or not 0 <= value < math.inf:
            raise ValueError(f"{name}={value!r}, not a finite count")
