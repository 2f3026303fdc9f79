"""Thousands of made-up runs as a large sweep leaves them: `python -m tests.figures.many FOLDER`."""

import copy
import math
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from hydra import initialize_config_dir

from snaprun import config
from snaprun.paths import conf_dir
from snaprun.store import RunWriter, Summary

RULES = ("bptt", "rtrl", "snap1", "uoro", "rflo")
RATES = tuple(10 ** (-1 - n / 4) for n in range(10))
ROWS = 300
EVERY = 1000  # tokens between rows, each of which comes with the end of a batch of 16 lanes


def write(folder: Path, seeds: int = 100) -> int:
    """Write a run of 300 rows for each of 5 rules, 10 learning rates and so many seeds."""
    number = 0
    for number, (plain, rng) in enumerate(_plain(seeds), start=1):
        plain["results"] = str(folder)
        made = config.run_folder(plain)
        tokens_N = EVERY * np.arange(1, ROWS + 1) + 16 * rng.integers(0, 30, ROWS)
        speed = rng.uniform(0.3, 1.0) * (1 - abs(math.log10(plain["optim"]["lr"]) + 2.5) / 3)
        level_N = 1 + (speed * np.sqrt(np.arange(ROWS))).astype(int)
        bpc_N = 0.1 + np.exp(-speed * np.arange(ROWS) / 30) * rng.uniform(0.8, 1.2, ROWS)
        with RunWriter(made, plain) as writer:
            writer.begin()
            for n in range(ROWS):
                writer.row(
                    tokens=int(tokens_N[n]),
                    updates=int(tokens_N[n]) // 16,
                    seconds=float(n * rng.uniform(0.02, 0.03)),
                    bpc=float(bpc_N[n]),
                    level=int(level_N[n]),
                )
            metrics = {"bpc": float(bpc_N[-1]), "level": int(level_N[-1])}
            cost = {
                "ms_per_token": rng.uniform(0.1, 0.2),
                "macs_per_token": 1000 * len(plain["rule"]["name"]),
                "state_bytes": 1_000_000,
                "state_bytes_analytic": 900_000,
                "peak_bytes": 400_000_000,
            }
            last = int(tokens_N[-1])
            writer.finish(
                Summary("finished", last, last // 16, 7.5, metrics, cost, {"parameters": {}})
            )
    return number


def _plain(seeds: int) -> Iterator[tuple[dict[str, Any], np.random.Generator]]:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        bases = [config.composed("train", [f"rule={rule}", "cell.units=32"]) for rule in RULES]
    for number, (base, lr, seed) in enumerate(product(bases, RATES, range(seeds))):
        plain = copy.deepcopy(base)
        plain["optim"]["lr"], plain["seed"] = lr, seed
        yield plain, np.random.default_rng(number)


if __name__ == "__main__":
    print(f"{write(Path(sys.argv[1]))} runs")
