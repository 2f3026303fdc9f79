"""Eligibility propagation."""

from dataclasses import replace
from typing import Literal, get_args

from torch import Tensor

from snaprun import checks
from snaprun.cells import Cell
from snaprun.core import Record
from snaprun.rules.rflo import RFLO, RFLOState

Feedback = Literal["readout", "random", "adaptive"]


class EProp(RFLO):
    """Keeps the eligibility trace of each parameter, through which no spike passes (e-prop 1).

        ε ← ∂s'_u/∂s_u ε + ∂s'_u/∂a_m src_j, without ∂s'_u/∂z_u,    g = Σ_t q_u ε

    It is RFLO in which a spike z that a unit has sent acts on nothing, its own reset included
    (Bellec et al. 2020, Nature Communications 11:3625). On a spiking cell ε has the parts ε^v and
    ε^b of the paper, e = ψ (ε^v − β ε^b) in the place of z, and e filtered in that of f, which the
    readout sees. On a cell whose h is no spike e-prop 1 is RFLO.

    With `feedback=readout`, q = δ is the exact credit; on a spiking cell whose reset is detached
    and whose units do not see themselves, e-prop 1 is then also SnAp-1. With `feedback=random`,
    q = (∂L/∂outputs) B with a fixed B ~ N(0, 1/k) and the true error. With `feedback=adaptive` B
    changes as the weights W of the linear readout do, and both decay, so that B approaches W:

        B ← (1 − decay) (B + ΔW),    W ← (1 − decay) W

    In a stack that is so for the uppermost layer, and B stays as it is for the others.

    >>> import torch
    >>> from snaprun.cells import CELLS
    >>> from snaprun.core import RecurrentCore
    >>> from snaprun.rules import RULES
    >>> from snaprun.sparsity import Dense
    >>> core = RecurrentCore.build(CELLS["alif"](), Dense(), 3, 2, torch.Generator())
    >>> core.layout.size, RULES["eprop"]().cost(core, horizon=1).state  # z, v, b and f of each
    (12, 48)
    """

    feedbacks = get_args(Feedback)

    def __init__(self, feedback: Feedback = "readout", decay: float = 0.001):
        super().__init__(feedback)
        self.decay = checks.within("rule.decay", decay, 0, 1, open_high=True)

    @property
    def adapts(self) -> bool:
        """Whether the feedback follows the readout."""
        return self.feedback == "adaptive"

    def local(self, record: Record) -> Tensor:
        """Returns ∂s'_u/∂s_u without the column of a spike, shape (B, c, c, k)."""
        if not record.spikes:
            return record.dsds_BCCK
        block_BCCK = record.dsds_BCCK.clone()
        block_BCCK[:, :, 0] = 0
        return block_BCCK

    def carrying(self, cell: Cell) -> Tensor:
        """Returns the pattern of the cell without the column of a spike."""
        pattern_CC = super().carrying(cell)
        if cell.spikes:
            pattern_CC[:, 0] = False
        return pattern_CC

    def follow(self, state: RFLOState, weight_OK: Tensor, before_OK: Tensor) -> RFLOState:
        """Returns the state whose feedback has followed the readout's weight, which decays too."""
        assert state.feedback_OK is not None
        feedback_OK, top = state.feedback_OK.clone(), weight_OK.shape[1]
        feedback_OK[:, -top:] += weight_OK - before_OK
        feedback_OK[:, -top:] *= 1 - self.decay
        weight_OK *= 1 - self.decay
        return replace(state, feedback_OK=feedback_OK)
