"""What a run changes of its process, and gives back."""

import sys

import pytest
import torch

from snaprun.train.machine import denormals_flushed


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
