"""Recurrent modules of PyTorch that learn online, for those with a loss and an optimiser."""

from snaprun.nn.modules import GRU, LSTM, RNN, from_torch
from snaprun.nn.recurrent import Recurrent
from snaprun.nn.state import State

__all__ = ["GRU", "LSTM", "RNN", "Recurrent", "State", "from_torch"]
