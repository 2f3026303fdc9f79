"""snaprun plot kind=pattern: what rules keep of the influence matrix of a small network.

torch is imported only where it is needed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snaprun import checks, config


def _keys(cell: str, units: int, inputs: int, level: float, seed: int) -> None: ...


def draw(values: Mapping[str, Any]) -> list[Path]:
    """Draw it from the keys of the command; the files that were written. Raises UserError."""
    from snaprun import figures
    from snaprun.cells import CELLS
    from snaprun.core import RecurrentCore
    from snaprun.figures import words
    from snaprun.sparsity import Uniform
    from snaprun.train.seeding import stream

    keys = config.arguments("pattern", _keys, values["pattern"])
    cell = CELLS[checks.one_of("pattern.cell", keys["cell"], list(CELLS))]()
    units = checks.at_least("pattern.units", keys["units"], 1, most=64)
    inputs = checks.at_least("pattern.inputs", keys["inputs"], 1, most=64)
    seed = checks.at_least("pattern.seed", keys["seed"], 0)
    sparsity = Uniform(checks.within("pattern.level", keys["level"], 0, 1, open_high=True))
    core = RecurrentCore.build(cell, sparsity, units, inputs, stream(seed, "mask"))
    rules = {"SnAp-1": 1, "SnAp-2": 2, "SnAp-3": 3, "RTRL": None}
    network = words.network(
        {
            "cell.name": keys["cell"],
            "cell.units": units,
            "sparsity.name": "uniform",
            "sparsity.level": sparsity.level,
        }
    )
    out = values["out"]
    return figures.pattern(
        network.text,
        {rule: core.pattern(n).mask_SP.numpy() for rule, n in rules.items()},
        core.layout.unit_P.numpy(),
        Path("results", "pattern", "figures") if out is None else Path(out),
    )
