"""Formats the tables of the bench for a terminal."""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

Show = Callable[[Any], str]


def _number(value: Any) -> str:
    return "-" if pd.isna(value) else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _percent(value: Any) -> str:
    return "-" if pd.isna(value) else f"{100 * value:.0f} %"


def _bytes(value: Any) -> str:
    return f"{int(value):,}"


def _spread(frame: pd.DataFrame, column: str) -> list[str]:
    """Format the median and the quartiles of a column."""
    parts = (frame[column], frame[f"{column}_low"], frame[f"{column}_high"])
    return [
        f"{_number(m)} [{_number(low)}, {_number(high)}]"
        for m, low, high in zip(*parts, strict=True)
    ]


def kernel(table: pd.DataFrame, ceilings: pd.DataFrame) -> str:
    """Format times, rates, the fraction of the roofline, and the ceilings."""
    shown = _columns(
        table,
        {"network": str, "lanes": str, "backend": str},
        {"ms (quartiles)": _spread(table, "ms")},
        {
            "ms_best": _number,
            "ms_without_credit": _number,
            "gmacs_per_s": _number,
            "gbytes_per_s": _number,
            "level": str,
            "bound": str,
            "roofline_ms": _number,
            "fraction": _percent,
            "fraction_best": _percent,
            "storage_ratio": lambda x: f"{x:.3f}",
        },
    )
    names = {
        "ms_best": "best",
        "ms_without_credit": "no credit",
        "gmacs_per_s": "GMAC/s",
        "gbytes_per_s": "GB/s",
        "level": "J lies in",
        "roofline_ms": "roof ms",
        "fraction": "of roof",
        "fraction_best": "at best",
        "storage_ratio": "stored/live",
    }
    exceeded = table.loc[table["note"] != ""]
    lines = [
        f"{network}, {lanes} lanes, {backend}: {note}"
        for network, lanes, backend, note in zip(
            *(exceeded[name] for name in ("network", "lanes", "backend", "note")), strict=True
        )
    ]
    tried = _columns(
        ceilings,
        {"what": str, "working_set_bytes": _bytes, "level": str},
        {"best": _number, "median": _number, "unit": str, "tries": str},
    )
    return "\n".join(
        [
            "kernel: one step of SnAp-2's influence matrix with its gradient",
            _text(shown.rename(columns=names)),
            *lines,
            "",
            "ceilings: the best of short tries between all rounds of the bench; copy and in place "
            "count bytes read and written",
            _text(tried.rename(columns={"working_set_bytes": "working set"}), left=1),
        ]
    )


def step(table: pd.DataFrame) -> str:
    """Format the microseconds per step."""
    title = "step: whole training step, an update every so many steps; torch.nn's are dense\n"
    return title + _steps(table)


def peers(table: pd.DataFrame) -> str:
    """Format the microseconds per step of our engine and of the peers."""
    return "peers: whole training step beside JAX, which is dense\n" + _steps(table)


def _steps(table: pd.DataFrame) -> str:
    shown = _columns(
        table,
        {"network": str, "task": str, "inputs": str, "lanes": str, "rule": str},
        {"update_every": str, "engine": str},
        {"µs a step (quartiles)": _spread(table, "us")},
        {"us_best": _number},
    )
    names = {"update_every": "update", "us_best": "best"}
    return _blocks(table, ["network", "task", "lanes"], shown.rename(columns=names))


def growth(table: pd.DataFrame) -> str:
    """Format time and memory along each axis."""
    shown = _columns(
        table,
        {"axis": str, "network": str, "parameters": _bytes, "rule": str, "engine": str},
        {"µs a step (quartiles)": _spread(table, "us")},
        {"state_bytes": _bytes, "state_bytes_analytic": _bytes},
    )
    return "growth: whole step, and bytes of rule state\n" + _blocks(
        table, ["axis"], shown.rename(columns=_STATE)
    )


def memory(table: pd.DataFrame) -> str:
    """Format the bytes of rule state."""
    shown = _columns(
        table,
        {
            "network": str,
            "task": str,
            "lanes": str,
            "rule": str,
            "engine": str,
            "state_bytes": _bytes,
            "state_bytes_analytic": _bytes,
            "ratio": lambda x: "-" if pd.isna(x) else f"{x:.3f}",
        },
    )
    return "memory: bytes of rule state\n" + _text(shown.rename(columns=_STATE))


def ratios(table: pd.DataFrame) -> str:
    """Format the ratios with their quartiles."""
    shown = _columns(
        table,
        {"what": str, "network": str, "task": str, "inputs": str, "lanes": str, "engine": str},
        {"ratio (quartiles)": _spread(table, "ratio")},
    )
    return (
        "ratios: time of the first over the second, round by round; nn and JAX are dense\n"
        + _text(shown, left=1)
    )


_STATE = {"state_bytes": "state bytes", "state_bytes_analytic": "counted"}


def _columns(
    table: pd.DataFrame, *groups: Mapping[str, Show] | Mapping[str, list[str]]
) -> pd.DataFrame:
    """Return columns in this order, each formatted from `table` by a function or ready-made."""
    return pd.DataFrame(
        {
            name: [how(x) for x in table[name]] if callable(how) else how
            for group in groups
            for name, how in group.items()
        }
    )


def _blocks(table: pd.DataFrame, by: list[str], shown: pd.DataFrame) -> str:
    """Format `shown` with an empty line between groups; columns are aligned over all groups."""
    head, *lines = _text(shown).split("\n")
    text, last = [head], None
    for group, line in zip(zip(*(table[name] for name in by), strict=True), lines, strict=True):
        text += ["", line] if last not in (None, group) else [line]
        last = group
    return "\n".join(text)


def _text(shown: pd.DataFrame, left: int = 0) -> str:
    """Format aligned columns, the first `left` of them flush left."""
    for name in shown.columns[:left]:
        width = max([len(name), *shown[name].map(len)])
        shown = shown.assign(**{name: shown[name].str.ljust(width)})
        shown = shown.rename(columns={name: name.ljust(width)})
    return shown.to_string(index=False, justify="right")
