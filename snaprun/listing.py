"""A table of runs: how they stand, the keys that tell them apart, and their newest metrics."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from snaprun.checks import UserError, near, refuse

if TYPE_CHECKING:
    import pandas as pd

Format = Literal["table", "csv", "json", "markdown"]
SPREAD = "_sd"  # ends the name of a column of standard deviations
RUNS = "runs"  # the column that counts the runs of a group
_WORDS = {"and", "or", "not", "in", "True", "False", "None"}
_TOKEN = re.compile(r"""'[^']*'|"[^"]*"|\d[\w.+]*|[A-Za-z_][\w./-]*|[<>!=]=|=|.""")


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the leaves of a configuration by their dotted keys; a list is its text.

    >>> flat({"cell": {"units": [4, 3]}, "seed": 0})
    {'cell.units': '[4, 3]', 'seed': 0}
    """
    found = dict[str, Any]()
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = str(value) if isinstance(value, list) else value
    return found


def varying(choices: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the keys with more than one value among the choices that have the key, in order."""
    values: dict[str, set[Any]] = defaultdict(set)
    for one in choices:
        for key, value in one.items():
            values[key].add(value)
    return [key for key, found in values.items() if len(found) > 1]


def where(frame: "pd.DataFrame", condition: str) -> "pd.DataFrame":
    """Return the rows that meet a condition on columns, such as `rule = snap1 and seed < 3`.

    Words that are no column are texts. Raises UserError for a condition that cannot be read.
    """
    said = []
    for token in _TOKEN.findall(condition):
        if token in frame.columns:
            said.append(f"`{token}`")
        elif re.match(r"[A-Za-z_]", token) and token not in _WORDS:
            said.append(repr(token))
        else:
            said.append("==" if token == "=" else token)
    try:
        met: Any = frame.eval("".join(said), engine="python")
        if str(getattr(met, "dtype", "")) not in ("bool", "boolean"):
            raise TypeError("it is neither true nor false of a run")
        return frame.loc[met.fillna(False).astype(bool)]
    except Exception as error:  # of the many types that pandas raises
        accepted = f"a condition on {', '.join(frame.columns)}"
        why = " ".join(str(error).split())
        raise UserError(
            f"where={condition!r} is not accepted: expected {accepted} ({why})."
        ) from error


def ordered(frame: "pd.DataFrame", by: Sequence[str]) -> "pd.DataFrame":
    """Return the rows sorted by columns; a name after `-` sorts from the largest on."""
    names = [_known(frame, name.removeprefix("-"), "sort") for name in by]
    ascending = [not name.startswith("-") for name in by]
    return frame.sort_values(names, ascending=ascending, kind="stable", na_position="last")


def grouped(
    frame: "pd.DataFrame", over: Sequence[str], keys: Sequence[str], metrics: Sequence[str]
):
    """Return the mean and the standard deviation of metrics over the runs that differ in `over`."""
    for name in over:
        _known(frame, name, "group")
    import pandas as pd

    by = [key for key in keys if key not in over]
    if by:
        groups = frame.groupby(by, dropna=False, sort=False)
        found = pd.DataFrame({RUNS: groups.size()})
    else:
        groups, found = frame, pd.DataFrame({RUNS: [len(frame)]})
    for name in metrics:
        mean, spread = groups[name].mean(), groups[name].std()
        found[name], found[name + SPREAD] = mean, spread
    return found.reset_index() if by else found


def only(frame: "pd.DataFrame", columns: Sequence[str]) -> "pd.DataFrame":
    """Return some columns, in the order in which they are asked for."""
    return frame.loc[:, [_known(frame, name, "columns") for name in columns]]


def _known(frame: "pd.DataFrame", name: str, key: str) -> str:
    if name not in frame.columns:
        refuse(key, name, f"columns among {', '.join(frame.columns)}", near(name, frame.columns))
    return name
