"""A search that is killed again and again finds what an unbroken one finds.

    python scripts/search_killed.py [--trials 60] [--kills 10] [--seed 0] [--out LOG]

Makes one search unbroken and, in another folder, the same one killed with SIGKILL at random
moments; then compares all trials (values, reports, ends), the best, and the rows of all runs that
ended. Exits with 1 if anything differs. `--out` also writes the log to a file.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import optuna

from snaprun.search.journal import JOURNAL, opened

WORDS = [
    *("task=copy", "cell.units=8", "readout.hidden=8", "dtype=float64", "train.lanes=4"),
    *("train.tokens=24000", "train.eval_every=3000", "train.eval_tokens=400"),
    *("train.checkpoint_every=800", "search.metric=bpc"),
    *("optim.lr=tag(log, interval(1e-4,1.0))", "rule=choice(snap1,snap2,rflo)"),
    "sparsity.level=interval(0.1,0.9)",
]
LAST = 600  # seconds after which a launch counts as hanging


def main() -> int:
    """Run the two searches, print the log and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("trials", 60), ("kills", 10), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--pruner", default="median")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    log: list[str] = []

    def tell(line: str) -> None:
        print(line, flush=True)
        log.append(line)

    own = [f"search.trials={asked.trials}", f"search.pruner={asked.pruner}"]
    command = [sys.executable, "-m", "snaprun", "search", *WORDS, *own]
    tell(f"$ snaprun {' '.join(command[3:])}")
    with tempfile.TemporaryDirectory(prefix="snaprun-search-") as root:
        whole, killed = Path(root) / "whole", Path(root) / "killed"
        for folder in (whole, killed):
            folder.mkdir()
        begun = time.monotonic()
        subprocess.run(command, cwd=whole, check=True, capture_output=True, timeout=LAST)
        tell(f"unbroken: {time.monotonic() - begun:.0f} s")
        _kill(command, killed, asked, tell)
        last = subprocess.run(
            command, cwd=killed, check=True, capture_output=True, text=True, timeout=LAST
        ).stdout.splitlines()
        same = _compare(whole, killed, tell)
        for line in last[-6:]:
            tell(f"| {line}")
        best = next(line.split() for line in last if line.startswith("  snaprun train "))
        again = [sys.executable, "-m", *best]
        said = subprocess.run(again, cwd=killed, check=True, capture_output=True, text=True).stdout
        tell(f"its command once more: {said.strip()}")
        same &= said.strip().endswith("skipped")
    tell("the same" if same else "NOT THE SAME")
    if asked.out:
        asked.out.write_text("\n".join(log) + "\n")
    return 0 if same else 1


def _kill(command: list[str], folder: Path, asked: argparse.Namespace, tell: Any) -> None:
    """Launch the search and kill it, again and again, each time when some more trials began."""
    chance = random.Random(asked.seed)
    marks = sorted(chance.choices(range(1, asked.trials), k=asked.kills))
    for turn, mark in enumerate(marks, 1):
        launched = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while process.poll() is None and _begun(folder) < mark:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 3))
        ended = process.poll()
        os.killpg(process.pid, signal.SIGKILL) if ended is None else None
        process.wait()
        trials = _trials(folder)
        running = [t for t in trials if not t.state.is_finished()]
        states = [_stands(folder)] if running else ["between two trials"]
        tell(
            f"kill {turn}: {time.monotonic() - launched:.2f} s after the launch, {len(trials)} "
            f"trials drawn, {len(trials) - len(running)} ended, {states[0]}"
            + (f"; it had ended before, with {ended}" if ended is not None else "")
        )


def _journal(folder: Path) -> Path | None:
    return next(iter(folder.glob(f"results/copy/search-*/{JOURNAL}")), None)


def _begun(folder: Path) -> int:
    """Return how many trials the journal has."""
    journal = _journal(folder)
    return journal.read_bytes().count(b'"op_code":4') if journal else 0


def _stands(folder: Path) -> str:
    """Return in words how far the interrupted run is."""
    for owner in folder.glob("results/copy/copy-*/owner.json"):
        run = owner.parent
        kept = "with" if (run / "checkpoint.pt").exists() else "without"
        rows = (run / "metrics.jsonl").read_bytes().splitlines() if kept == "with" else []
        at = json.loads(rows[-1])["tokens"] if rows else 0
        return f"its run at about {at} tokens, {kept} a checkpoint"
    return "its run not begun, or ended and not yet told"


def _trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    journal = _journal(folder)
    assert journal
    folder = journal.parent
    return optuna.load_study(study_name=folder.name, storage=opened(folder)[0]).trials


def _compare(whole: Path, killed: Path, tell: Any) -> bool:
    """Compare all trials and all runs that ended; return whether they are equal."""
    pairs = list(zip(_trials(whole), _trials(killed), strict=True))
    parts = {
        "parameters": lambda t: t.params,
        "ends": lambda t: t.state,
        "values": lambda t: t.value,
        "reports": lambda t: t.intermediate_values,
    }
    alike = {name: sum(get(a) == get(b) for a, b in pairs) for name, get in parts.items()}
    for name, count in alike.items():
        tell(f"{name}: {count} of {len(pairs)} trials equal")
    ends = Counter(one.state.name.lower() for one, _ in pairs)
    tell("ends: " + ", ".join(f"{count} {end}" for end, count in sorted(ends.items())))
    one, other = _rows(whole), _rows(killed)
    equal = sum(other.get(name) == rows for name, rows in one.items())
    tell(f"rows of metrics: {equal} of {len(one)} runs that ended equal, bit by bit")
    return all(count == len(pairs) for count in alike.values()) and one == other


def _rows(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the metrics of each run with a summary, without the clock."""
    found = {}
    for summary in folder.glob("results/copy/copy-*/summary.json"):
        lines = (summary.parent / "metrics.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        found[summary.parent.name] = [
            {key: value for key, value in row.items() if key != "seconds"} for row in rows
        ]
    return found


if __name__ == "__main__":
    sys.exit(main())
