"""Forecasts of a series of numbers."""

import copy
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from snaprun.checks import at_least, one_of, refuse, within
from snaprun.losses import MeanSquaredError, NormalisedRootMeanSquaredError
from snaprun.require import mismatch, require_count, require_entries, require_tensor
from snaprun.tasks.base import Batch, Task, require_lanes
from snaprun.tasks.chaos import Values, lorenz, mackey_glass
from snaprun.tasks.moments import Moments
from snaprun.tasks.table import KEY, Table, choose, read_table

Standardise = Literal["running", "none"]
GENERATED = {"mackey_glass": (("x",), mackey_glass), "lorenz": (("x", "y", "z"), lorenz)}
ACCEPTED = f"{', '.join(GENERATED)} or the path of a CSV or Parquet file"
MOST = 10**8  # points of a generated series, which take minutes
CHUNK = 65536  # rows that are taken at once where no batch is made


@dataclass(frozen=True)
class Span:
    """T successive rows of one lane: what Batch has of that lane, in float64."""

    inputs: Values  # (T, a)
    targets: Values  # (T, O)
    baseline: Values  # (T, O)
    mask: np.ndarray  # (T,) bool
    resets: np.ndarray  # (T,) bool


class Series(Task):
    """Predict the targets of row t + horizon of a series from the columns of the rows up to t.

    `data` is `mackey_glass` or `lorenz`, `length` points of it (snaprun.tasks.chaos), or the path
    of a CSV or Parquet file (snaprun.tasks.table). `columns` are the inputs (None: all columns, and
    then a column that is not numeric is refused, not skipped), `targets` what is predicted
    (None: the columns). The baseline is the persistence forecast: y(t) for y(t + horizon).

    B lanes read on without end, `crop` rows a minibatch; lane b starts at row b·⌊N/B⌋ of the N
    training rows. A lane is reset at the first step of the run, and when it returns from the end to
    the beginning, where it has read all rows but the last `horizon`, which are targets only.

    standardise=running: with m_t and s_t, the mean and the standard deviation of a column over the
    rows that the lane has read since its last reset, row t included,

        input (x(t) − m_t) / s_t,    target (y(t + horizon) − m_t) / s_t

    so nothing after row t enters but the target itself. s_t is 1 where it would be 0. The first
    `warm_up` rows after a reset have no target, as m_t and s_t are not settled yet.
    standardise=none: the numbers as they are, and no warm-up.

    The last `valid_fraction` of the rows (0: none) is held out. It is read in one lane, whose state
    begins with zero; m_t and s_t are those of all rows from the first of the series to t, so there
    is no warm-up. Raises UserError if a part is too short to have a target.

    >>> import torch
    >>> from snaprun.tasks.series import Series
    >>> task = Series("lorenz", horizon=2, targets=["z"], standardise="none", length=500)
    >>> batch = task.batch(lanes=3, generator=torch.Generator())
    >>> tuple(batch.inputs.shape), tuple(batch.targets.shape)
    ((128, 3, 3), (128, 3, 1))
    >>> torch.equal(batch.targets[:-2, :, 0], batch.inputs[2:, :, 2])
    True
    """

    one_hot = False
    loss = MeanSquaredError()
    measures = (NormalisedRootMeanSquaredError(),)
    held_out_lanes = 1
    length_key = "crop"
    files: ClassVar = {"data": "series_sha256"}

    def __init__(
        self,
        data: str = "mackey_glass",
        columns: list | None = None,
        targets: list | None = None,
        horizon: int = 1,
        standardise: Standardise = "running",
        length: int = 100_000,
        crop: int = 128,
        warm_up: int = 100,
        valid_fraction: float = 0.1,
    ) -> None:
        self.horizon = at_least("task.horizon", horizon, 1)
        self.standardise = one_of("task.standardise", standardise, get_args(Standardise))
        length = at_least("task.length", length, 1, MOST)
        self.crop = at_least("task.crop", crop, 1)
        warm_up = at_least("task.warm_up", warm_up, 0)
        self._unsettled = warm_up if self.standardise == "running" else 0
        within("task.valid_fraction", valid_fraction, 0.0, 1.0, open_high=True)

        # In YAML a name such as 0 is a number.
        columns, targets = (names and list(map(str, names)) for names in (columns, targets))
        if data in GENERATED:
            table = _generated(data, length, columns, targets)
            self._facts: dict[str, object] = {"series": data, "generated_sha256": table.sha256}
        else:
            table = read_table(data, ACCEPTED, columns, targets)
            self._facts = {"series": data, "series_sha256": table.sha256}
        self._data, self._values = data, table.values
        inputs = columns or table.names
        self._columns = [table.names.index(name) for name in inputs]
        self._targets = [table.names.index(name) for name in targets or inputs]
        self.inputs, self.outputs = len(self._columns), len(self._targets)

        rows = len(self._values)
        if self.horizon >= rows:
            refuse("task.horizon", horizon, f"less than the {rows} rows of task.data={data}")
        self._cut = rows - int(rows * valid_fraction)  # the first held-out row
        need = self.horizon + max(self.crop, self._unsettled + 1)
        beside = "task.crop" if self.crop > self._unsettled else "task.warm_up + 1"
        self._require("training", self._cut, need, beside)
        if self._cut < rows:
            self._require("validation", rows - self._cut, self.horizon + 1, "1")
        self._facts |= {"train_rows": self._cut, "valid_rows": rows - self._cut}
        self._read = 0  # rows that each lane has read
        self._past: list[Moments] = []  # of each lane, since its last reset

    def _require(self, part: str, rows: int, need: int, what: str) -> None:
        if rows < need:
            accepted = f"a series with at least {need} rows for {part} (task.horizon + {what})"
            remedy = "take a longer series, smaller numbers there or another task.valid_fraction."
            refuse(KEY, self._data, accepted, f"That part has {rows}: {remedy}")

    def batch(self, lanes: int, generator: torch.Generator) -> Batch:
        """Return the next `crop` rows of each lane; `generator` is not used."""
        del generator
        self.prepare(lanes)
        if not self._past:
            self._past = [self._moments() for _ in range(lanes)]
        spans = [self._continued(lane) for lane in range(lanes)]
        self._read += self.crop
        return _side_by_side(spans)

    def _moments(self) -> Moments:
        return Moments(self._values.shape[1])

    @property
    def _ring(self) -> int:
        """The training rows that are inputs: all but the last, which are targets only."""
        return self._cut - self.horizon

    def _place(self, lane: int, lanes: int, read: int) -> tuple[int, int]:
        """Return a lane's next row after `read` rows, and the rows read since its last reset."""
        row = lane * (self._cut // lanes) + read
        return (row, read) if row < self._ring else (row % self._ring, row % self._ring)

    def _continued(self, lane: int) -> Span:
        """Return the next `crop` rows of a lane, and add them to its past."""
        row, since = self._place(lane, len(self._past), self._read)
        found, left = [], self.crop
        while left:
            rows = min(left, self._ring - row)
            found.append(self._span(row, rows, since, self._past[lane], self._unsettled))
            row, since, left = row + rows, since + rows, left - rows
            if row == self._ring:
                row = since = 0
                self._past[lane] = self._moments()
        parts = zip(*(vars(span).values() for span in found), strict=True)
        return Span(*(np.concatenate(part) for part in parts))

    def _span(self, row: int, rows: int, since: int, past: Moments, unsettled: int) -> Span:
        """Return `rows` rows from `row` on, the first of which is number `since` after a reset.

        The first rows after a reset, `unsettled` of them, have no target.
        """
        now, later = (self._values[first : first + rows] for first in (row, row + self.horizon))
        if self.standardise == "running":
            mean, deviation = past.over(now)
            now, later = (now - mean) / deviation, (later - mean) / deviation
        number = since + np.arange(rows)
        mask = number >= unsettled
        targets, baseline = (x[:, self._targets] * mask[:, None] for x in (later, now))
        return Span(now[:, self._columns], targets, baseline, mask, number == 0)

    def steps(self) -> int:
        """Return `crop`."""
        return self.crop

    @property
    def chance(self) -> float:
        """The mean variance of the targets of a lane that reads all training rows.

        It is infinite where the targets do not vary.
        """
        return self._chance

    @cached_property
    def _chance(self) -> float:
        past, found = self._moments(), Moments(self.outputs)
        for row in range(0, self._ring, CHUNK):
            rows = min(CHUNK, self._ring - row)
            span = self._span(row, rows, row, past, self._unsettled)
            if span.mask.any():
                found.over(span.targets[span.mask])
        return float(found.variance_C.mean()) or math.inf

    def prepare(self, lanes: int) -> None:
        """Raise UserError if the series is too short for `lanes`, or it began with others."""
        need, purpose = lanes * (self.crop + self.horizon), f"training with train.lanes={lanes}"
        if self._cut < need:
            accepted = f"a series with at least {need} rows for {purpose}"
            accepted += " (lanes × (task.crop + task.horizon))"
            remedy = "take a longer series or smaller numbers there."
            refuse(KEY, self._data, accepted, f"It has {self._cut}: {remedy}")
        require_lanes(lanes, len(self._past))

    def validation(self, tokens: int | None) -> Iterator[Batch] | None:
        """Return the held-out rows in one lane, `crop` rows a batch, up to about `tokens` rows."""
        rows = len(self._values) - self.horizon - self._cut
        if self._cut == len(self._values):
            return None
        return self._valid_stream(rows if tokens is None else min(rows, max(tokens, self.crop)))

    def _valid_stream(self, rows: int) -> Iterator[Batch]:
        past = copy.copy(self._trained)
        for done in range(0, rows, self.crop):
            steps = min(self.crop, rows - done)
            span = self._span(self._cut + done, steps, done, past, unsettled=0)
            yield _side_by_side([span])

    @cached_property
    def _trained(self) -> Moments:
        """The moments of all training rows."""
        return self._past_at(0, self._cut)

    def _past_at(self, first: int, row: int) -> Moments:
        """Return the moments of the rows from `first` to the one before `row`."""
        past = self._moments()
        if self.standardise == "running":
            for begin in range(first, row, CHUNK):
                past.over(self._values[begin : min(begin + CHUNK, row)])
        return past

    def facts(self) -> dict[str, object]:
        """Return the name and the sha256 of the data, and the rows of both parts."""
        return dict(self._facts)

    def state_dict(self) -> dict[str, Any]:
        """Return the rows that each lane has read, and mean and squares of its past, (B, 2, C)."""
        past = [np.stack((p.mean_C, p.squares_C)) for p in self._past]
        shape = (len(past), 2, self._values.shape[1])
        return {"rows": self._read, "past": torch.from_numpy(np.reshape(past, shape))}

    def load_state_dict(self, state: Any, drawn: int | None = None) -> None:
        """Continue after the rows of `state`; raises ValueError if its past is not that of them."""
        require_entries("task", state, ("rows", "past"))
        read, past = state["rows"], state["past"]
        require_count("task.rows", read)
        if read % self.crop or read != (read if drawn is None else drawn):
            mismatch("task.rows", "the steps so far, a multiple of task.crop", str(read))
        lanes = len(past) if isinstance(past, Tensor) and past.dim() else 0
        require_tensor("task.past", past, torch.float64, (lanes, 2, self._values.shape[1]))
        if bool(lanes) != bool(read) or lanes * (self.crop + self.horizon) > self._cut:
            mismatch("task.past", "what a stream that has begun has of each lane", f"{lanes} lanes")
        restored = []
        for lane, saved in enumerate(past.numpy()):
            row, since = self._place(lane, lanes, read)
            expected = self._past_at(row - since, row)
            if not expected.near(*saved):
                mismatch("task.past", "mean and squares of the rows read", "others")
            expected.mean_C, expected.squares_C = saved.copy()
            restored.append(expected)
        self._read, self._past = read, restored


def _generated(data: str, length: int, columns: list | None, targets: list | None) -> Table:
    names, generate = GENERATED[data]
    chosen = choose(names, columns, targets)
    values = generate(length)[:, [names.index(name) for name in chosen]]
    sha256 = hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
    return Table(chosen, values, sha256)


def _side_by_side(spans: list[Span]) -> Batch:
    """Return the batch of one span for each lane."""
    inputs, targets, baseline, mask, resets = (
        torch.from_numpy(np.stack(parts, 1))
        for parts in zip(*(vars(span).values() for span in spans), strict=True)
    )
    return Batch(inputs, targets, mask, resets, baseline=baseline)
