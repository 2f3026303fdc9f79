"""Places for the trackers to write, so that no test meets the user's own."""

import shutil
import sqlite3
from contextlib import closing

import pytest


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """A database of MLflow without a run; to make its tables takes seconds."""
    pytest.importorskip("mlflow")
    from snaprun.trackers import TRACKERS

    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    TRACKERS["mlflow"](uri=f"sqlite:///{file}", experiment="none")._connected()  # pyright: ignore
    with closing(sqlite3.connect(file)) as database:  # what is in its journal goes into the file
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return file


@pytest.fixture
def places(here, monkeypatch, request):
    """An empty working directory in which all trackers write."""
    storage = pytest.importorskip("trackio.sqlite_storage")
    pytest.importorskip("wandb")
    monkeypatch.setattr(storage, "TRACKIO_DIR", here / "trackio")
    (here / "results").mkdir()
    shutil.copy(request.getfixturevalue("empty_database"), here / "results" / "mlflow.db")
    return here
