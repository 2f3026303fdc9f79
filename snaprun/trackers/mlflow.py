"""An MLflow tracking server, or a database on this machine."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from filelock import FileLock

from snaprun.listing import flat
from snaprun.trackers.base import Row, Tracked, Tracker, needing

_METRICS, _PARAMS, _TAGS = 1000, 100, 100  # the most that MLflow takes at once
_LONGEST = 5000  # characters of a parameter or a tag
_SQLITE = "sqlite:///"


class MLflow(Tracker):
    """Logs each number of a row at the step `tokens`; the configuration becomes parameters.

    MLflow appends, so `open` continues a run that holds a beginning of the rows under the same
    parameters; else it deletes the run, which `mlflow gc` makes final, and begins another.
    `uri` is that of a server (http://…) or of a database (sqlite:///file).

    >>> tracker = MLflow(uri="sqlite:///mlflow.db", experiment="copy")  # as logger=mlflow makes it
    """

    def __init__(self, uri: str, experiment: str) -> None:
        # Unless told otherwise the library reports its use, and waits minutes for a dead server.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        with needing("mlflow"):
            import mlflow
            import sqlalchemy  # noqa: F401  # without it MLflow cannot say what a database needs
            from mlflow import entities
        for noisy in ("mlflow", "alembic", "urllib3"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        self._client_of, self._entities = mlflow.MlflowClient, entities
        self._exception = mlflow.MlflowException
        self._file = os.path.abspath(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else ""
        # MLflow keeps connections by their address, also when the working directory changes.
        self._uri = f"{_SQLITE}{self._file}" if self._file else uri
        self._experiment = experiment

    def open(self, run: Tracked, rows: Sequence[Row], known: str) -> str:
        """Continue the run or begin another, and log the rows that it lacks."""
        self._run = run
        self._client, experiment = self._connected()
        params = {key: str(value)[:_LONGEST] for key, value in flat(run.config).items()}
        before = self._active(known)
        held = self._held(before, rows, params) if before else None
        if held is None:
            if before:
                self._client.delete_run(known)
            self._id = self._created(experiment, params)
        else:
            self._id = known
            self._client.update_run(known, status="RUNNING")
        self.write(rows[held or 0 :])
        return self._id

    def _active(self, known: str) -> Any | None:
        """Return the run of this id; None if there is none, or the user has deleted it."""
        try:
            found = self._client.get_run(known) if known else None
        except self._exception as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # of a server that cannot answer
                raise
            return None
        return found if found and found.info.lifecycle_stage == "active" else None

    def _connected(self) -> tuple[Any, str]:
        """Return a client and the id of the experiment; both are made where missing."""
        with ExitStack() as stack:
            if self._file:  # two processes that make its tables at once hinder each other
                os.makedirs(os.path.dirname(self._file), exist_ok=True)
                stack.enter_context(FileLock(f"{self._file}.lock", timeout=120))
            client = self._client_of(self._uri)
            found = client.get_experiment_by_name(self._experiment)
            made = found.experiment_id if found else client.create_experiment(self._experiment)
            return client, made

    def _held(self, before: Any, rows: Sequence[Row], params: Mapping[str, str]) -> int | None:
        """Return how many of the first rows the run holds; None if it holds anything else."""
        history = self._client.get_metric_history(before.info.run_id, "seconds")
        clock = sorted((metric.step, metric.value) for metric in history)
        ours = [(row["tokens"], row["seconds"]) for row in rows[: len(clock)]]
        return len(clock) if clock == ours and before.data.params == params else None

    def _created(self, experiment: str, params: Mapping[str, str]) -> str:
        began = int(1000 * self._run.began)
        made = self._client.create_run(experiment, start_time=began, run_name=self._run.name)
        values = [self._entities.Param(key, value) for key, value in params.items()]
        for part in _parts(values, _PARAMS):
            self._client.log_batch(made.info.run_id, params=part)
        return made.info.run_id

    def write(self, rows: Sequence[Row]) -> None:
        """Log rows, as many in a request as it takes whole."""
        batch = list[Any]()
        for row in rows:
            moment, step = int(1000 * self._run.time(row)), row["tokens"]
            values = [
                self._entities.Metric(name, value, moment, step)
                for name, value in row.items()
                if name != "tokens" and value is not None
            ]
            if len(batch) + len(values) > _METRICS:
                self._send(batch)
                batch = []
            batch += values
        self._send(batch)

    def _send(self, metrics: Sequence[Any]) -> None:
        for part in _parts(metrics, _METRICS):
            self._client.log_batch(self._id, metrics=part)

    def close(self, summary: Mapping[str, Any] | None) -> None:
        """Add the summary as tags `summary.…` and set the status."""
        if summary is None:
            self._client.set_terminated(self._id, status="KILLED")
            return
        tags = [
            self._entities.RunTag(f"summary.{key}", str(value)[:_LONGEST])
            for key, value in flat(summary).items()
        ]
        for part in _parts(tags, _TAGS):
            self._client.log_batch(self._id, tags=part)
        self._client.set_terminated(self._id, status="FINISHED")


def _parts(values: Sequence[Any], most: int) -> Iterator[Sequence[Any]]:
    return (values[at : at + most] for at in range(0, len(values), most))
