"""The figures and the status of 5,000 runs; what they take is printed (scripts/test_slow.sh)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.figures.many import write

SNAPRUN = "import sys; from snaprun.cli import main; main()"


def took(*arguments: object) -> tuple[str, int]:
    """What `snaprun arguments` prints, and its peak memory in bytes; prints its CPU seconds."""
    command = [sys.executable, "-c", SNAPRUN, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    cpu, peak = usage.ru_utime + usage.ru_stime, 1024 * usage.ru_maxrss
    print(f"snaprun {arguments[0]}: {cpu:.1f} s of CPU, {peak / 1e6:.0f} MB")
    return said, peak


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
