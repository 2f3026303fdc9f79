"""What each tracker holds of a run, read by the tracker's own code and compared with its rows."""

import json
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from snaprun.store import COUNTERS, METRICS

BLOCK, HEAD = 32768, 7  # bytes of a block, of a record's head and of the file's, in a .wandb file


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / METRICS).read_text().splitlines()]


def in_tensorboard(run: Path) -> None:
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    (file,) = run.glob("events.out.tfevents.*")
    found = [
        (event.step, {value.tag: value.simple_value for value in event.summary.value})
        for event in LegacyEventFileLoader(str(file)).Load()
        if event.HasField("summary")
    ]
    assert found == [
        (
            row["tokens"],
            {k: np.float32(v) for k, v in row.items() if k not in COUNTERS and v is not None},
        )
        for row in rows_of(run)
    ]


def in_trackio(run: Path) -> Any:
    """Returns Trackio's run, the only one of that name."""
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    (held,) = (one for one in trackio.Api().runs("snaprun") if one.name == run.name)
    found = SQLiteStorage.get_logs("snaprun", run_id=held.id)
    assert [{k: v for k, v in log.items() if k != "timestamp"} for log in found] == [
        {"step" if k == "tokens" else k: v for k, v in row.items()} for row in rows_of(run)
    ]
    assert sorted(log["timestamp"] for log in found) == [log["timestamp"] for log in found]
    return held


def in_wandb(run: Path) -> dict[str, list[Any]]:
    """Returns the records of the only offline run, by kind."""
    from wandb.proto.wandb_internal_pb2 import Record  # pyright: ignore

    (file,) = run.glob("wandb/offline-run-*/run-*.wandb")
    found: dict[str, list[Any]] = defaultdict(list)
    for data in _records(file.read_bytes()):
        record = Record.FromString(data)
        kind = record.WhichOneof("record_type")
        found[kind].append(getattr(record, kind))
    rows = [items(record.item) for record in found["history"]]
    assert [{k: v for k, v in row.items() if k[0] != "_"} for row in rows] == rows_of(run)
    return found


def items(pairs: Iterable[Any]) -> dict[str, Any]:
    return {".".join(one.nested_key) or one.key: json.loads(one.value_json) for one in pairs}


def _records(data: bytes) -> Iterator[bytes]:
    """The records of a log of LevelDB, whose format W&B's files have."""
    assert data[:4] == b":W&B"
    at, parts = HEAD, b""
    while at < len(data):
        if BLOCK - at % BLOCK < HEAD:
            at += BLOCK - at % BLOCK
            continue
        crc, size, kind = struct.unpack_from("<IHB", data, at)
        body = data[at + HEAD : at + HEAD + size]
        assert crc == zlib.crc32(body, zlib.crc32(bytes([kind])))
        at, parts = at + HEAD + size, parts + body
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def in_mlflow(run: Path, uri: str) -> Any:
    """Returns MLflow's run, the only one of that name."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(run.parent.name)
    (held,) = client.search_runs([experiment.experiment_id], f"attributes.run_name = '{run.name}'")
    rows = rows_of(run)
    numbers = {key for row in rows for key, value in row.items() if value is not None}
    assert held.data.metrics.keys() == numbers - {"tokens"}
    for name in held.data.metrics:
        found = client.get_metric_history(held.info.run_id, name)
        assert sorted((m.step, m.timestamp, m.value) for m in found) == [
            (m.step, m.timestamp, m.value) for m in found
        ]
        assert [(m.step, m.value) for m in found] == [
            (row["tokens"], row[name]) for row in rows if row.get(name) is not None
        ]
    return held
