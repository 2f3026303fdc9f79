"""Checksums in the summary, which reveal later damage to a file of a finished run.

`"crc32": {"config.yaml": …, "metrics.jsonl": …, "summary.json": …}`. The last checksum is that of
the summary itself, as canonical JSON without this checksum.
"""

import json
import zlib
from collections.abc import Mapping
from typing import Any

from snaprun.store.schema import CONFIG, METRICS, SUMMARY

_KEY = "crc32"


def sealed(data: Mapping[str, Any], files: Mapping[str, int]) -> dict[str, Any]:
    """Return the object of a summary with the checksums of the other `files` and its own."""
    whole = {**data, _KEY: dict(files)}
    return {**data, _KEY: {**files, SUMMARY: _crc32(whole)}}


def unsealed(data: Any) -> tuple[Any, dict[str, int]]:
    """Return the sealed object and the other files' checksums; ValueError if one is not right."""
    files = data.get(_KEY) if isinstance(data, dict) else None
    if not isinstance(files, dict) or files.keys() != {CONFIG, METRICS, SUMMARY}:
        raise ValueError(f"no {_KEY} of {CONFIG}, {METRICS} and {SUMMARY}")
    others = {name: value for name, value in files.items() if name != SUMMARY}
    if _crc32({**data, _KEY: others}) != files[SUMMARY]:
        raise ValueError("changed after it was written")
    return {key: value for key, value in data.items() if key != _KEY}, others


def _crc32(data: Any) -> int:
    return zlib.crc32(json.dumps(data, sort_keys=True).encode())
