"""The figures and the status of 5,000 runs; what they take is printed (scripts/test_slow.sh)."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.figures.many import write

# ru_maxrss of a child would count what this process held at the fork.
SNAPRUN = """
import atexit, os, sys
from snaprun import cli, hardware
told = lambda: print(sum(os.times()[:2]), hardware.peak_bytes(), file=sys.stderr)
atexit.register(told)
cli.main()
"""


def took(*arguments: object) -> tuple[str, int]:
    """What `snaprun arguments` prints, and its peak memory in bytes; prints its CPU seconds."""
    command = [sys.executable, "-c", SNAPRUN, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    cpu, peak = map(float, done.stderr.splitlines()[-1].split())
    print(f"snaprun {arguments[0]}: {cpu:.1f} s of CPU, {peak / 1e6:.0f} MB")
    return done.stdout, int(peak)


@pytest.mark.slow
@pytest.mark.parametrize(("rates", "seeds"), [(10, 100), (1, 1000)])
def test_five_thousand_runs(tmp_path: Path, rates: int, seeds: int) -> None:
    assert write(tmp_path / "runs", rates, seeds) == 5000
    said, peak = took("plot", f"source={tmp_path / 'runs'}", f"out={tmp_path / 'figures'}")
    assert len(said.splitlines()) == 9
    assert peak < 700e6
    said, peak = took("status", f"source={tmp_path / 'runs'}")
    assert said.splitlines()[-1] == "5000 runs: 5000 finished"
    assert peak < 150e6
