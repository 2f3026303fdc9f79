"""A checkpoint stores a run between two time steps: parameters, optimiser, rule, data, counters.

best.pt holds of it what those need who do not continue the training (`of_network`).

The file checkpoint.pt holds the bytes of torch.save followed by their sha256 (32 bytes), because
torch.load does not notice a changed byte. snaprun.store.outline reads the file: it runs no code
from the file, and refuses content that snaprun never writes before that content takes memory.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal, NoReturn, cast, get_args

import torch
from torch import Tensor

from snaprun import checks
from snaprun.files import Folder
from snaprun.model.network import Network
from snaprun.require import require_count, require_like
from snaprun.store import BEST, CHECKPOINT, read_summary
from snaprun.store.outline import Outline, Stored, opened
from snaprun.terminal import visible

VERSION = 2
Which = Literal["last", "best"]
RESTART = "Set restart=true to start the run afresh; what is there is kept aside."


class Due:
    """Decides when the next checkpoint is due: every `every` tokens (int) or seconds (float)."""

    def __init__(self, every: int | float | None):
        self._every = every
        self.begin(0)

    def begin(self, tokens: int) -> None:
        """Start counting at `tokens` and now."""
        self._tokens, self._time = tokens, time.monotonic()

    def reached(self, tokens: int) -> bool:
        """Return whether the next checkpoint is due at `tokens`."""
        if isinstance(self._every, float):
            return time.monotonic() - self._time >= self._every
        return self._every is not None and tokens - self._tokens >= self._every


def write(file: BinaryIO, contents: Mapping[str, Any]) -> None:
    """Write `contents` (numbers, strings, dicts, lists and tensors) to an empty file."""
    hashed = _Hashed(file)
    torch.save({"version": VERSION, **contents}, cast(IO[bytes], hashed))
    file.write(hashed.sha256.digest())


def of_network(contents: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a run's `contents` that those need who do not continue the training."""
    engine = contents["engine"]
    kept = {name: engine[name] for name in ("network", "average", "updates") if name in engine}
    own = {name: contents[name] for name in ("run", "facts", "task")}
    return {**own, "course": {"tokens": contents["course"]["tokens"]}, "engine": kept}


def load(folder: Path | Folder, name: str = CHECKPOINT) -> dict[str, Any] | None:
    """Return the contents of the checkpoint `name`, on the CPU, or None if there is none.

    Raises UserError if the file is damaged or of another version.
    """
    path = folder if isinstance(folder, Path) else folder.path
    try:
        if isinstance(folder, Path):
            with Folder.open(folder) as held:
                return load(held, name)
        if (saved := tree(folder, name)) is None:
            return None
    except FileNotFoundError:
        return None
    except (ValueError, OSError, RecursionError, MemoryError) as error:
        if isinstance(error, checks.UserError):
            raise
        _refuse(path / name, one_line(error))
    if not isinstance(saved, dict):
        _refuse(path / name, "it holds no dict")
    version = saved.pop("version", None)
    if type(version) is not int or version != VERSION:
        remedy = f"Use the snaprun that wrote it. {RESTART}"
        shown = version if type(version) is int else type(version).__name__
        checks.refuse(f"version of {path / name}", shown, f"{VERSION}", remedy)
    return saved


def tree(folder: Folder, name: str) -> Any:
    """Return what `write` has written to the file `name`, on the CPU, or None if there is no file.

    Raises ValueError if the file is damaged, and OSError.
    """
    with opened(folder, name) as outline:
        return None if outline is None else _with_tensors(outline, outline.tree)


def restore(folder: Path, target: Any, saved: Any) -> None:
    """Call `target.load_state_dict(saved)`; raises UserError if `saved` does not fit."""
    with _refusing(folder / CHECKPOINT):
        target.load_state_dict(saved)


def load_network(
    folder: Path, restored: Callable[[Any], Network], which: Which = "last"
) -> Network:
    """Return what `restored` makes of the network in a checkpoint of `folder`.

    Raises UserError if `folder` has no such checkpoint or `restored` raises ValueError.
    """
    path, saved = _of_trained(folder, which)
    with _refusing(path):
        return restored(_entries(saved, "engine").get("network"))


@dataclass(frozen=True)
class Trained:
    """What a checkpoint tells about a run to those who do not continue the training."""

    network: Network
    average: list[Tensor] | None  # of the network's parameters; None if none was kept
    tokens: int  # the data-time of all finished batches
    facts: dict[str, Any]  # what identifies the task's data
    task: Any  # the state of the task


def load_trained(
    folder: Path, restored: Callable[[Any], Network], which: Which = "last"
) -> Trained:
    """Return what a checkpoint of `folder` holds, its network as `load_network` returns it.

    Raises UserError if `load_network` does, or the average does not fit the network.
    """
    path, saved = _of_trained(folder, which)
    with _refusing(path):
        engine, course = _entries(saved, "engine"), _entries(saved, "course")
        network, average = restored(engine.get("network")), engine.get("average")
        require_count("course.tokens", course.get("tokens"))
        if average is not None:
            parameters = [p.detach() for p in network.parameters]
            require_like("state.average", average, parameters)
            average = [x.to(p.device) for x, p in zip(average, parameters, strict=True)]
        return Trained(
            network,
            average if engine.get("updates") else None,  # it is zero before the first update
            course["tokens"],
            _entries(saved, "facts"),
            saved.get("task"),
        )


def _of_trained(folder: Path, which: Which) -> tuple[Path, dict[str, Any]]:
    """Return the path of a checkpoint and what it holds."""
    checks.one_of("checkpoint", which, get_args(Which))
    name = BEST if which == "best" and not _ends_at_best(folder) else CHECKPOINT
    if (saved := load(folder, name)) is not None:
        return folder / name, saved
    if name == BEST:
        remedy = (
            "A run writes it after the first of its validations, every train.eval_every tokens."
        )
        checks.refuse("checkpoint", which, f"last, as {folder} holds no {BEST}", remedy)
    remedy = "Train the run first: `snaprun train` writes the checkpoint."
    checks.refuse("run", str(folder), f"a folder that holds {CHECKPOINT}", remedy)


def _ends_at_best(folder: Path) -> bool:
    """Return whether a run is done and its last network is its best one, which is kept once."""
    summary = read_summary(folder)
    best = summary.extras.get("best") if summary else None
    return summary is not None and isinstance(best, dict) and best.get("tokens") == summary.tokens


def _entries(saved: dict[str, Any], name: str) -> dict[str, Any]:
    part = saved.get(name)
    return part if isinstance(part, dict) else {}


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn a ValueError inside the block into a UserError that names the checkpoint."""
    try:
        yield
    except ValueError as error:
        _refuse(path, one_line(error))


def _with_tensors(outline: Outline, value: Any) -> Any:
    """Return a copy of `value`, a part of the outline's tree, with every tensor read from disk."""
    if isinstance(value, dict):
        return {key: _with_tensors(outline, item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_tensors(outline, item) for item in value]
    if not isinstance(value, Stored):
        return value
    dtype = getattr(torch, value.dtype)
    if not value.extent:
        return torch.empty(value.shape, dtype=dtype)
    flat = torch.frombuffer(outline.content(value), dtype=dtype)
    if dtype is torch.bool and flat.view(torch.uint8).max() > 1:
        raise ValueError("a boolean is neither 0 nor 1")
    return flat.as_strided(value.shape, value.strides)


class _Hashed:
    """A file that computes the sha256 of everything written to it."""

    def __init__(self, file: Any):
        self._file, self.sha256 = file, hashlib.sha256()

    def write(self, data: Any) -> int:
        self.sha256.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def _refuse(path: Path, reason: str) -> NoReturn:
    accepted = f"a readable checkpoint of this run (found: {reason})"
    checks.refuse("checkpoint", str(path), accepted, RESTART)


def one_line(error: Exception) -> str:
    """Return in one line what an error says."""
    said = error.strerror if isinstance(error, OSError) else str(error)
    return visible(said or type(error).__name__)[:300]
