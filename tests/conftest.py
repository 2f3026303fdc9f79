"""One thread a process, so that pytest-xdist can fill the cores; a trap for unwritten memory."""

import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

# A shell lets what runs in its background ignore SIGINT, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def nan_filled_empty(monkeypatch):
    """`torch.empty` hands out NaN, so that reading what was never written shows."""
    import torch

    monkeypatch.setattr(torch, "empty", lambda *size, **k: torch.zeros(*size, **k).fill_(torch.nan))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory, with mistakes told in one line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    return tmp_path
