"""Columns of numbers from CSV and Parquet files, read in chunks, every value checked."""

import csv
import hashlib
import io
import re
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from snaprun.checks import one_of, refuse
from snaprun.tasks.chaos import Values
from snaprun.tasks.local import read_file

KEY = "task.data"
CHUNK = 65536  # rows of a Parquet file that are read at once
LARGEST = 1e100  # beyond it, squares overflow
MISSING = {"", "na", "n/a", "<na>", "nan", "null", "none"}  # in small letters
NUMBERS = "a number in every row of every column that is read"


@dataclass(frozen=True)
class Table:
    """Rows of numbers and what identifies them."""

    names: Sequence[str]  # of the columns
    values: Values  # (N, C)
    sha256: str


def choose(
    there: Sequence[str], columns: Sequence[str] | None, targets: Sequence[str] | None
) -> list[str]:
    """Return the names of the columns to read: `columns` (None: all), then further `targets`.

    Raises UserError for a name that is not one of those `there`, or that is listed twice.
    """
    for key, names in (("task.columns", columns), ("task.targets", targets)):
        for name in names or ():
            one_of(key, name, there)
        if names is not None and len(set(names)) != max(len(names), 1):
            refuse(key, names, "a list of one or more columns, each of them once, or null")
    return list(dict.fromkeys([*(there if columns is None else columns), *(targets or ())]))


def read_table(
    name: str, accepted: str, columns: Sequence[str] | None, targets: Sequence[str] | None
) -> Table:
    """Return the columns that `choose` takes from the CSV or Parquet file at the path `name`.

    A CSV file is UTF-8 text with commas between its fields, and its first line names the columns.
    Numbers may be in quotes, and empty lines may end it. A Parquet file, which its first bytes
    tell, needs pyarrow. Every column that is read has to hold finite numbers and nothing else.

    Raises UserError, which lists what is `accepted` if there is no such file, and otherwise names
    the line (of a Parquet file the row) and the column where a value is wrong; both count from 1.
    """

    def read(path: Path) -> Table:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            parquet = file.read(4) == b"PAR1"
            file.seek(0)
            chosen, values = (_parquet if parquet else _csv)(name, file, columns, targets)
        if not len(values):
            refuse(KEY, name, "a file with rows of numbers", f"{str(path)!r} has none.")
        return Table(chosen, values, sha256)

    return read_file(name, KEY, accepted, read)


def _csv(
    name: str, file: BinaryIO, columns: Sequence[str] | None, targets: Sequence[str] | None
) -> tuple[list[str], Values]:
    line = 1  # where a record begins; one with quotes may go over several lines
    empty = 0  # the first of the empty lines, which may only end the file
    values = array("d")
    try:
        with io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines, skipinitialspace=True)
            there = [field.strip() for field in next(reader, [])]
            _require_names(name, there)
            chosen = choose(there, columns, targets)
            at = [there.index(column) for column in chosen]
            line = reader.line_num + 1
            for fields in reader:
                if not fields:
                    empty = empty or line
                elif empty:
                    _wrong(name, f"Line {empty} is empty")
                else:
                    values.extend(_row(name, fields, there, at, line))
                line = reader.line_num + 1
    except UnicodeDecodeError as error:
        refuse(KEY, name, "a CSV file in UTF-8, or a Parquet file", f"It is neither ({error}).")
    except csv.Error as error:
        _wrong(name, f"Line {line} cannot be read ({error})")
    return chosen, np.frombuffer(values).reshape(-1, len(at))


def _row(
    name: str, fields: Sequence[str], there: Sequence[str], at: Sequence[int], line: int
) -> list[float]:
    """Return the numbers of the fields `at`; `line` is where the record begins."""
    if len(fields) != len(there):
        _wrong(name, f"Line {line} has {len(fields)} fields, the first line {len(there)}")
    found = []
    for i in at:
        value = _number(fields[i])
        if value is None:
            where = f"in line {line}, column {there[i]!r}"
            _wrong(name, f"The value {where} is {_described(fields[i])}")
        found.append(value)
    return found


def _require_names(name: str, there: Sequence[str]) -> None:
    """Raise UserError unless `there`, the first line of a CSV file, names the columns."""
    accepted = "a file whose first line names its columns"
    if not any(there):
        refuse(KEY, name, accepted, "That line is empty.")
    if all(_number(field) is not None for field in there):
        refuse(KEY, name, accepted, "That line holds numbers: put one with names before it.")
    if len(there) == 1 and (other := re.search("[;\t]", there[0])):
        found = "a tab" if other[0] == "\t" else repr(other[0])
        accepted = "a CSV file with commas between its values"
        remedy = "write it with commas, and decimals with points."
        refuse(KEY, name, accepted, f"Its first line has {found} instead: {remedy}")
    _require_different(name, there)


def _require_different(name: str, there: Sequence[str]) -> None:
    for column, count in Counter(there).items():
        if count > 1:
            accepted = "a file whose columns have different names"
            refuse(KEY, name, accepted, f"{column!r} is the name of {count} of them.")


def _number(field: str) -> float | None:
    """Return the finite number that `field` holds, or None."""
    try:
        value = float(field)
    except ValueError:
        return None
    # Python reads 1_000 as a number, other programs do not.
    return value if -LARGEST <= value <= LARGEST and "_" not in field else None


def _described(field: str) -> str:
    if field.strip().lower() in MISSING:
        return "missing"
    shown = field if len(field) <= 40 else field[:37] + "..."
    try:
        value = float(field.replace("_", "-"))
    except ValueError:
        return f"the text {shown!r}"
    return f"{shown}, " + ("infinite" if np.isinf(value) else f"beyond ±{LARGEST:g}")


def _wrong(name: str, found: str) -> NoReturn:
    remedy = "repair the file, or choose other columns with task.columns=[…]."
    refuse(KEY, name, NUMBERS, f"{found}: {remedy}")


def _parquet(
    name: str, file: BinaryIO, columns: Sequence[str] | None, targets: Sequence[str] | None
) -> tuple[list[str], Values]:
    try:
        arrow: Any = import_module("pyarrow")
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError:
        remedy = "To read a Parquet file install pyarrow: pip install 'snaprun[parquet]'."
        refuse(KEY, name, "a CSV file, as pyarrow is not installed", remedy)
    try:
        return _whole(name, arrow, parquet.ParquetFile(file), columns, targets)
    except (arrow.ArrowException, OSError) as error:  # a damaged page raises either
        why = " ".join(str(error).split())
        refuse(KEY, name, "a Parquet file that is whole", f"It cannot be read ({why}).")


def _whole(
    name: str, arrow: Any, table: Any, columns: Sequence[str] | None, targets: Sequence[str] | None
) -> tuple[list[str], Values]:
    """Return the chosen columns of `table`, a pyarrow.parquet.ParquetFile, and their numbers."""
    there = table.schema_arrow.names
    _require_different(name, there)
    chosen = choose(there, columns, targets)
    for column in chosen:
        kind = table.schema_arrow.field(column).type
        if not (arrow.types.is_integer(kind) or arrow.types.is_floating(kind)):
            _wrong(name, f"The column {column!r} has the type {kind}")
    read, values = 0, array("d")
    for batch in table.iter_batches(CHUNK, columns=chosen):
        chunk = np.empty((batch.num_rows, len(chosen)))
        for c, column in enumerate(chosen):
            found = batch.column(batch.schema.get_field_index(column))
            chunk[:, c] = found.to_numpy(zero_copy_only=False)  # NaN where there is no value
        bad = ~(abs(chunk) <= LARGEST)
        if bad.any():
            r, c = np.argwhere(bad)[0]
            where = f"in row {read + r + 1}, column {chosen[c]!r}"
            _wrong(name, f"The value {where} is {_described(str(chunk[r, c]))}")
        values.frombytes(chunk.tobytes())
        read += batch.num_rows
    return chosen, np.frombuffer(values).reshape(-1, len(chosen))
