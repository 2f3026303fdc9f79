"""Five minutes of online training: memory and file handles stay as they are."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

SECONDS, WARM_UP = 300, 20


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
@pytest.mark.parametrize("engine", ["native", "torch"])
def test_memory_and_handles_are_constant(engine, tmp_path):
    command = [sys.executable, "-m", "snaprun", "train", "rule=snap1", "train.lanes=1"]
    process = subprocess.Popen(
        [*command, f"engine={engine}", "train.tokens=1e9", "train.checkpoint_every=5s"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        time.sleep(WARM_UP)
        memory, handles = [], set()
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            assert process.poll() is None
            memory.append(resident_bytes(process.pid))
            handles.add(len(list(Path(f"/proc/{process.pid}/fd").iterdir())))
            time.sleep(0.5)
    finally:
        process.terminate()
        process.wait(timeout=30)
    print(f"{engine}: {min(memory) / 1e6:.1f} to {max(memory) / 1e6:.1f} MB, {handles} handles")
    assert max(memory) - min(memory) <= 5e6
    # One more while a checkpoint is written, and its folder's while that is synced.
    assert max(handles) - min(handles) <= 1
