"""Real-time recurrent learning: the whole influence matrix."""

from dataclasses import replace

import torch

from snaprun.core import Record, RecurrentCore
from snaprun.rules.base import Cost
from snaprun.rules.snap import SnAp


class RTRL(SnAp):
    """Carries the whole influence matrix forward (Williams & Zipser 1989).

        J_t = I_t + D_t J_(t-1),    J_0 = 0,    g_t = δ_t J_t                            (4)

    J is stored and advanced like SnAp-n's, with every entry that can ever differ from zero.

    >>> import torch
    >>> from snaprun.cells import Vanilla
    >>> from snaprun.rules import RULES
    >>> from snaprun.sparsity import Dense
    >>> core = RecurrentCore.build(Vanilla(), Dense(), 8, 4, torch.Generator())
    >>> core.states, core.layout.size, RULES["rtrl"]().cost(core, horizon=1).state
    (8, 104, 832)
    """

    claim = "exact"

    def __init__(self):
        self.n = None

    def credited(self, record: Record) -> Record:
        """Returns the record itself: J has the rows of the layers above."""
        return record

    @property
    def lighter(self) -> str:
        """SnAp-1 or SnAp-2."""
        return "rule=snap1 or rule=snap2"

    def _passed_macs(self, core: RecurrentCore) -> int:
        """Returns the multiply-adds of the entries of E; the product counts their use."""
        slope_CM = torch.tensor(core.cell.slope_pattern)
        links_MKJ = core.layout.live_MKJ[:, :, core.units + core.inputs : -1]
        return int((slope_CM.sum(0) * links_MKJ.flatten(1).sum(1).cpu()).sum())

    def cost(self, core: RecurrentCore, horizon: int) -> Cost:
        """Counts every reachable entry like SnAp-n; the order is dense if all weights are live."""
        counted = super().cost(core, horizon)
        recurrent = [m for m, slot in enumerate(core.cell.slots) if slot.recurrent]
        layers = core.layout.split(core.layout.live_MKJ)
        if all(layer[recurrent, :, : layer.shape[1]].all() for layer in layers):
            return replace(counted, memory_order="k + k p", time_order="k² + k² p")
        return replace(counted, memory_order="k + d k p", time_order="d (k² + d k² p)")
