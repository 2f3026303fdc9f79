"""Backpropagation through time, full or truncated."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from snaprun.core import Record, RecurrentCore
from snaprun.core.jacobians import dynamics_vjp, slot_vjp
from snaprun.rules.base import Cost, Counts, LearningRule, Setup
from snaprun.sparsity import Layout


@dataclass(frozen=True)
class BPTTState:
    """The tape since the last update; it grows in place."""

    layout: Layout
    zero_P: Tensor
    tape: list[Record] = field(default_factory=list)
    begins: dict[int, Tensor] = field(default_factory=dict)  # lanes that begin at a tape index


class BPTT(LearningRule[BPTTState]):
    """λ_t = δ_t + λ_(t+1) D_(t+1), g = Σ_t λ_t I_t, equation (6) (Werbos 1990).

    Every call of `gradient` cuts the tape, so that updates every T steps make it truncated BPTT
    with the state carried (Williams & Peng 1990); updates once a sequence make it exact.
    """

    claim = "exact"

    def init(self, setup: Setup) -> BPTTState:
        """An empty tape."""
        layout = setup.core.layout
        return BPTTState(layout, layout.unit_P.new_zeros(layout.size, dtype=setup.dtype))

    def reset(self, state: BPTTState, lanes_B: Tensor) -> BPTTState:
        """Credit of the steps to come does not flow back past this point in `lanes_B`."""
        begun_B = state.begins.get(len(state.tape))
        state.begins[len(state.tape)] = lanes_B if begun_B is None else begun_B | lanes_B
        return state

    def step(self, state: BPTTState, record: Record) -> BPTTState:
        """One record more on the tape."""
        state.tape.append(record)
        return state

    def gradient(self, state: BPTTState) -> tuple[Tensor, BPTTState]:
        """Equation (6) over the tape, shape (P,), and an empty tape."""
        cut = BPTTState(state.layout, state.zero_P)
        if not state.tape:
            return state.zero_P.clone(), cut
        credit_BCK = torch.zeros_like(state.tape[-1].dsda_BCMK[:, :, 0])
        slot_credit: list[Tensor] = []
        for t in range(len(state.tape) - 1, -1, -1):
            record = state.tape[t]
            if record.credit_BCK is not None:
                credit_BCK = credit_BCK + record.credit_BCK
            slot_credit.append(slot_vjp(record, credit_BCK).flatten(1))
            credit_BCK = dynamics_vjp(record, credit_BCK)
            if t in state.begins:
                credit_BCK = credit_BCK.masked_fill(state.begins[t][:, None, None], 0)
        sources = torch.cat([record.src_BJ for record in reversed(state.tape)])
        dense = torch.cat(slot_credit).T @ sources  # Σ_t λ_t I_t over all pairs (slot·unit, source)
        return state.layout.gather(dense), cut

    def kept(self, state: BPTTState) -> Iterable[Tensor]:
        """What the tape holds of every step."""
        for record in state.tape:
            yield from (record.src_BJ, record.dsda_BCMK, record.dsds_BCCK)
            if record.credit_BCK is not None:
                yield record.credit_BCK

    def cost(self, core: RecurrentCore, horizon: int) -> Cost:
        """Forward, λ through slots, matrices and units, and λ I; the tape holds `horizon` steps."""
        n, cell = Counts.of(core), core.cell
        macs = n.weights + n.slopes + n.recurrent + n.blocks + n.parameters
        slopes = cell.components * (len(cell.slots) + cell.components + 1) * core.units
        kept = n.sources + slopes  # of one step: written once, read once
        return Cost(macs, horizon * kept, 2 * kept, "T k + p", "k² + p")
