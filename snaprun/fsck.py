"""Verifies all checksums of the files of runs, without torch."""

import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snaprun.checks import UserError
from snaprun.files import Folder
from snaprun.store import (
    BEST,
    CHECKPOINT,
    METRICS,
    chosen,
    find_runs,
    outline,
    read_config,
    read_intact,
    read_run,
)
from snaprun.store.log import marked
from snaprun.store.reader import said_within
from snaprun.store.schema import FAILURE, OWNER

OK = "ok"  # done, and all checksums match
UNFINISHED = "unfinished"  # not done, but readable, and the checkpoint's checksums match
DAMAGED = "damaged"

# Raises UserError if a folder has another name than the run of its configuration.
RequireNamed = Callable[[Path, Mapping[str, Any]], None]


@dataclass(frozen=True)
class Found:
    """How many runs were verified, and how many of them are damaged."""

    runs: int
    damaged: int


def fsck(source: Path, require_named: RequireNamed, tell: Callable[[str], None]) -> Found:
    """Verify the runs under `source`, and `tell` one line for each run and one for all.

    Verifies the sha256 of the last and the best checkpoint, and that the metrics begin as the last
    one says; of a done run also the crc32 of configuration, metrics and summary. A folder with only
    a part of a run counts as a damaged run. Raises UserError if there are no runs.
    """
    source = chosen(source)
    found: Counter[str] = Counter()
    for folder in find_runs(source, pieces=True):
        verdict, why = verify(folder, require_named)
        found[verdict] += 1
        tell(f"{verdict:<10}  {folder.relative_to(source)}" + (f": {why}" if why else ""))
    counts = ", ".join(f"{found[word]} {word}" for word in (OK, UNFINISHED, DAMAGED) if found[word])
    runs = found.total()
    tell(f"{runs} {'run' if runs == 1 else 'runs'}: {counts}")
    return Found(runs, found[DAMAGED])


def verify(folder: Path, require_named: RequireNamed) -> tuple[str, str]:
    """Return the verdict on the run in `folder`, and a line on what is damaged or left to do."""
    try:
        return _verify(folder, require_named)
    except UserError:  # perhaps only because the run went on between two reads
        try:
            return _verify(folder, require_named)
        except UserError as error:
            return DAMAGED, said_within(folder, error)


def _verify(folder: Path, require_named: RequireNamed) -> tuple[str, str]:
    require_named(folder, read_config(folder))
    with _naming(folder / CHECKPOINT), Folder.open(folder) as opened:
        for name in (FAILURE, OWNER):
            if (found := opened.stat(name)) and not stat.S_ISREG(found.st_mode):
                raise UserError(f"{folder / name}: it is no file.")
        with _naming(folder / BEST):
            _tree(opened, BEST)
        # Read the checkpoint before the metrics: the metrics only grow while the run continues.
        tree = _tree(opened, CHECKPOINT)
        if tree is not None:
            marked(opened, METRICS, outline.mark(tree))
    if read_intact(folder) is not None:
        return OK, ""
    rows = len(read_run(folder).metrics)
    noun = "row" if rows == 1 else "rows"
    return UNFINISHED, f"{rows} {noun}, {'no' if tree is None else 'a whole'} checkpoint"


def _tree(folder: Folder, name: str) -> Any:
    """Return the content of the checkpoint `name`, verified; None if there is no such file."""
    with outline.opened(folder, name) as saved:
        if saved is None:
            return None
        if not isinstance(saved.tree, dict) or saved.tree.get("run") != folder.path.name:
            raise ValueError("it is that of another run")
        return saved.tree


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn an OSError or a ValueError inside the block into a UserError that names `path`."""
    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(f"{path}: {said}.") from error
