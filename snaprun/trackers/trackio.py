"""Trackio's database on this machine, which `trackio show` draws and `trackio sync` publishes."""

import re
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from snaprun.checks import refuse
from snaprun.trackers.base import Row, Tracked, Tracker, needing


class Trackio(Tracker):
    """Writes the run anew on every `open`, under the id that it had.

    It calls Trackio's storage, as Trackio's own importers do: `trackio.init` asks a server for the
    user's name where the machine has a token, and its thread hides errors. A project's name is
    letters, digits, `_` and `-`; runs with one `group` are shown together.

    >>> tracker = Trackio(project="snaprun", group="copy")  # as logger=trackio makes it
    """

    def __init__(self, project: str, group: str) -> None:
        with needing("trackio"):
            from trackio.sqlite_storage import SQLiteStorage
        if not re.fullmatch(r"[A-Za-z0-9_-]+", project):
            refuse("logger.trackio.project", project, "letters, digits, _ and -")
        self._storage, self._project, self._group = SQLiteStorage, project, group

    def open(self, run: Tracked, rows: Sequence[Row], known: str) -> str:
        """Replace the run's rows in the database with these."""
        self._run, self._id, self._count = run, known or secrets.token_hex(16), 0
        self._storage.delete_run(self._project, run.name, run_id=self._id)
        self._config = {**run.config, "_Group": self._group, "_Created": _iso(run.began)}
        self._last: Row | None = None
        self.write(rows)
        return self._id

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows, in one transaction."""
        if rows:
            self._log(rows, self._count)
            self._count, self._last = self._count + len(rows), rows[-1]

    def close(self, summary: Mapping[str, Any] | None) -> None:
        """Put the summary beside the choices, because Trackio has no place of its own for it."""
        if summary is not None and self._last is not None:
            self._config["summary"] = dict(summary)
            # A configuration is written with a row; the database ignores one that it has.
            self._log([self._last], self._count - 1)

    def _log(self, rows: Sequence[Row], first: int) -> None:
        self._storage.bulk_log(
            self._project,
            self._run.name,
            [{k: value for k, value in row.items() if k != "tokens"} for row in rows],
            steps=[row["tokens"] for row in rows],
            timestamps=[_iso(self._run.time(row)) for row in rows],
            config=self._config,
            log_ids=[f"{self._id}-{first + n}" for n in range(len(rows))],
            run_id=self._id,
        )


def _iso(seconds: float) -> str:
    moment = time.gmtime(seconds)
    return time.strftime("%Y-%m-%dT%H:%M:%S", moment) + f".{int(seconds % 1 * 1e6):06}+00:00"
