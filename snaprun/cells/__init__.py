"""Recurrent cells by the name that YAML uses."""

from snaprun.cells.base import Cell, Slot
from snaprun.cells.gru import GRU
from snaprun.cells.lstm import LSTM
from snaprun.cells.vanilla import Vanilla
from snaprun.registry import Registry

CELLS = Registry("cells", Cell, {"vanilla": Vanilla, "gru": GRU, "lstm": LSTM}, __name__)

__all__ = ["CELLS", "GRU", "LSTM", "Cell", "Slot", "Vanilla"]
