"""Thousands of made-up runs on disk, as a large sweep leaves them.

python -m tests.figures.many FOLDER [RATES SEEDS]
"""

import copy
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
ROWS = 300
EVERY = 1000  # tokens between rows, which come at the end of a batch of 16 lanes
MASTERED = 50  # rows between looks at held-out sequences


def write(folder: Path, rates: int = 10, seeds: int = 100) -> int:
    """Write a run of 300 rows for each of 5 rules, so many learning rates and seeds; how many."""
    configs = list(_configs(folder, rates, seeds))
    for number, plain in enumerate(configs):
        with RunWriter(config.run_folder(plain), plain) as writer:
            writer.begin()
            writer.finish(_rows(writer, np.random.default_rng(number)))
    return len(configs)


def _configs(folder: Path, rates: int, seeds: int) -> Iterator[dict[str, Any]]:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        bases = [config.composed("train", [f"rule={rule}", "cell.units=32"]) for rule in RULES]
    for base, rate, seed in product(bases, range(rates), range(seeds)):
        plain = copy.deepcopy(base) | {"results": str(folder), "seed": seed}
        plain["optim"]["lr"] = 10 ** (-1 - rate / 4)
        yield plain


def _rows(writer: RunWriter, rng: np.random.Generator) -> Summary:
    """What a copy task might write, and how it might end."""
    n_N = np.arange(ROWS)
    tokens_N = EVERY * (n_N + 1) + 16 * rng.integers(0, 30, ROWS)
    speed = rng.uniform(0.3, 1)
    level_N = 1 + (speed * np.sqrt(n_N)).astype(int)
    bpc_N = 0.1 + np.exp(-speed * n_N / 30) * rng.uniform(0.8, 1.2, ROWS)
    for n in range(ROWS):
        counters: dict[str, Any] = {
            "tokens": int(tokens_N[n]),
            "updates": int(tokens_N[n]) // 16,
            "seconds": float(n + rng.uniform()),
        }
        writer.row(**counters, bpc=float(bpc_N[n]), level=int(level_N[n]))
        if (n + 1) % MASTERED == 0:
            writer.row(**counters, mastered=int(level_N[n] // 2))
    last = {"bpc": float(bpc_N[-1]), "level": int(level_N[-1]), "mastered": int(level_N[-1] // 2)}
    cost = {
        "ms_per_token": rng.uniform(0.1, 0.2),
        "macs_per_token": 52_327,
        "readout_macs_per_token": 33_792,
        "state_bytes": 843_776,
        "state_bytes_analytic": 843_776,
        "peak_bytes": 303_341_568,
    }
    extras = {
        "resumed": 0,
        "parameters": {"recurrent": 13_184, "readout": 34_052},
        "lr": 0.001,
        "versions": {"snaprun": "0.1.0", "torch": "2.13.0+cpu", "python": "3.11.7"},
        "engine": "NativeEngine",
        "device": "cpu",
    }
    tokens = int(tokens_N[-1])
    return Summary("finished", tokens, tokens // 16, float(ROWS), last, cost, extras)


if __name__ == "__main__":
    print(f"{write(Path(sys.argv[1]), *map(int, sys.argv[2:]))} runs")
