"""A table of runs: how they stand, the keys that tell them apart, and their newest metrics."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from snaprun.checks import UserError, listed, near, refuse

if TYPE_CHECKING:
    import pandas as pd

Format = Literal["table", "csv", "json", "markdown"]
SPREAD = "_sd"  # ends the name of a column of standard deviations
RUNS = "runs"  # the column that counts the runs of a group
_WORDS = {"and", "or", "not", "in", "True", "False", "None"}
_OPERATORS = {"=", "==", "!=", "<", ">", "<=", ">="}
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
    if why := _no_column(frame, condition):
        raise UserError(f"where={condition!r}: {why}")
    try:
        met: Any = frame.eval("".join(said), engine="python")
        if str(getattr(met, "dtype", "")) not in ("bool", "boolean"):
            raise TypeError
        return frame.loc[met.fillna(False).astype(bool)]
    except Exception as error:  # of the many types that pandas raises
        why = _no_order(frame, condition) or (
            "cannot be read: expected COLUMN OPERATOR VALUE, several of them joined by and or or; "
            f"the columns are {', '.join(frame.columns)}."
        )
        raise UserError(f"where={condition!r}: {why}") from error


def matched(frame: "pd.DataFrame", found: int, condition: str) -> str:
    """Return how many rows meet a condition; of none, also the values that its columns have."""
    said = [f"{found} of {len(frame)} runs match where={condition!r}"]
    for name in dict.fromkeys(_TOKEN.findall(condition)):
        if not found and name in frame.columns:
            values = [str(value) for value in frame[name].dropna().unique()]
            said.append(f"{name} has {listed(values) or 'no value'}")
    return "; ".join(said)


def _comparisons(condition: str) -> Iterator[tuple[str, str, str]]:
    """Yield what stands left of each operator of a condition, the operator, and what is right."""
    tokens = [token for token in _TOKEN.findall(condition) if not token.isspace()]
    for left, operator, right in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if operator in _OPERATORS:
            yield left, operator, right


def _no_column(frame: "pd.DataFrame", condition: str) -> str:
    """Return in words which word of a condition ought to be a column and is none, or ""."""
    for left, _, right in _comparisons(condition):
        word = re.match(r"[A-Za-z_]", left) and left not in _WORDS
        if word and not {left, right} & {*frame.columns}:
            known = f"expected one of {', '.join(frame.columns)}. {near(left, frame.columns)}"
            return f"{left} is no column: {known}".rstrip()
    return ""


def _no_order(frame: "pd.DataFrame", condition: str) -> str:
    """Return in words which comparison of a condition mixes words and numbers, or ""."""
    for left, operator, right in _comparisons(condition):
        if operator not in ("<", ">", "<=", ">=") or left not in frame.columns:
            continue
        if frame[left].dtype.kind not in "iufb":
            return f"{left} holds words, and {operator} compares numbers."
        if re.match(r"[A-Za-z_'\"]", right) and right not in frame.columns:
            return f"{left} holds numbers, and {right} is none."
    return ""


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
