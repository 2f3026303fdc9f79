"""A table of exact costs for each cell, size and rule."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from torch import Generator

from snaprun import checks, hardware
from snaprun.cells import Cell
from snaprun.checks import UserError
from snaprun.core import RecurrentCore, Sizes
from snaprun.costs.memory import drawn_bytes, in_units
from snaprun.rules import BPTT, LearningRule
from snaprun.rules.bptt import bounded, stored_numbers
from snaprun.sparsity import Uniform

if TYPE_CHECKING:
    import pandas as pd


class Size(NamedTuple):
    """A number of units and the sparsity of every recurrent and input matrix.

    >>> Size.read("128@0.75")
    Size(units=128, level=0.75)
    """

    units: int
    level: float

    @classmethod
    def read(cls, text: object) -> "Size":
        """Parse a size written as units@sparsity; raises UserError if it is not one."""
        found = re.fullmatch(r"(\d+)@([\d.]+(?:[eE]-?\d+)?)", str(text))
        if not found:
            checks.refuse("sizes", text, "units@sparsity, such as 128@0.75")
        units = checks.at_least("sizes (units)", int(found[1]), 1)
        return cls(units, checks.within("sizes (sparsity)", float(found[2]), 0, 1, open_high=True))


def count(
    cells: Mapping[str, Cell],
    sizes: Sequence[Size],
    rules: Mapping[str, LearningRule],
    *,
    layers: int = 1,
    inputs: int,
    horizon: int,
    lanes: int,
    moments: int,
    bytes_per_number: int,
    generator: Generator,
) -> "pd.DataFrame":
    """Count what each rule costs on each cell and size; one row each.

    Per lane and step, zeros skipped: parameters (live, recurrent core), influence_sparsity
    (fraction), forwards (forward steps, repeated ones included), macs (multiply-adds with the
    forward steps, without the readout), macs_to_bptt (ratio), state_bytes, bytes_per_step (of the
    state, read and written), memory_order and time_order. `horizon` is T of BPTT. A core has
    `layers` layers of the same size. Inputs are dense, and masks are drawn uniformly.

    In bytes, for all `lanes` together: parameter_bytes, optimiser_bytes (its `moments`), rule_bytes
    (J, traces, θ̃), tape_bytes, and total_bytes, their sum. The padding, scratch and index arrays
    of an engine are not counted.

    >>> from snaprun.cells import GRU
    >>> from snaprun.rules import SnAp
    >>> rules = {"snap1": SnAp(n=1), "bptt": BPTT()}
    >>> fixed = {"horizon": 128, "lanes": 1, "moments": 2, "bytes_per_number": 4}
    >>> masks = Generator().manual_seed(0)
    >>> costs = count({"gru": GRU()}, [Size(8, 0.5)], rules, inputs=4, generator=masks, **fixed)
    >>> costs[["rule", "parameters", "state_bytes"]].values.tolist()
    [['snap1', 176, 704], ['bptt', 176, 31232]]
    """
    import pandas as pd  # here, because a run imports this package too, and pandas takes long

    rows, number = [], lanes * bytes_per_number  # of bytes in all lanes
    for cell_name, cell in cells.items():
        for size in sizes:
            sparsity = Uniform(size.level)
            stack = [size.units] * layers
            _require_memory(cell, size, stack, inputs)
            core = RecurrentCore.build(cell, sparsity, stack, inputs, generator)
            reference = BPTT().cost(core, horizon).macs
            for rule_name, rule in rules.items():
                if (replaying := bounded(rule)) is not None:
                    hidden, internal = (number * n for n in stored_numbers(core))
                    replaying.require_enough(horizon, hidden, internal)
                rule.require_core(replace(core, reminder=rule.reminder))
                rule = rule.in_numbers(number)
                cost = rule.cost(core, horizon)
                kept = number * cost.state
                top = core.layout.layers[-1]
                attention = rule.reminder.parameters(top) if rule.reminder else 0
                parameters = (core.layout.size + attention) * bytes_per_number
                rows.append(
                    {
                        "cell": cell_name,
                        "units": size.units,
                        **({"layers": layers} if layers > 1 else {}),
                        "sparsity": size.level,
                        "rule": rule_name,
                        "parameters": core.layout.size,
                        "influence_sparsity": cost.influence_sparsity,
                        "forwards": cost.forwards,
                        "macs": cost.macs,
                        "macs_to_bptt": cost.macs / reference,
                        "state_bytes": cost.state * bytes_per_number,
                        "bytes_per_step": cost.touched * bytes_per_number,
                        "memory_order": cost.memory_order,
                        "time_order": cost.time_order,
                        "lanes": lanes,
                        "parameter_bytes": parameters,
                        "optimiser_bytes": moments * parameters,
                        "rule_bytes": 0 if rule.taped else kept,
                        "tape_bytes": kept if rule.taped else 0,
                        "total_bytes": (1 + moments) * parameters + kept,
                    }
                )
    return pd.DataFrame(rows)


def _require_memory(cell: Cell, size: Size, stack: Sequence[int], inputs: int) -> None:
    """Raise UserError if drawing the masks of a size needs more memory than is left."""
    others = {"lanes": 1, "window": 1, "outputs": 1, "hidden": 0, "itemsize": 4, "threads": 1}
    needed = drawn_bytes(Sizes.before(cell, Uniform(size.level), stack, inputs, **others))
    left, bound = hardware.available_bytes()
    if needed > left:
        raise UserError(
            f"sizes={size.units}@{size.level:g}: drawing the masks needs about {in_units(needed)} "
            f"of memory, and {in_units(left)} is left {bound}. Take fewer units."
        )


def as_text(costs: "pd.DataFrame") -> str:
    """Format the table for a terminal, with one block for each cell and size."""
    import pandas as pd

    blocks = []
    for _, block in costs.groupby(["cell", "units", "sparsity"], sort=False):
        first = block.iloc[0]
        of_all = f"× {first['lanes']} lanes"
        shown = pd.DataFrame(
            {
                "rule": block["rule"],
                "J sparsity": [
                    "-" if pd.isna(x) else f"{100 * x:.2f} %" for x in block["influence_sparsity"]
                ],
                "forwards": [f"{x:.4g}" for x in block["forwards"]],
                "MACs/step": [f"{x:,}" for x in block["macs"]],
                "× BPTT": [f"{x:.2f}" for x in block["macs_to_bptt"]],
                "state": [in_units(x) for x in block["state_bytes"]],
                "bytes/step": [in_units(x) for x in block["bytes_per_step"]],
                f"rule state {of_all}": [_or_dash(x) for x in block["rule_bytes"]],
                f"tape {of_all}": [_or_dash(x) for x in block["tape_bytes"]],
                "all": [in_units(x) for x in block["total_bytes"]],
                "memory order": block["memory_order"],
                "time order": block["time_order"],
            }
        )
        layers = f" × {first['layers']} layers" if "layers" in first else ""
        heading = (
            f"{first['cell']}-{first['units']}{layers} at {100 * first['sparsity']:g} % sparsity: "
            f"{first['parameters']:,} live parameters, {in_units(first['parameter_bytes'])}, "
            f"and {in_units(first['optimiser_bytes'])} of the optimiser"
        )
        blocks.append(f"{heading}\n{shown.to_string(index=False, justify='right')}")
    return "\n\n".join(blocks)


def _or_dash(count: float) -> str:
    return in_units(count) if count else "-"
