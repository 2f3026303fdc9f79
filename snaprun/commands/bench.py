"""snaprun bench measures how fast this machine takes a training step."""

import sys
from collections.abc import Mapping
from pathlib import Path

from snaprun import bench as benches
from snaprun import checks, config, figures, hardware
from snaprun.outcome import Outcome
from snaprun.terminal import note, say


def run(bench: object, threads: int, seed: int, out: str) -> Outcome:
    """Time backends and engines; tables go to stdout, a figure and CSVs to `out`."""
    if not isinstance(bench, Mapping):
        accepted = f"keys under it: bench.{', bench.'.join(benches.KEYS)}"
        checks.refuse("bench", bench, accepted)
    options = benches.BenchOptions(**config.arguments("bench", benches.BenchOptions, bench))
    checks.at_least("threads", threads, 1, most=hardware.cores())
    checks.at_least("seed", seed, 0)
    folder = figures.folder(Path(out))
    results = benches.run(
        options,
        threads=threads,
        seed=seed,
        tell=lambda text: say(text, end="\n\n"),
        say=_note,
    )
    machine = f"{results.machine['cpu']}, threads={threads}"
    for file in figures.bench(results.tables, folder, machine):
        say(file)
    if options.json is not None:
        results.write(options.json)
        say(options.json)
    return Outcome()


def _note(line: str) -> None:
    """Print a progress line if stderr is a terminal."""
    if sys.stderr.isatty():
        note(line)
