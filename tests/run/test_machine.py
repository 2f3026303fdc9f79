"""What a run changes of its process, and gives back."""

import sys

import pytest
import torch

from snaprun import hardware
from snaprun.influence import native
from snaprun.run.machine import Machine, denormals_flushed


def flushed() -> bool:
    return (torch.tensor(sys.float_info.min, dtype=torch.float64) * 0.5).item() == 0


@pytest.mark.parametrize("before", [False, True])
def test_denormals_are_flushed_within_and_as_before_afterwards(before):
    if not torch.set_flush_denormal(True):
        pytest.skip("this CPU has no such mode")
    try:
        torch.set_flush_denormal(before)
        with denormals_flushed():
            assert flushed()
        assert flushed() == before
        with pytest.raises(KeyError), denormals_flushed():
            raise KeyError
        assert flushed() == before
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.parametrize(
    ("cores", "startable", "got"), [(3, 9, 3), (9, 3, 3), (9, 1, 1), (9, 9, 5)]
)
def test_no_more_threads_than_cores_nor_than_the_system_starts(cores, startable, got, monkeypatch):
    monkeypatch.setattr(hardware, "cores", lambda: cores)
    monkeypatch.setattr(native, "startable_threads", lambda wanted: min(wanted, startable))
    before = torch.get_num_threads()
    try:
        Machine(threads=5).start()
        assert torch.get_num_threads() == got
    finally:
        torch.set_num_threads(before)
