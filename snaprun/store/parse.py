"""Fast parsers for the files of runs, of which there may be thousands.

They accept a text only in the form in which a run writes it. For any other text, the caller uses a
slower parser, which says what is wrong.
"""

import functools
import re
from collections.abc import Callable
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from snaprun.store.schema import COUNTERS

if TYPE_CHECKING:
    import pandas as pd

COUNTS = ("tokens", "updates")  # int64; all else is float64
_ROWS = msgspec.json.Decoder(dict[str, int | float | None])
_LARGE = 16_384  # bytes: the parts of a larger configuration are not kept
# A part of a YAML text with one of these may mean something else alone than within the whole:
# ends of documents, merge keys, tags, anchors and aliases.
_ENTANGLED = re.compile(rb"---|\.\.\.|<<|[!&*]")
_PARTS = re.compile(rb"^(?=[A-Za-z_])", re.MULTILINE)

Columns = dict[str, NDArray[Any]]  # by name, each of shape (N,)


def columns(content: bytes) -> Columns | None:
    """Return the metrics in `content`: tokens and updates int64, all else float64 (null: NaN).

    None unless lines are objects of numbers, counters are finite and ≥ 0, and tokens never fall.
    """
    number = content.count(b"{")
    breaks = content.count(b"\n") - content.endswith(b"\n")
    # If all line breaks lie between two objects, one in each gap, each object has its own line.
    if not number or breaks != number - 1 or content.count(b"}\n{") != breaks:
        return None
    try:
        rows = _ROWS.decode_lines(content)
        if len(rows) != number or not rows[0].keys() >= set(COUNTERS):
            return None
        found = _columns(rows)
    except (msgspec.MsgspecError, ValueError, OverflowError):
        return None
    tokens_N, updates_N, seconds_N = (found[name] for name in COUNTERS)
    whole = tokens_N.dtype == updates_N.dtype == np.int64
    counted = whole and tokens_N[0] >= 0 and updates_N.min() >= 0 and seconds_N.min() >= 0
    if counted and np.isfinite(seconds_N).all() and (tokens_N[1:] >= tokens_N[:-1]).all():
        return found
    return None


def _columns(rows: list[dict[str, Any]]) -> Columns:
    kinds = dict.fromkeys(map(tuple, rows))
    names = list(dict.fromkeys(name for kind in kinds for name in kind))
    if len(kinds) == 1:
        values = list(zip(*map(itemgetter(*names), rows), strict=True))
    else:
        values = [[row.get(name) for row in rows] for name in names]
    # Counters keep the type of their values, so that a count that is no integer is noticed.
    found = {
        name: np.array(column, dtype=None if name in COUNTS else np.float64)
        for name, column in zip(names, values, strict=True)
    }
    return {name: found[name] for name in dict.fromkeys([*COUNTERS, *names])}


def as_columns(metrics: "pd.DataFrame") -> Columns:
    """Return the columns of a table."""
    return {str(name): metrics[name].to_numpy() for name in metrics}


def mapping(content: bytes, load: Callable[[bytes], Any]) -> Any:
    """Return what `load` makes of a YAML text, loading equal entries of the top level only once.

    The configurations of a sweep differ in few entries. The value is shared: do not change it.
    """
    if len(content) > _LARGE or _ENTANGLED.search(content):
        return load(content)
    parts = _PARTS.split(content)[1:]
    try:
        found = [_entry(part, load) for part in parts]
    except Exception:  # loading the whole text tells where the error is
        return load(content)
    if not found or b"".join(parts) != content or not all(type(one) is dict for one in found):
        return load(content)
    return {key: value for one in found for key, value in one.items()}


@functools.lru_cache(maxsize=4096)
def _entry(part: bytes, load: Callable[[bytes], Any]) -> Any:
    return load(part)
