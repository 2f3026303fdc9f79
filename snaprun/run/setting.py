"""The setting of a run is what its bits depend on besides its configuration."""

import copy
import platform
from collections.abc import Mapping
from typing import Any

import torch

from snaprun import __version__, hardware
from snaprun.engine.base import Engine
from snaprun.run.machine import Machine

LONGEST = 200  # the most characters of a value in a checkpoint
Setting = dict[str, Any]  # strings and counts by name; `versions` maps packages to versions


def setting(engine: Engine, machine: Machine) -> Setting:
    """Return the setting of this process; a run repeated in one setting is bit-identical."""
    return {
        "isa": engine.isa,
        "engine": type(engine).__name__,
        "threads": machine.threads,
        "device": torch.cuda.get_device_name() if machine.device == "cuda" else "cpu",
        "cpu": hardware.cpu(),
        "versions": {
            "snaprun": __version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
    }


class Segments:
    """The segments of a run, each trained in one setting: {tokens: where it begins, **setting}.

    Checkpoints of snaprun 0.1.0 did not record the setting; the values of such a segment are null.
    """

    def __init__(self, own: Setting):
        self._own = own
        self._segments = [{"tokens": 0, **own}]

    def to_list(self) -> list[dict[str, Any]]:
        """Return all segments in time order, the newest last."""
        # Copies, because a checkpoint must not hold the same dict in two places.
        return [copy.deepcopy(segment) for segment in self._segments]

    def resume(self, saved: Any, tokens: int) -> str:
        """Continue at `tokens` after the segments `saved`, and return in words what changes.

        `saved` is a `to_list`, or None if the checkpoint has none. Returns "" if the setting is
        unchanged. Raises ValueError if `saved` is not such a list.
        """
        unknown = {"tokens": 0, **_blank(self._own)}
        segments = [unknown] if saved is None else saved
        if not isinstance(segments, list) or not segments:
            raise ValueError("segments mismatch: expected a list")
        for segment in segments:
            _require(segment, unknown | self._own)
        starts = [segment["tokens"] for segment in segments]
        if None in starts or starts[0] or sorted(set(starts)) != starts or starts[-1] > tokens:
            raise ValueError(f"segments begin at {str(starts)[:60]}, the run goes on at {tokens}")
        if starts[-1] == tokens:  # no step was made in the last segment
            segments = segments[:-1]
        now = {"tokens": tokens, **self._own}
        before = segments[-1] if segments else now
        changed = _differences(before, now)
        self._segments = [*segments, now] if changed or not segments else segments
        if changed and before == {**unknown, "tokens": before["tokens"]}:
            return "the setting before is unknown, as the checkpoint does not name it"
        return f"the setting changes: {', '.join(changed)}" if changed else ""


def _require(saved: Any, own: Any, name: str = "segment") -> None:
    """Raise ValueError unless `saved` has the keys of `own`, and its types or null as values."""
    if isinstance(own, dict):
        if not isinstance(saved, dict) or saved.keys() != own.keys():
            raise ValueError(f"{name} mismatch: expected the entries {', '.join(own)}")
        for key, value in own.items():
            _require(saved[key], value, f"{name}.{key}")
        return
    fits = saved is None or type(saved) is type(own)
    if not fits or len(str(saved)) > LONGEST or not str(saved).isprintable():
        raise ValueError(f"{name} mismatch: expected {type(own).__name__}")


def _blank(known: Setting) -> Setting:
    """Return the same names with null for every value."""
    return {k: _blank(v) if isinstance(v, dict) else None for k, v in known.items()}


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return `name=now (was before)` for every value that differs."""
    found = []
    for name, value in now.items():
        if isinstance(value, dict):
            found += _differences(before[name], value)
        elif name != "tokens" and before[name] != value:
            found.append(f"{name}={value} (was {before[name]})")
    return found
