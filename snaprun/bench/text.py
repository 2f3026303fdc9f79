"""Formats the tables of the bench for a terminal."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from snaprun.figures import words


def _number(value: Any) -> str:
    return "-" if pd.isna(value) else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _percent(value: Any) -> str:
    return "-" if pd.isna(value) else f"{100 * value:.0f} %"


def _percents(value: Any) -> str:
    return f"{100 * value:.2f} %"


def _times(value: Any) -> str:
    return "-" if pd.isna(value) else f"{value:.3f}"


def _bytes(value: Any) -> str:
    return f"{int(value):,}"


# The heading and the format of a column; other columns are shown as they are.
_SHOWN: dict[str, tuple[str, Callable[[Any], str]]] = {
    "memory": ("budget", _percent),
    "bytes": ("bytes kept", _bytes),
    "kept": ("of the tape", _percents),
    "forwards": ("forwards", _times),
    "theory": ("theory", _times),
    "us": ("µs a step", _number),
    "us_best": ("best", _number),
    "call_us": ("median call", _number),
    "call_us_p99": ("99 % of calls", _number),
    "more_us": ("more µs", _number),
    "ms_best": ("best", _number),
    "ms_without_credit": ("no credit", _number),
    "gmacs_per_s": ("GMAC/s", _number),
    "gbytes_per_s": ("GB/s", _number),
    "roofline_ms": ("roof ms", _number),
    "fraction": ("of roof", _percent),
    "fraction_best": ("at best", _percent),
    "storage_ratio": ("stored/live", _times),
    "working_set_bytes": ("working set", _bytes),
    "best": ("best", _number),
    "median": ("median", _number),
    "update_every": ("update", str),
    "parameters": ("parameters", _bytes),
    "state_bytes": ("state bytes", _bytes),
    "state_bytes_analytic": ("counted", _bytes),
    "ratio": ("ratio", _times),
}


def kernel(table: pd.DataFrame, ceilings: pd.DataFrame) -> str:
    """Format times, rates, the fraction of the roofline, and the ceilings."""
    shown = _columns(
        table,
        "network lanes backend ms ms_best ms_without_credit gmacs_per_s gbytes_per_s level bound "
        "roofline_ms fraction fraction_best storage_ratio",
    )
    exceeded = table.loc[table["note"] != ""]
    lines = [
        f"{row['network']}, {row['lanes']} lanes, {row['backend']}: {row['note']}"
        for row in exceeded.to_dict("records")
    ]
    tried = _columns(ceilings, "what working_set_bytes level best median unit tries")
    return "\n".join(
        [
            "kernel: one step of SnAp-2's influence matrix with its gradient",
            _text(shown.rename(columns={"level": "J lies in"})),
            *lines,
            "",
            "ceilings: the best of short tries between all rounds of the bench; copy and in place "
            "count bytes read and written",
            _text(tried, left=1),
        ]
    )


def step(table: pd.DataFrame) -> str:
    """Format the microseconds per step."""
    title = "step: whole training step, an update every so many steps; torch.nn's are dense\n"
    return title + _steps(table)


def python(table: pd.DataFrame) -> str:
    """Format the microseconds per step, and per call, of the Learner beside its engine's."""
    names = "network task inputs lanes rule engine us us_best call_us call_us_p99 more_us"
    title = "python: a step from Python, by snaprun.Learner, beside the same step within a batch\n"
    return title + _blocks(table, ["network", "task", "lanes"], _columns(table, names))


def peers(table: pd.DataFrame) -> str:
    """Format the microseconds per step of our engine and of the peers."""
    return "peers: whole training step beside JAX, which is dense\n" + _steps(table)


def _steps(table: pd.DataFrame) -> str:
    shown = _columns(table, "network task inputs lanes rule update_every engine us us_best")
    return _blocks(table, ["network", "task", "lanes"], shown)


def growth(table: pd.DataFrame) -> str:
    """Format time and memory along each axis."""
    names = "axis network parameters rule engine us state_bytes state_bytes_analytic"
    title = "growth: whole step, and bytes of rule state\n"
    return title + _blocks(table, ["axis"], _columns(table, names))


def memory(table: pd.DataFrame) -> str:
    """Format the bytes of rule state."""
    names = "network task lanes rule engine state_bytes state_bytes_analytic ratio"
    return "memory: bytes of rule state\n" + _text(_columns(table, names))


def budget(table: pd.DataFrame) -> str:
    """Format time and memory beside those of the full tape, without the lines of theory."""
    timed = table.loc[table["engine"] != words.THEORY]
    timed = timed.assign(bytes=timed["bytes"].astype(int), kept=timed["fraction"])
    names = "network steps lanes engine policy memory bytes kept forwards theory ratio us us_best"
    title = (
        "budget: exact BPTT within a budget of memory; bytes and time (ratio) beside those of the "
        "engine's full tape\n"
    )
    return title + _blocks(timed, ["network", "engine", "policy"], _columns(timed, names))


def ratios(table: pd.DataFrame) -> str:
    """Format the ratios with their quartiles."""
    shown = _columns(table, "what network task inputs lanes engine ratio")
    title = "ratios: time of the first over the second, round by round; nn and JAX are dense\n"
    return title + _text(shown, left=1)


def _columns(table: pd.DataFrame, names: str) -> pd.DataFrame:
    """Return the named columns as text; the quartiles of a column, if there are any, beside it."""
    shown = {}
    for name in names.split():
        heading, how = _SHOWN.get(name, (name, str))
        if f"{name}_low" in table:
            parts = (map(_number, table[name + end]) for end in ("", "_low", "_high"))
            texts = [f"{m} [{low}, {high}]" for m, low, high in zip(*parts, strict=True)]
            shown[f"{heading} (quartiles)"] = texts
        else:
            shown[heading] = list(map(how, table[name]))
    return pd.DataFrame(shown)


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
