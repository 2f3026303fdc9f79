"""Writes cosines.csv and costs.csv of results/digits_rate: what the rule rate gives up and saves.

cosines.csv has the cosine of its gradient with that of BPTT, by layer, over a short run for every
number of steps and every code of the input; costs.csv the time of an update and the bytes that the
rule keeps, of both rules in the C++ core, one thread. Let nothing else run. Needs fashion-mnist/
with the four IDX files in the folder in which it runs, as conf/panel/digits_rate.yaml says.
"""

import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import pandas as pd
import torch
from committed import RESULTS

from snaprun.cells import CELLS
from snaprun.engine.native import NativeEngine
from snaprun.engine.optim import Adam
from snaprun.model.network import Architecture
from snaprun.rules import BPTT, Rate
from snaprun.seeding import stream
from snaprun.sparsity import Dense
from snaprun.tasks import TASKS

OUT = RESULTS / "digits_rate"
DATA = {"data": "fashion", "folder": "fashion-mnist"}
STEPS = (4, 16, 64)
CODES = {"grey": STEPS, "poisson": (16,), "latency": (16,)}  # with their numbers of steps
UPDATES, LANES, UNITS = 300, 128, [256, 256, 256]
ROUNDS = 9


def cosines(code: str, steps: int) -> pd.DataFrame:
    """Return the cosines of a run's last point, by layer, and the smallest along the run."""
    with TemporaryDirectory() as folder:
        task = [f"task.{key}={value}" for key, value in DATA.items()]
        task += [f"task.code={code}", f"task.steps={steps}"]
        run = [f"train.tokens={UPDATES * LANES * steps}", "train.eval_tokens=1000", "rule=rate"]
        align = ["align.rules=[rate]", "align.points=4", "align.stale=0", f"results={folder}"]
        command = [sys.executable, "-m", "snaprun", "align", "experiment=digits_rate"]
        subprocess.run([*command, *task, *run, *align], check=True)
        (file,) = Path(folder).glob("**/alignment-*.csv")
        rows = pd.read_csv(file)
    rows = rows[(rows.rule == "rate") & (rows.quantity == "cosine")].sort_values("tokens")
    found = rows.groupby("slot").value.agg(["min", "last"]).reset_index()
    return found.assign(code=code, steps=steps)


def costs(steps: int) -> list[dict[str, object]]:
    """Return the time of an update and the bytes kept, of both rules, measured in turns."""
    task = TASKS["digits"](**DATA, by="image", steps=steps)
    batch = task.batch(LANES, stream(0, "data"))
    seconds: dict[str, list[float]] = {}
    engines = {}
    for name, rule in (("bptt", BPTT()), ("rate", Rate())):
        built = Architecture(CELLS["deep_lif"](), UNITS, Dense(), hidden=0)
        network, ways = built.build(task.inputs, task.outputs, seed=0), {"update_every": "sequence"}
        engines[name] = NativeEngine(
            network, rule, Adam(), lanes=LANES, noise=stream(0, "noise"), **ways
        )
        engines[name].run(batch)  # the first update includes costs that occur once
    for _ in range(ROUNDS):
        for name, engine in engines.items():
            start = time.perf_counter()
            engine.run(batch)
            seconds.setdefault(name, []).append(time.perf_counter() - start)
    return [
        {
            "steps": steps,
            "rule": name,
            "ms": 1000 * median(times),
            "bytes": engines[name].rule_bytes,
        }
        for name, times in seconds.items()
    ]


if __name__ == "__main__":
    torch.set_num_threads(1)
    OUT.mkdir(exist_ok=True)
    costly = pd.DataFrame([row for steps in STEPS for row in costs(steps)])
    costly.to_csv(OUT / "costs.csv", index=False, float_format="%.4g")
    all_cosines = [cosines(code, steps) for code, each in CODES.items() for steps in each]
    columns = ["code", "steps", "slot", "min", "last"]
    pd.concat(all_cosines)[columns].to_csv(OUT / "cosines.csv", index=False, float_format="%.4f")
