"""Whether the files that a run read are still what they were."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snaprun.checks import refuse
from snaprun.tasks.base import Task

RESTART = "Set restart=true to train on it as it is now, or name=… to keep both."


def require_same(
    kind: type[Task],
    arguments: Mapping[str, Any],
    folder: Path,
    facts: Mapping[str, Any],
    remedy: str = RESTART,
) -> list[str]:
    """Raise UserError, of one line, if a file has changed since the run in `folder` read it.

    `arguments` are those of its task, of the class `kind`, and `facts` are what it recorded. The
    line ends with `remedy`.
    Returns the key and path of each file that can no longer be read and so cannot be compared.
    """
    unread = []
    for key, fact in kind.files.items():
        name, recorded = arguments.get(key), facts.get(fact)
        if name is None or recorded is None:
            continue
        now = kind.sha256(name)
        if now is None:
            unread.append(f"task.{key}={name}")
        elif now != recorded:
            sums = f"of sha256 {str(recorded)[:12]}…; now it has {now[:12]}…"
            accepted = f"what {folder} was trained on, {sums}"
            refuse(f"task.{key}", name, accepted, remedy)
    return unread
