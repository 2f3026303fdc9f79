"""snaprun cost counts the multiply-adds and bytes of rules."""

from dataclasses import dataclass
from pathlib import Path

from snaprun import checks, config, costs, figures
from snaprun.cells import CELLS
from snaprun.commands.base import FlatKeys
from snaprun.outcome import Outcome
from snaprun.run.machine import DTYPES
from snaprun.seeding import stream
from snaprun.terminal import say


@dataclass(frozen=True)
class Keys(FlatKeys):
    """The keys of conf/cost.yaml."""

    cells: list
    sizes: list
    rules: list
    inputs: int
    horizon: int
    lanes: int
    moments: int
    dtype: str
    seed: int
    out: str


def run(keys: Keys) -> Outcome:
    """Print the costs of rules, and write them as a CSV file and a figure."""
    for key in ("cells", "sizes", "rules"):
        if not getattr(keys, key):
            checks.refuse(key, getattr(keys, key), "at least one")
    cells = {name: CELLS[checks.one_of("cells", name, list(CELLS))]() for name in keys.cells}
    dtype = DTYPES[checks.one_of("dtype", keys.dtype, list(DTYPES))]
    with checks.telling_exhaustion(lambda: checks.too_large({"sizes": keys.sizes})):
        counted = costs.count(
            cells,
            [costs.Size.read(text) for text in keys.sizes],
            {name: config.counted(name) for name in map(str, keys.rules)},
            inputs=checks.at_least("inputs", keys.inputs, 1),
            horizon=checks.at_least("horizon", keys.horizon, 1),
            lanes=checks.at_least("lanes", keys.lanes, 1),
            moments=checks.at_least("moments", keys.moments, 0),
            bytes_per_number=dtype.itemsize,
            generator=stream(checks.at_least("seed", keys.seed, 0), "mask"),
        )
    files = figures.counts(counted, Path(keys.out))
    say("\n".join([costs.as_text(counted), "", *map(str, files)]))
    return Outcome()
