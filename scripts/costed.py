"""What rules cost in time, memory and multiply-adds, in the words of the pages."""

from functools import cache

import pandas as pd
from committed import table

from snaprun import costs
from snaprun.bench.problem import TASKS
from snaprun.cells import CELLS
from snaprun.figures import words
from snaprun.rules import BPTT, RFLO, UORO, SnAp
from snaprun.seeding import stream

NAMES = {cell: words.CELLS[cell] for cell in ("gru", "vanilla", "lstm")}  # as tables order them
INPUTS = {task: kind.inputs for task, (kind, _) in TASKS.items()}


def benched(name: str, cell: str, lanes: int, **where: object) -> pd.Series:
    """What `snaprun bench` measured on a network of 128 units at 75 % sparsity."""
    rows = table("bench/figures", name)
    where |= {"network": f"{cell}-128@0.75", "lanes": lanes}
    rows = rows[(rows[list(where)] == pd.Series(where)).all(axis=1)]
    assert len(rows) == 1, where
    return rows.iloc[0]


def over_bptt(cell: str, lanes: int, task: str, engine: str = "native") -> pd.Series:
    """Time of SnAp-1 over that of BPTT, both with one update in 128 steps, and its band."""
    return benched("ratios", cell, lanes, task=task, engine=engine, what=words.SNAP1_OVER_BPTT)


def ratio(
    cell: str, lanes: int, task: str = "copy", engine: str = "native", band: bool = False
) -> str:
    """The same in words."""
    row = over_bptt(cell, lanes, task, engine)
    edges = f" [{row.ratio_low:.2f}, {row.ratio_high:.2f}]" if band else ""
    return f"{row.ratio:.2f}{edges}"


def cost_verdict(lanes: int, task: str) -> str:
    """On which cells SnAp-1 takes no longer than BPTT, up to a tenth longer, and yet longer.

    Judged by the whole interquartile range of the ratio; what crosses a tenth is not decided.
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
    """Where SnAp-1 in the C++ core takes longer than `torch.nn`'s dense network with BPTT."""
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
    """`a, b and c`."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def microseconds(
    cell: str, lanes: int, rule: str, task: str = "copy", engine: str = "native"
) -> float:
    """Of a step with one update in 128 steps."""
    where = {"task": task, "rule": rule, "engine": engine, "update_every": 128}
    return benched("step", cell, lanes, **where).us


def step(cell: str, lanes: int, rule: str, task: str = "copy", engine: str = "native") -> str:
    """Microseconds of a step with one update in 128 steps, in words."""
    return f"{microseconds(cell, lanes, rule, task, engine):.0f}"


def megabytes(rule: str, task: str = "copy") -> str:
    """The measured state of a rule on GRU-128 with 16 lanes."""
    row = benched("memory", "gru", 16, task=task, rule=rule, engine="native")
    return f"{row.state_bytes / 1e6:.2g}"


@cache
def counted(cells: tuple[str, ...], sizes: tuple[costs.Size, ...], inputs: int) -> pd.DataFrame:
    """What `snaprun cost` counts for a lane in float32, T = 128."""
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
    """The state a lane on a dense GRU, by rule."""
    rows = counted(("gru",), (costs.Size(units, 0.0),), inputs).set_index("rule")
    return {str(rule): f"{bytes_ / 1e6:.2f}" for rule, bytes_ in rows.state_bytes.items()}


def macs_over_bptt(rule: str, cell: str | None = None) -> str:
    """The range over networks of a rule's multiply-adds over those of BPTT, 4 and 256 inputs."""
    sizes = (costs.Size(128, 0.75), costs.Size(256, 0.9375), costs.Size(512, 0.984375))
    rows = pd.concat(counted(tuple(NAMES), sizes, inputs) for inputs in INPUTS.values())
    ratios = rows[(rows.rule == rule) & (rows.cell == (cell or rows.cell))].macs_to_bptt
    return f"{ratios.min():.1f} to {ratios.max():.1f}"


def us(
    network: str, rule: str, every: int, task: str, engine: str, raw: bool = False
) -> str | float:
    """Microseconds of a step with 16 lanes, with commas; a number if `raw`."""
    rows = table("bench/figures", "step")
    where = {"network": network, "task": task, "lanes": 16, "rule": rule, "engine": engine}
    rows = rows[(rows[list(where)] == pd.Series(where)).all(axis=1) & (rows.update_every == every)]
    assert len(rows) == 1, where
    return float(rows.us.iloc[0]) if raw else f"{rows.us.iloc[0]:,.0f}"


def milliseconds(microseconds: float) -> str:
    """Two digits."""
    return f"{microseconds / 1e3:.2g}"


def native_kernel() -> pd.DataFrame:
    """The rows of the C++ core."""
    rows = table("bench/figures", "kernel")
    return rows[rows.backend == "native"]


def kernel_ms(network: str) -> str:
    """A step of the influence matrix of SnAp-2 on 16 lanes."""
    rows = native_kernel()
    (ms,) = rows.ms[(rows.network == network) & (rows.lanes == 16)]
    return f"{ms:.2g}"


def fractions(lanes: int) -> str:
    """The range of the kernel's parts of the roofline, and where no ceiling is known."""
    rows = native_kernel()
    rows = rows[rows.lanes == lanes]
    ends = [f"{end:.2f}" for end in rows.fraction.dropna().agg(["min", "max"])]
    text = " to ".join(dict.fromkeys(ends))
    lacking = rows[rows.fraction.isna()]
    notes = [f"{row.network}: {row.note}" for row in lacking.itertuples()]
    return f"{text} ({'; '.join(notes)})" if notes else text


# What a template can say.
WORDS = (
    *(cost_verdict, counted_megabytes, fractions, kernel_ms, macs_over_bptt, megabytes),
    *(milliseconds, ratio, slower_than_torch, step, us),
)
