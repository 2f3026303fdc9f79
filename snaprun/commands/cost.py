"""snaprun cost counts the multiply-adds and bytes of rules."""

from pathlib import Path

from snaprun import checks, config, costs, figures
from snaprun.cells import CELLS
from snaprun.model.network import MOST_LAYERS
from snaprun.outcome import Outcome
from snaprun.run.machine import DTYPES
from snaprun.seeding import stream
from snaprun.terminal import say


def run(
    cells: list,
    sizes: list,
    layers: int,
    rules: list,
    inputs: int,
    horizon: int,
    lanes: int,
    moments: int,
    dtype: str,
    seed: int,
    out: str,
) -> Outcome:
    """Print the costs of rules, and write them as a CSV file and a figure."""
    for key, given in {"cells": cells, "sizes": sizes, "rules": rules}.items():
        if not given:
            checks.refuse(key, given, "at least one")
    made = {name: CELLS[checks.one_of("cells", name, list(CELLS))]() for name in cells}
    number = DTYPES[checks.one_of("dtype", dtype, list(DTYPES))]
    with checks.telling_exhaustion(lambda: checks.too_large({"sizes": sizes})):
        counted = costs.count(
            made,
            [costs.Size.read(text) for text in sizes],
            {name: config.counted(name) for name in map(str, rules)},
            layers=checks.at_least("layers", layers, 1, MOST_LAYERS),
            inputs=checks.at_least("inputs", inputs, 1),
            horizon=checks.at_least("horizon", horizon, 1),
            lanes=checks.at_least("lanes", lanes, 1),
            moments=checks.at_least("moments", moments, 0),
            bytes_per_number=number.itemsize,
            generator=stream(checks.at_least("seed", seed, 0), "mask"),
        )
    files = figures.counts(counted, Path(out))
    say("\n".join([costs.as_text(counted), "", *map(str, files)]))
    return Outcome()
