"""Random-feedback local online learning."""

from dataclasses import dataclass, replace
from types import ModuleType
from typing import Annotated, ClassVar, Literal, get_args

import torch
from torch import Tensor

from snaprun import checks
from snaprun.cells import Cell
from snaprun.core import Record, RecurrentCore, Sizes, Storage
from snaprun.core.jacobians import passed_down
from snaprun.rules.base import (
    Cost,
    Counts,
    LearningRule,
    Saved,
    Setup,
    native_traces,
    passed_macs,
)
from snaprun.sparsity import Layout

Feedback = Literal["readout", "random"]


@dataclass(frozen=True)
class RFLOState:
    """Eligibility traces of every lane, and the gradient since the last update."""

    layout: Layout
    trace_BCP: Annotated[Tensor, Saved("trace", parameters=True)]
    gradient_P: Annotated[Tensor, Saved("gradient", parameters=True, kept=False)]
    # Fixed random feedback; None: credit comes through the readout.
    feedback_OK: Annotated[Tensor | None, Saved("feedback", kept=False)]


class RFLO(LearningRule[RFLOState]):
    """Keeps a local eligibility trace e of each parameter; the trace uses no recurrent weight.

        e ← (∂s'_u/∂s_u) e + ∂s'_u/∂a_m src_j,    g = Σ_t q_u e

    For the leaky tanh network this is e ← (1-α) e + α φ'(a_u) src_j (Murray 2019, eLife 8:e43299).
    With `feedback=readout`, q = δ is the exact credit. With `feedback=random`, as in the original,
    q = (∂L/∂logits) B with a fixed B ~ N(0, 1/k), which bypasses all layers of the readout. In a
    stack δ is the exact derivative through the layers above at this step, and B feeds all layers.

    >>> from snaprun.cells import LSTM
    >>> from snaprun.rules import RULES
    >>> from snaprun.sparsity import Dense
    >>> core = RecurrentCore.build(LSTM(), Dense(), 3, 2, torch.Generator())
    >>> core.layout.size, RULES["rflo"](feedback="random").cost(core, horizon=1).state
    (72, 126)
    """

    claim = "biased"
    state_type = RFLOState
    feedbacks: ClassVar[tuple[str, ...]] = get_args(Feedback)

    def __init__(self, feedback: str = "readout"):
        self.feedback = checks.one_of("rule.feedback", feedback, self.feedbacks)

    def init(self, setup: Setup) -> RFLOState:
        """Returns e = 0 and, with `feedback=random`, B drawn from the rule's noise."""
        core, feedback_OK = setup.core, None
        if self.feedback != "readout":
            drawn = torch.randn(
                setup.outputs, core.units, generator=setup.noise, dtype=torch.float64
            )
            feedback_OK = (drawn / core.units**0.5).to(core.device, setup.dtype)
        shape = (setup.lanes, core.cell.components, core.layout.size)
        trace_BCP = torch.zeros(shape, dtype=setup.dtype, device=core.device)
        return RFLOState(core.layout, trace_BCP, torch.zeros_like(trace_BCP[0, 0]), feedback_OK)

    def reset(self, state: RFLOState, lanes_B: Tensor) -> RFLOState:
        """Sets e to 0 in `lanes_B`."""
        state.trace_BCP[lanes_B] = 0
        return state

    def step(self, state: RFLOState, record: Record) -> RFLOState:
        """Advances the traces, and adds Σ_b q_b e_b to the gradient."""
        layout = state.layout
        block_BCCP = self.local(record)[..., layout.unit_P]
        slope_BCP = record.dsda_BCMK[:, :, layout.slot_P, layout.unit_P]
        trace_BCP = (block_BCCP * state.trace_BCP.unsqueeze(1)).sum(2)
        trace_BCP += slope_BCP * record.src_BJ[:, None, layout.source_P]
        credit_BCK = record.credit_BCK
        if state.feedback_OK is None:
            credit_BCK = passed_down(record).credit_BCK
        elif credit_BCK is not None and record.error_BO is not None:
            credit_BCK = credit_BCK.clone()
            credit_BCK[:, record.read] = record.error_BO @ state.feedback_OK
        if credit_BCK is None:
            return replace(state, trace_BCP=trace_BCP)
        gradient_P = (credit_BCK[..., layout.unit_P] * trace_BCP).sum((0, 1))
        return replace(state, trace_BCP=trace_BCP, gradient_P=state.gradient_P + gradient_P)

    def local(self, record: Record) -> Tensor:
        """Returns the ∂s'_u/∂s_u of the traces, shape (B, c, c, k)."""
        return record.dsds_BCCK

    def carrying(self, cell: Cell) -> Tensor:
        """Returns where ∂s'_u/∂s_u, as the traces take it, can differ from 0, boolean (c, c)."""
        return torch.tensor(cell.state_pattern)

    def cost(self, core: RecurrentCore, horizon: int) -> Cost:
        """Counts the forward step, ∂s'_u/∂s_u e, the immediate term, and q e."""
        n, cell = Counts.of(core), core.cell
        own_CM = torch.tensor(cell.slope_pattern).float()
        block_CC = self.carrying(cell).float()
        trace_CM = torch.tensor(cell.trace_pattern).float()
        carried_M = (trace_CM * (block_CC @ trace_CM)).sum(0)
        slot_P = core.layout.slot_P.cpu()
        per_slot_M = own_CM.sum(0) + carried_M + len(cell.credited)  # and q e
        passed = passed_macs(core) if self.feedback == "readout" else 0
        macs = n.weights + passed + int(per_slot_M[slot_P].sum())
        traces = int(trace_CM.sum(0)[slot_P].sum())
        return Cost(macs, traces, 2 * traces, "k + p", "k² + p")

    def storage(self, sizes: Sizes, backend: ModuleType | None) -> Storage:
        """Counts the traces; PyTorch also stores traces of components that a slot cannot reach."""
        n, w, c = sizes, sizes.itemsize, sizes.components
        whole = n.lanes * c * n.parameters * w
        if backend is None:
            return Storage(native_traces(n, n.cell.trace_pattern), saved=whole)
        # ∂s'/∂s of every parameter and its product with e, slopes, sources, and the new traces.
        per_lane = n.parameters * (c * c + 2 * c + max(c * c, 2 * c))
        return Storage(whole, step=n.lanes * per_lane * w, saved=whole)
