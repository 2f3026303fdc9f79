"""Writes what rules cost in time, memory and multiply-adds, for the pages."""

from functools import cache

import pandas as pd
from committed import table

from snaprun import costs
from snaprun.bench.problem import TASKS
from snaprun.cells import CELLS
from snaprun.figures import words
from snaprun.rules import BPTT, RFLO, UORO, SnAp
from snaprun.seeding import stream

NAMES = {cell: words.CELLS[cell] for cell in ("gru", "vanilla", "lstm")}  # in table order
INPUTS = {task: kind.inputs for task, (kind, _) in TASKS.items()}


def benched(name: str, cell: str, lanes: int, **where: object) -> pd.Series:
    """Return what `snaprun bench` measured on a network of 128 units at 75 % sparsity."""
    rows = table("bench/figures", name)
    where |= {"network": f"{cell}-128@0.75", "lanes": lanes}
    rows = rows[(rows[list(where)] == pd.Series(where)).all(axis=1)]
    assert len(rows) == 1, where
    return rows.iloc[0]


def over_bptt(cell: str, lanes: int, task: str, engine: str = "native") -> pd.Series:
    """Return the time of SnAp-1 over that of BPTT, one update in 128 steps, with its band."""
    return benched("ratios", cell, lanes, task=task, engine=engine, what=words.SNAP1_OVER_BPTT)


def ratio(
    cell: str, lanes: int, task: str = "copy", engine: str = "native", band: bool = False
) -> str:
    """Write the time of SnAp-1 over that of BPTT, with its band if `band`."""
    row = over_bptt(cell, lanes, task, engine)
    edges = f" [{row.ratio_low:.2f}, {row.ratio_high:.2f}]" if band else ""
    return f"{row.ratio:.2f}{edges}"


def cost_verdict(lanes: int, task: str) -> str:
    """Write on which cells SnAp-1 is no slower than BPTT, up to 10 % slower, or slower still.

    The whole interquartile range of the ratio decides; if it crosses 1.1, nothing is decided.
    """
    sides: dict[str, list[str]] = {
        "**holds** on": [],
        "within 10 % on": [],
        "**not decided** on": [],
        "**does not hold** on": [],
    }
    for cell, name in NAMES.items():
        row = over_bptt(cell, lanes, task)
        side = sum((row.ratio_high > 1.0, row.ratio_high > 1.1, row.ratio_low > 1.1))
        list(sides.values())[side].append(f"{name} ({row.ratio:.2f})" if side else name)
    return "; ".join(f"{side} {listed(names)}" for side, names in sides.items() if names)


def slower_than_torch() -> str:
    """List where SnAp-1 in the C++ core takes longer than dense BPTT in `torch.nn`."""
    slower = [
        f"the {name} with {lanes} lane{'s' * (lanes > 1)} on {task}"
        for task in INPUTS
        for lanes in (16, 1)
        for cell, name in NAMES.items()
        if microseconds(cell, lanes, "snap1", task)
        > microseconds(cell, lanes, "autograd", task, "torch.nn")
    ]
    return listed(slower) if slower else "none of these"


def listed(names: list[str]) -> str:
    """Join names as in `a, b and c`."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def microseconds(
    cell: str, lanes: int, rule: str, task: str = "copy", engine: str = "native"
) -> float:
    """Return the microseconds of a step, with one update in 128 steps."""
    where = {"task": task, "rule": rule, "engine": engine, "update_every": 128}
    return benched("step", cell, lanes, **where).us


def step(cell: str, lanes: int, rule: str, task: str = "copy", engine: str = "native") -> str:
    """Write the microseconds of a step, with one update in 128 steps."""
    return f"{microseconds(cell, lanes, rule, task, engine):.0f}"


def megabytes(rule: str, task: str = "copy") -> str:
    """Write the measured state, in MB, of a rule on GRU-128 with 16 lanes."""
    row = benched("memory", "gru", 16, task=task, rule=rule, engine="native")
    return f"{row.state_bytes / 1e6:.2g}"


@cache
def counted(cells: tuple[str, ...], sizes: tuple[costs.Size, ...], inputs: int) -> pd.DataFrame:
    """Return what `snaprun cost` counts for one lane in float32, T = 128."""
    return costs.count(
        {cell: CELLS[cell]() for cell in cells},
        sizes,
        {"snap1": SnAp(1), "rflo": RFLO(), "uoro": UORO(), "bptt": BPTT()},
        inputs=inputs,
        horizon=128,
        lanes=1,
        moments=2,
        bytes_per_number=4,
        generator=stream(0, "mask"),
    )


def counted_megabytes(units: int, inputs: int) -> dict[str, str]:
    """Write the state per lane, in MB, of each rule on a dense GRU."""
    rows = counted(("gru",), (costs.Size(units, 0.0),), inputs).set_index("rule")
    return {str(rule): f"{bytes_ / 1e6:.2f}" for rule, bytes_ in rows.state_bytes.items()}


def macs_over_bptt(rule: str, cell: str | None = None) -> str:
    """Write the range of a rule's multiply-adds over BPTT's, over networks and inputs."""
    sizes = (costs.Size(128, 0.75), costs.Size(256, 0.9375), costs.Size(512, 0.984375))
    rows = pd.concat(counted(tuple(NAMES), sizes, inputs) for inputs in INPUTS.values())
    ratios = rows[(rows.rule == rule) & (rows.cell == (cell or rows.cell))].macs_to_bptt
    return f"{ratios.min():.1f} to {ratios.max():.1f}"


def us(
    network: str, rule: str, every: int, task: str, engine: str, raw: bool = False
) -> str | float:
    """Write the microseconds of a step with 16 lanes; returns the number if `raw`."""
    rows = table("bench/figures", "step")
    where = {"network": network, "task": task, "lanes": 16, "rule": rule, "engine": engine}
    rows = rows[(rows[list(where)] == pd.Series(where)).all(axis=1) & (rows.update_every == every)]
    assert len(rows) == 1, where
    return float(rows.us.iloc[0]) if raw else f"{rows.us.iloc[0]:,.0f}"


def milliseconds(microseconds: float) -> str:
    """Write microseconds as milliseconds, to two digits."""
    return f"{microseconds / 1e3:.2g}"


def native_kernel() -> pd.DataFrame:
    """Return the rows of the C++ core in the table of the kernel."""
    rows = table("bench/figures", "kernel")
    return rows[rows.backend == "native"]


def kernel_ms(network: str) -> str:
    """Write the milliseconds of a step of SnAp-2's influence matrix on 16 lanes."""
    rows = native_kernel()
    (ms,) = rows.ms[(rows.network == network) & (rows.lanes == 16)]
    return f"{ms:.2g}"


def fractions(lanes: int) -> str:
    """Write the range of the kernel's fractions of the roofline, and where none is known."""
    rows = native_kernel()
    rows = rows[rows.lanes == lanes]
    ends = [f"{end:.2f}" for end in rows.fraction.dropna().agg(["min", "max"])]
    text = " to ".join(dict.fromkeys(ends))
    lacking = rows[rows.fraction.isna()]
    notes = [f"{row.network}: {row.note}" for row in lacking.itertuples()]
    return f"{text} ({'; '.join(notes)})" if notes else text


# The functions that a template can call.
WORDS = (
    *(cost_verdict, counted_megabytes, fractions, kernel_ms, macs_over_bptt, megabytes),
    *(milliseconds, ratio, slower_than_torch, step, us),
)
