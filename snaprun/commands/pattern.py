"""snaprun plot kind=pattern draws which entries of a small influence matrix rules keep."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from snaprun import checks, config, figures
from snaprun.cells import CELLS
from snaprun.core import RecurrentCore
from snaprun.figures import words
from snaprun.seeding import stream
from snaprun.sparsity import Uniform


@dataclass(frozen=True)
class Keys:
    """The keys under `pattern` in conf/plot.yaml."""

    cell: str
    units: int
    inputs: int
    level: float
    seed: int

    @classmethod
    def under(cls, group: Mapping[str, Any]) -> Self:
        """Read the keys from the group `pattern`; raises UserError if they are wrong."""
        return cls(**config.arguments("pattern", cls, group))


def draw(keys: Keys, out: Path | None) -> list[Path]:
    """Draw the pattern into `out`, or its default folder, and return the files written."""
    cell = CELLS[checks.one_of("pattern.cell", keys.cell, list(CELLS))]()
    units = checks.at_least("pattern.units", keys.units, 1, most=64)
    inputs = checks.at_least("pattern.inputs", keys.inputs, 1, most=64)
    seed = checks.at_least("pattern.seed", keys.seed, 0)
    sparsity = Uniform(checks.within("pattern.level", keys.level, 0, 1, open_high=True))
    core = RecurrentCore.build(cell, sparsity, units, inputs, stream(seed, "mask"))
    rules = {"SnAp-1": 1, "SnAp-2": 2, "SnAp-3": 3, "RTRL": None}
    network = words.network(
        {
            "cell.name": keys.cell,
            "cell.units": units,
            "sparsity.name": "uniform",
            "sparsity.level": sparsity.level,
        }
    )
    return figures.pattern(
        network.text,
        {rule: core.pattern(n).mask_SP.numpy() for rule, n in rules.items()},
        core.layout.unit_P.numpy(),
        out or Path("results", "pattern", "figures"),
    )
