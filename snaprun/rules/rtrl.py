"""Real-time recurrent learning: the whole influence matrix."""

from dataclasses import replace

from snaprun.core import RecurrentCore
from snaprun.rules.base import Cost
from snaprun.rules.snap import SnAp


class RTRL(SnAp):
    """J_t = I_t + D_t J_(t-1), J_0 = 0, g_t = δ_t J_t, equation (4) (Williams & Zipser 1989).

    Stored and advanced like SnAp-n with every entry that can ever differ from zero.
    """

    claim = "exact"

    def __init__(self):
        self.n = None

    @property
    def lighter(self) -> str:
        """SnAp-n."""
        return "rule=snap1 or rule=snap2"

    def cost(self, core: RecurrentCore, horizon: int) -> Cost:
        """As SnAp-n with every reachable entry; the dense order where all weights live."""
        counted = super().cost(core, horizon)
        recurrent = [m for m, slot in enumerate(core.cell.slots) if slot.recurrent]
        if core.layout.live_MKJ[recurrent, :, : core.units].all():
            return replace(counted, memory_order="k + k p", time_order="k² + k² p")
        return replace(counted, memory_order="k + d k p", time_order="d (k² + d k² p)")
