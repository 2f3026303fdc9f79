"""Weights & Biases, offline unless the user asks for its server."""

import os
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from snaprun.checks import UserError
from snaprun.trackers.base import Row, Tracked, Tracker, needing

_FOLDER = "wandb"  # which the library makes in the run's folder


class WandB(Tracker):
    """Logs each row as one step of the history, with `tokens` as the x axis of every chart.

    Offline, `open` replaces the files of an earlier attempt. Online, it continues the run on the
    server if the server holds a beginning of the rows, and else begins another run. Raises
    UserError if `mode` is online and there is no API key.

    >>> tracker = WandB(project="snaprun", group="copy")  # as logger=wandb makes it
    """

    def __init__(
        self,
        project: str,
        group: str,
        entity: str | None = None,
        mode: Literal["offline", "online"] = "offline",
    ) -> None:
        # Unless told otherwise the library reports its use to its makers, even offline.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        with needing("wandb"):
            import wandb
        self._wandb, self._online = wandb, mode == "online"
        self._where = {"project": project, "group": group, "entity": entity, "mode": mode}
        if self._online and not wandb.login(prompt=False, verify=False):
            raise UserError(
                "logger.wandb.mode=online needs an API key: run `wandb login` first, or set "
                "logger.wandb.mode=offline."
            )

    def open(self, run: Tracked, rows: Sequence[Row], known: str) -> str:
        """Begin the run, or continue it on the server, and log the rows that it lacks."""
        if not re.fullmatch(r"[0-9a-f]{8}", known):  # else it could lead out of the folder
            known = ""
        if not self._online and known:
            for earlier in run.folder.path.glob(f"{_FOLDER}/offline-run-*-{known}"):
                shutil.rmtree(earlier)
        name = known or secrets.token_hex(4)
        self._begin(run, name)
        held = self._run.step
        if held and not self._agrees(rows[:held], held):
            self._run.finish()
            name = secrets.token_hex(4)
            self._begin(run, name)
            held = 0
        self._run.define_metric("*", step_metric="tokens")
        self.write(rows[held:])
        return name

    def _begin(self, run: Tracked, name: str) -> None:
        settings = self._wandb.Settings(
            silent=True,
            console="off",
            disable_code=True,
            disable_git=True,
            init_timeout=30,
            symlink=False,
            x_disable_stats=True,
            x_save_requirements=False,
        )
        self._run = self._wandb.init(
            **self._where,
            id=name,
            name=run.name,
            config=dict(run.config),
            dir=run.folder.path.absolute(),  # its process may have begun in another folder
            resume="allow" if self._online else None,
            settings=settings,
        )

    def _agrees(self, rows: Sequence[Row], held: int) -> bool:
        """Return whether the server's newest row is the last of these, and its steps are theirs."""
        return len(rows) == held and self._run.summary.get("seconds") == rows[-1]["seconds"]

    def write(self, rows: Sequence[Row]) -> None:
        """Log each row."""
        for row in rows:
            self._run.log(dict(row))

    def close(self, summary: Mapping[str, Any] | None) -> None:
        """Add the summary and finish the run; one that has not ended counts as failed there."""
        if summary is not None:  # under one key, because W&B keeps the last row's values there
            self._run.summary["summary"] = dict(summary)
        self._run.finish(exit_code=int(summary is None))
