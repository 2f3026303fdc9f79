"""snaprun bench measures how fast this machine takes a training step."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from snaprun import bench, checks, config, figures, hardware
from snaprun.commands.base import FlatKeys
from snaprun.outcome import Outcome
from snaprun.terminal import note, say


@dataclass(frozen=True)
class Keys(FlatKeys):
    """The keys of conf/bench.yaml."""

    bench: dict
    threads: int
    seed: int
    out: str

    @classmethod
    def of(cls, plain: Mapping[str, Any], sweep: bool) -> Self:
        """Read the keys from a configuration; raises UserError if they are wrong."""
        if not isinstance(plain["bench"], Mapping):
            accepted = f"keys under it: bench.{', bench.'.join(bench.KEYS)}"
            checks.refuse("bench", plain["bench"], accepted)
        return super().of(plain, sweep)


def run(keys: Keys) -> Outcome:
    """Time backends and engines; tables go to stdout, a figure and CSVs to `out`."""
    options = bench.BenchOptions(**config.arguments("bench", bench.BenchOptions, keys.bench))
    threads = checks.at_least("threads", keys.threads, 1, most=hardware.cores())
    seed = checks.at_least("seed", keys.seed, 0)
    out = figures.folder(Path(keys.out))
    results = bench.run(
        options,
        threads=threads,
        seed=seed,
        tell=lambda text: say(text, end="\n\n"),
        say=_note,
    )
    for file in figures.bench(results.tables, out):
        say(file)
    if options.json is not None:
        results.write(options.json)
        say(options.json)
    return Outcome()


def _note(line: str) -> None:
    """Print a progress line if stderr is a terminal."""
    if sys.stderr.isatty():
        note(line)
