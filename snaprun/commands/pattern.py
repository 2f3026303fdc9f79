"""snaprun plot kind=pattern draws which entries of a small influence matrix rules keep."""

from pathlib import Path

from snaprun import checks, figures
from snaprun.cells import CELLS
from snaprun.core import RecurrentCore
from snaprun.figures import words
from snaprun.seeding import stream
from snaprun.sparsity import Uniform


def draw(
    out: Path | None, cell: str, units: int, inputs: int, level: float, seed: int
) -> list[Path]:
    """Draw the pattern into `out`, or its default folder, and return the files written.

    The other arguments are the keys under `pattern` in conf/plot.yaml.
    """
    made = CELLS[checks.one_of("pattern.cell", cell, list(CELLS))]()
    checks.at_least("pattern.units", units, 1, most=64)
    checks.at_least("pattern.inputs", inputs, 1, most=64)
    checks.at_least("pattern.seed", seed, 0)
    sparsity = Uniform(checks.within("pattern.level", level, 0, 1, open_high=True))
    core = RecurrentCore.build(made, sparsity, units, inputs, stream(seed, "mask"))
    rules = {"SnAp-1": 1, "SnAp-2": 2, "SnAp-3": 3, "RTRL": None}
    network = words.network(
        {
            "cell.name": cell,
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
