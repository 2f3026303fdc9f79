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
def graded(monkeypatch):
    """Spikes are graded, so that none of their slopes is 0 by chance, as those of true spikes are.

    Which slopes can differ from 0 is the same, no unit is refractory, and all are near their
    threshold.
    """
    import torch

    from snaprun.cells import lif
    from tests.cases import CELLS

    class Graded:
        apply = staticmethod(lambda x, surrogate: torch.sigmoid(2 * x))

    def slope(cell, x):
        return 2 * torch.sigmoid(2 * x) * torch.sigmoid(-2 * x)

    monkeypatch.setattr(lif, "Spike", Graded)
    monkeypatch.setattr(lif.LIF, "surrogate", slope)
    for cell in CELLS.values():
        if isinstance(cell, lif.LIF):
            for key, value in {"refractory": 0, "v_th": 0.5, "tau_out": 0.5}.items():
                monkeypatch.setattr(cell, key, value)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory, with mistakes told in one line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    return tmp_path


@pytest.fixture
def only_tables(monkeypatch):
    """Empty files in place of the pictures, which take most of the time of a figure."""
    from matplotlib.figure import Figure

    monkeypatch.setattr(Figure, "savefig", lambda self, file, **_: None)
