"""Checksums in the summary, by which a file of a finished run that was damaged later shows.

`"crc32": {"config.yaml": …, "metrics.jsonl": …, "summary.json": …}`, the last one of the summary
itself, as canonical JSON without its own checksum.
"""

import json
import zlib
from collections.abc import Mapping
from typing import Any

from snaprun.store.schema import SUMMARY

_KEY = "crc32"


def sealed(data: Mapping[str, Any], files: Mapping[str, int]) -> dict[str, Any]:
    """The object of a summary with the checksums of the other `files` and its own."""
    whole = {**data, _KEY: dict(files)}
    return {**data, _KEY: {**files, SUMMARY: _crc32(whole)}}


def unsealed(data: Any) -> tuple[Any, dict[str, int]]:
    """The object that was sealed, and the checksums of the other files; ValueError on a mismatch.

    An object without checksums, from before there were any, is returned as it is.
    """
    if not isinstance(data, dict) or _KEY not in data:
        return data, {}
    files = data[_KEY]
    if not isinstance(files, dict) or SUMMARY not in files:
        raise ValueError(f"no {_KEY} of {SUMMARY}")
    others = {name: value for name, value in files.items() if name != SUMMARY}
    if _crc32({**data, _KEY: others}) != files[SUMMARY]:
        raise ValueError("changed after it was written")
    return {key: value for key, value in data.items() if key != _KEY}, others


def _crc32(data: Any) -> int:
    return zlib.crc32(json.dumps(data, sort_keys=True).encode())
