"""Random-feedback local online learning."""

from dataclasses import dataclass, replace
from types import ModuleType
from typing import Annotated, Literal, get_args

import torch
from torch import Tensor

from snaprun import checks
from snaprun.core import Record, RecurrentCore, Sizes, Storage
from snaprun.rules.base import Cost, Counts, LearningRule, Saved, Setup, native_traces
from snaprun.sparsity import Layout

Feedback = Literal["readout", "random"]


@dataclass(frozen=True)
class RFLOState:
    """Eligibility traces of every lane, and the gradient since the last update."""

    layout: Layout
    trace_BCP: Annotated[Tensor, Saved("trace", parameters=True)]
    gradient_P: Annotated[Tensor, Saved("gradient", parameters=True, kept=False)]
    # Fixed random feedback; None: the readout's own.
    feedback_OK: Annotated[Tensor | None, Saved("feedback", kept=False)]


class RFLO(LearningRule[RFLOState]):
    """e ← (∂s'_u/∂s_u) e + ∂s'_u/∂a_m src_j, gradient q_u e: no recurrent weight is ever used.

    For the leaky tanh network this is e ← (1-α) e + α φ'(a_u) src_j (Murray 2019, eLife 8:e43299).
    `feedback=readout` takes q = δ, the exact credit; `feedback=random` takes q = (∂L/∂logits) B
    with B ~ N(0, 1/k) fixed, as the original does, past all layers of the readout.
    """

    claim = "biased"
    state_type = RFLOState

    def __init__(self, feedback: Feedback = "readout"):
        self.feedback = checks.one_of("rule.feedback", feedback, get_args(Feedback))

    def init(self, setup: Setup) -> RFLOState:
        """e = 0, and B drawn from the rule's noise where it is asked for."""
        core, feedback_OK = setup.core, None
        if self.feedback == "random":
            drawn = torch.randn(
                setup.outputs, core.units, generator=setup.noise, dtype=torch.float64
            )
            feedback_OK = (drawn / core.units**0.5).to(core.device, setup.dtype)
        trace_BCP = torch.zeros(
            setup.lanes,
            core.cell.components,
            core.layout.size,
            dtype=setup.dtype,
            device=core.device,
        )
        return RFLOState(core.layout, trace_BCP, torch.zeros_like(trace_BCP[0, 0]), feedback_OK)

    def reset(self, state: RFLOState, lanes_B: Tensor) -> RFLOState:
        """e ← 0 in `lanes_B`."""
        state.trace_BCP[lanes_B] = 0
        return state

    def step(self, state: RFLOState, record: Record) -> RFLOState:
        """The trace's recursion, and Σ_b q_b e_b added to the gradient."""
        layout = state.layout
        block_BCCP = record.dsds_BCCK[..., layout.unit_P]
        slope_BCP = record.dsda_BCMK[:, :, layout.slot_P, layout.unit_P]
        trace_BCP = (block_BCCP * state.trace_BCP.unsqueeze(1)).sum(2)
        trace_BCP += slope_BCP * record.src_BJ[:, None, layout.source_P]
        credit_BCK = self._credit(state, record)
        if credit_BCK is None:
            return replace(state, trace_BCP=trace_BCP)
        gradient_P = (credit_BCK[..., layout.unit_P] * trace_BCP).sum((0, 1))
        return replace(state, trace_BCP=trace_BCP, gradient_P=state.gradient_P + gradient_P)

    def gradient(self, state: RFLOState) -> tuple[Tensor, RFLOState]:
        """Σ_t q_t e_t, shape (P,); the traces go on."""
        return state.gradient_P, replace(state, gradient_P=torch.zeros_like(state.gradient_P))

    def cost(self, core: RecurrentCore, horizon: int) -> Cost:
        """Forward, the unit's block on the trace, the immediate term, and q e."""
        del horizon
        n, cell = Counts.of(core), core.cell
        own_CM = torch.tensor(cell.slope_pattern).float()
        block_CC = torch.tensor(cell.state_pattern).float()
        trace_CM = own_CM
        for _ in range(cell.components):  # a trace lives where the unit's block carries it
            trace_CM = ((trace_CM + block_CC @ trace_CM) > 0).float()
        carried_M = (trace_CM * (block_CC @ trace_CM)).sum(0)
        slot_P = core.layout.slot_P.cpu()
        per_slot_M = own_CM.sum(0) + carried_M + 1  # and q e
        macs = n.weights + int(per_slot_M[slot_P].sum())
        traces = int(trace_CM.sum(0)[slot_P].sum())
        return Cost(macs, traces, 2 * traces, "k + p", "k² + p")

    def storage(self, sizes: Sizes, backend: ModuleType | None) -> Storage:
        """The traces; in PyTorch with those of components that no slot reaches."""
        n, w, c = sizes, sizes.itemsize, sizes.components
        whole = n.lanes * c * n.parameters * w
        if backend is None:
            return Storage(native_traces(n), saved=whole)
        # ∂s'/∂s of every parameter with its product, slopes, sources, and the new traces.
        per_lane = n.parameters * (c * c + 2 * c + max(c * c, 2 * c))
        return Storage(whole, step=n.lanes * per_lane * w, saved=whole)

    @staticmethod
    def _credit(state: RFLOState, record: Record) -> Tensor | None:
        if state.feedback_OK is None or record.error_BO is None:
            return record.credit_BCK
        credit_BCK = torch.zeros_like(record.dsda_BCMK[:, :, 0])
        credit_BCK[:, 0] = record.error_BO @ state.feedback_OK
        return credit_BCK
