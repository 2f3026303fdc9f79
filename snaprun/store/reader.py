"""Reading runs: a run that was killed can be read, a file that was damaged is refused.

The path that a user gives to look for runs may be a link; the folder of a run and the files in it
may not.
"""

import functools
import json
import os
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import yaml
from numpy.typing import NDArray

from snaprun.checks import UserError, refuse
from snaprun.files import Folder
from snaprun.files import read as read_file
from snaprun.metrics import Every, Metric, known
from snaprun.store import parse
from snaprun.store.lock import Owner
from snaprun.store.parse import Columns
from snaprun.store.schema import (
    CHECKPOINT,
    CONFIG,
    COUNTERS,
    FAILED,
    FAILURE,
    INCOMPLETE,
    METRICS,
    MOST_OF_CONFIG,
    MOST_OF_METRICS,
    MOST_OF_SUMMARY,
    RUNNING,
    STOPPED,
    SUMMARY,
    Summary,
    check_counters,
)
from snaprun.store.seal import unsealed

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
Checksums = Mapping[str, int]  # crc32 by name of the file; empty if the run is not done

_REMEDY = "Repair the file, or run it afresh with restart=true."
_OWN = "Remove it, or set results= to where it leads."
_PIECES = frozenset((METRICS, SUMMARY, CHECKPOINT))  # files that a run alone has, whole or not
# libyaml is 8 times faster where PyYAML was built with it.
YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, eq=False)
class Run:
    """One run as it lies on disk."""

    folder: Path
    config: dict[str, Any]  # shared with other runs: do not change it
    columns: Columns  # of the metrics; tokens, updates int64, all else float64 (null: NaN)
    summary: Summary | None  # None while the run is not done

    @functools.cached_property
    def metrics(self) -> "pd.DataFrame":
        """The metrics as a table."""
        import pandas as pd  # here, because it takes as long as reading a thousand runs

        return pd.DataFrame(self.columns)

    def due(self, every: Every = "log_every") -> NDArray[np.float64] | None:
        """Return the data-time at which each row was due (N,), a multiple of `train.<every>`.

        Returns None if that key is not set. A row is written at the end of a batch, some tokens
        after it was due; how many tokens differs between runs.
        """
        train = self.config.get("train", {})
        if not train.get(every):
            return None
        tokens_N = np.minimum(self.columns["tokens"], train.get("tokens", np.inf))
        return tokens_N // train[every] * train[every]

    @property
    def end(self) -> float:
        """The data-time that the run was to reach, or the one that it reached if that is less."""
        most = self.config.get("train", {}).get("tokens", np.inf)
        return float(min(self.columns["tokens"][-1], most))

    @property
    def status(self) -> str:
        """`finished`, `diverged` or `incomplete`."""
        return self.summary.status if self.summary else INCOMPLETE


def declared(runs: Iterable[Run]) -> dict[str, Metric]:
    """Return the declared and built-in metrics by key; if runs differ, the first run counts."""
    return known(metric for run in runs if run.summary for metric in run.summary.declared)


def find_runs(source: Path | str, pieces: bool = False) -> list[Path]:
    """Return the folders of runs in and under `source`, sorted, except those in hidden folders.

    With `pieces`, also returns folders with only a part of a run. Raises UserError without any.
    """
    source = chosen(source)
    if not source.is_dir():
        refuse("source", str(source), "an existing folder", "Run `snaprun train` first.")
    runs = runs_under(source, pieces)
    if not runs:
        accepted = f"a folder with runs in it (each with {CONFIG} and {METRICS})"
        remedy = "Run `snaprun train` first, or name the folder of the runs or of a panel."
        refuse("source", str(source), accepted, remedy)
    return runs


def chosen(path: Path | str) -> Path:
    """Return the target of a user's path, which may be a link; links below it are not followed."""
    path = Path(path)
    return path.resolve() if path.is_symlink() else path


def require_own(folder: Path) -> None:
    """Raise UserError if the folder of a run, or the folder above it, is a link."""
    for path in (folder.parent, folder):
        try:
            Folder.open(path).close()
        except FileNotFoundError:
            return
        except OSError as error:
            refuse("run folder", str(path), f"a folder of its own ({error.strerror})", _OWN)


def is_run(folder: Path) -> bool:
    """Return whether `folder` holds a file of a run, whole or not."""
    return any((folder / name).exists() for name in _PIECES)


def runs_under(source: Path, pieces: bool = False) -> list[Path]:
    """Return what `find_runs` returns, or [] if there are no runs."""
    runs = []
    for folder, below, files in os.walk(source):
        below[:] = [name for name in below if not name.startswith(".")]
        whole = CONFIG in files and (METRICS in files or SUMMARY in files)
        if whole or (pieces and not _PIECES.isdisjoint(files)):
            runs.append(Path(folder))
    return sorted(runs)


def read_run(folder: Path | str) -> Run:
    """Return the run in `folder`.

    Raises UserError, which names the damaged file, and in the metrics the line.

    >>> from snaprun.store import RunWriter, read_run
    >>> with RunWriter("results/demo/run", {"seed": 0}) as writer:
    ...     writer.begin()
    ...     writer.row(tokens=16, updates=1, seconds=0.5, bpc=2.0)
    >>> run = read_run("results/demo/run")
    >>> run.status, run.config, run.columns["bpc"].tolist()
    ('incomplete', {'seed': 0}, [2.0])
    """
    folder = Path(folder)

    def read(summary: Summary | None, checksums: Checksums) -> Run:
        columns = _read_metrics(folder / METRICS, checksums)
        return Run(folder, _read_config(folder, checksums), columns, summary)

    return _settled(folder, read)


def read_config(folder: Path | str) -> dict[str, Any]:
    """Return the configuration of a run; raises UserError if `folder` is none or it is damaged."""
    folder = Path(folder)
    if not any(os.path.lexists(folder / name) for name in (CONFIG, *_PIECES)):
        refuse("run", str(folder), "the folder of a run", "`snaprun status` lists them.")
    return _settled(folder, lambda _, checksums: _read_config(folder, checksums))


def read_summary(folder: Path | str) -> Summary | None:
    """Return the run's summary, or None if it is not done; raises UserError if it is damaged."""
    return _read_summary(Path(folder))[0]


def said_within(folder: Path, error: UserError) -> str:
    """Return what is wrong with a run, without the path of its folder and the last full stop."""
    return str(error).replace(f"{folder}{os.sep}", "").removesuffix(".")


def state(folder: Path) -> str:
    """Return the state of the run in `folder`: finished, diverged, running, failed or stopped.

    A run of another host counts as running if one of its files changed in the last five minutes.
    Takes no lock, so that a process that starts meanwhile is not refused. Raises UserError if the
    summary is damaged.
    """
    if summary := read_summary(folder):
        return summary.status
    owner = Owner.read(folder)
    if owner and owner.lives(folder):
        return RUNNING
    return FAILED if (folder / FAILURE).exists() else STOPPED


def read_intact(folder: Path | str) -> Summary | None:
    """Return what `read_summary` does; raises UserError if a file of a done run has changed."""
    folder = Path(folder)
    summary, checksums = _read_summary(folder)
    for name in checksums:
        _check(folder / name, _content(folder / name), checksums)
    return summary


def _settled(folder: Path, read: Callable[[Summary | None, Checksums], T]) -> T:
    """Call `read` with the summary and the checksums, and again if the run went on meanwhile."""
    before = _read_summary(folder)
    try:
        return read(*before)
    except UserError:
        after = _read_summary(folder)
        if after == before:
            raise
        return read(*after)


def _read_summary(folder: Path) -> tuple[Summary | None, Checksums]:
    path = folder / SUMMARY
    try:
        data, checksums = unsealed(json.loads(read_file(path, MOST_OF_SUMMARY)))
        return Summary.from_json(data), checksums
    except FileNotFoundError:
        return None, {}
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is no summary of a run ({_one_line(error)}). {_REMEDY}") from error


def _read_config(folder: Path, checksums: Checksums) -> dict[str, Any]:
    path = folder / CONFIG
    content = _content(path, MOST_OF_CONFIG)
    try:
        config = parse.mapping(content, _load)
    except Exception as error:  # PyYAML raises many types for a damaged file
        raise UserError(f"{path} is no readable YAML ({_one_line(error)}). {_REMEDY}") from error
    if not isinstance(config, dict):
        refuse(str(path), config, "a mapping of configuration keys", _REMEDY)
    _check(path, content, checksums)
    return config


def _load(content: bytes) -> Any:
    """Return the value of a YAML text without aliases: a few can stand for billions of values."""
    if b"&" in content:  # the sign of the anchor that an alias needs, or a part of a string
        for event in yaml.parse(content, YAML):
            if getattr(event, "anchor", None) is not None:
                raise ValueError("it holds anchors or aliases")
    return yaml.load(content, YAML)


def _content(path: Path, most: int | None = None) -> bytes:
    try:
        return read_file(path, most)
    except OSError as error:
        refuse("file", str(path), f"a readable file ({error.strerror or error})", _REMEDY)


def _check(path: Path, content: bytes, checksums: Checksums) -> None:
    found = zlib.crc32(content)
    if checksums.get(path.name, found) != found:
        raise UserError(f"{path} was changed or damaged after the run was done. {_REMEDY}")


def _read_metrics(path: Path, checksums: Checksums) -> Columns:
    content = _content(path, MOST_OF_METRICS)
    columns = parse.columns(content) or _by_line(content, path)
    _check(path, content, checksums)
    return columns


def _by_line(content: bytes, path: Path) -> Columns:
    """Return the columns up to a row cut short; UserError names the wrong line or column."""
    lines = content.removesuffix(b"\n").split(b"\n") if content else []
    rows = []
    tokens = 0
    for number, line in enumerate(lines, start=1):
        shown = line.decode(errors="replace")[:60]
        try:
            row = json.loads(line.decode())
        except (ValueError, RecursionError):
            # A row cut short by the end of its process is never valid JSON: its brace is open.
            if number == len(lines):
                break
            refuse(f"{path} line {number}", shown, "a JSON object", _REMEDY)
        try:
            check_counters(row)
        except ValueError as error:
            accepted = f"an object with {', '.join(COUNTERS)} (found {error})"
            refuse(f"{path} line {number}", shown, accepted, _REMEDY)
        if row["tokens"] < tokens:
            refuse(f"{path} line {number}", row["tokens"], f"tokens ≥ {tokens}", _REMEDY)
        tokens = row["tokens"]
        rows.append(row)
    import pandas as pd

    columns: Columns = {}
    for name in dict.fromkeys(COUNTERS) | dict.fromkeys(name for row in rows for name in row):
        kind = "int64" if name in parse.COUNTS else "float64"
        try:
            values = pd.Series([row.get(name) for row in rows], dtype=kind)
        except (TypeError, ValueError, OverflowError) as error:
            refuse(f"{path} column {name}", _one_line(error), "numbers or null", _REMEDY)
        columns[name] = values.to_numpy()
    return columns


def _one_line(error: Exception) -> str:
    said = error.strerror if isinstance(error, OSError) else None
    line = " ".join((said or str(error)).split())
    return line if len(line) <= 120 else f"{line[:117]}..."
