"""Reading runs back: tolerant of a run that was killed, strict about a file that was damaged."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from snaprun.checks import refuse
from snaprun.store.schema import (
    CONFIG,
    COUNTERS,
    INCOMPLETE,
    METRICS,
    SUMMARY,
    Summary,
    check_counters,
)

_REMEDY = "Mend the file or remove the folder of the run."
# libyaml is 8 times faster where PyYAML was built with it.
_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, eq=False)
class Run:
    """One run as it lies on disk."""

    folder: Path
    config: dict[str, Any]
    metrics: pd.DataFrame  # a row each; tokens, updates int64, all else float64 (null: NaN)
    summary: Summary | None  # None while the run is not done

    @property
    def status(self) -> str:
        """`finished`, `diverged` or `incomplete`."""
        return self.summary.status if self.summary else INCOMPLETE


def find_runs(source: Path | str) -> list[Path]:
    """The folders of runs in and under `source`, sorted, without those in hidden folders.

    Raises UserError if there are none.
    """
    source = Path(source)
    if not source.is_dir():
        refuse("source", str(source), "an existing folder", "Run `snaprun train` first.")
    runs = []
    for folder, below, files in os.walk(source):
        below[:] = [name for name in below if not name.startswith(".")]
        if CONFIG in files and METRICS in files:
            runs.append(Path(folder))
    if not runs:
        refuse(
            "source",
            str(source),
            f"a folder with runs in it (each with {CONFIG} and {METRICS})",
            "Run `snaprun train` first, or name the folder that holds the runs.",
        )
    return sorted(runs)


def read_run(folder: Path | str) -> Run:
    """The run in `folder`; UserError names the file, and in the metrics the line, that is wrong."""
    folder = Path(folder)
    return Run(
        folder,
        read_config(folder),
        _read_metrics(folder / METRICS),
        read_summary(folder),
    )


def read_config(folder: Path | str) -> dict[str, Any]:
    """The configuration of the run in `folder`; UserError if it cannot be read."""
    path = Path(folder) / CONFIG
    try:
        config = yaml.load(path.read_bytes(), _YAML)
    except (OSError, ValueError, yaml.YAMLError) as error:
        refuse(str(path), _one_line(error), "readable YAML", _REMEDY)
    if not isinstance(config, dict):
        refuse(str(path), config, "a mapping of configuration keys", _REMEDY)
    return config


def read_summary(folder: Path | str) -> Summary | None:
    """The summary of the run in `folder`, None where it is not done; UserError if it is damaged."""
    path = Path(folder) / SUMMARY
    try:
        if not path.exists():
            return None
        return Summary.from_json(json.loads(path.read_bytes()))
    except (OSError, ValueError) as error:
        refuse(str(path), _one_line(error), "the summary of a run", _REMEDY)


def _read_metrics(path: Path) -> pd.DataFrame:
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        refuse(str(path), _one_line(error), "a readable file", _REMEDY)
    if not lines[-1]:
        lines.pop()
    rows = []
    tokens = 0
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line.decode())
        except ValueError:
            # A row cut short by the end of its process is never valid JSON: its brace is open.
            if number == len(lines):
                break
            refuse(f"{path} line {number}", _shown(line), "a JSON object", _REMEDY)
        try:
            check_counters(row)
        except ValueError as error:
            accepted = f"an object with {', '.join(COUNTERS)} (found {error})"
            refuse(f"{path} line {number}", _shown(line), accepted, _REMEDY)
        if row["tokens"] < tokens:
            refuse(f"{path} line {number}", row["tokens"], f"tokens ≥ {tokens}", _REMEDY)
        tokens = row["tokens"]
        rows.append(row)
    return _frame(rows, path)


def _frame(rows: list[dict[str, Any]], path: Path) -> pd.DataFrame:
    columns = dict.fromkeys(name for row in rows for name in row)
    frame: dict[str, pd.Series] = {}
    for name in [*COUNTERS, *(name for name in columns if name not in COUNTERS)]:
        kind = "int64" if name in ("tokens", "updates") else "float64"
        try:
            frame[name] = pd.Series([row.get(name) for row in rows], dtype=kind)
        except (TypeError, ValueError, OverflowError) as error:
            refuse(f"{path} column {name}", _one_line(error), "numbers or null", _REMEDY)
    return pd.DataFrame(frame)


def _shown(line: bytes) -> str:
    return line.decode(errors="replace")[:60]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
