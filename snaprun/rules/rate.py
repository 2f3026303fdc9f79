"""Rate-based backpropagation of deep spiking networks."""

from dataclasses import dataclass, replace
from types import ModuleType
from typing import Annotated

import torch
from torch import Tensor

from snaprun import checks
from snaprun.core import Record, RecurrentCore, Sizes, Storage
from snaprun.rules.base import Cost, Counts, LearningRule, Saved, Setup
from snaprun.sparsity import Layout


@dataclass(frozen=True)
class RateState:
    """What is kept of the past of every lane, and the gradient since the last update."""

    layout: Layout
    trace_BCMK: Annotated[Tensor, Saved("trace")]  # ε
    sources_BI: Annotated[Tensor, Saved("sources")]  # Σ_t [x; h of lower layers; 1]
    steps_B: Annotated[Tensor, Saved("steps")]  # since the sequence began
    gradient_P: Annotated[Tensor, Saved("gradient", parameters=True, kept=False)]


class Rate(LearningRule[RateState]):
    """One backward pass on firing rates, for stacked layers without recurrent weights.

        ε ← ∂s'_u/∂s_u ε + ∂s'_u/∂a_m,    r = mean_t src
        d = (∂L/∂f) ∘ ε_f,    ∂L/∂W = dᵀ r,    ∂L/∂f of the layer below = d W

    ε is RFLO's trace of a bias, kept for every unit, and ε_f its part of the firing rate f, which
    is the mean over time of the slopes κ_t sg_t of the paper. So the memory does not grow with
    time, and the loss needs no more than one pass down the layers. What is dropped is how spikes
    and slopes vary together in time. It needs a cell whose readout sees the mean of h, such as
    deep_lif. Yu et al. 2024, arXiv 2410.11488.

    >>> from snaprun.cells import CELLS
    >>> from snaprun.rules import RULES
    >>> from snaprun.sparsity import Dense
    >>> core = RecurrentCore.build(CELLS["deep_lif"](), Dense(), [8, 8], 4, torch.Generator())
    >>> [RULES["rate"]().cost(core, steps).state for steps in (4, 64)]  # numbers of a lane
    [78, 78]
    """

    claim = "biased"
    state_type = RateState

    def require_core(self, core: RecurrentCore) -> None:
        """Raises UserError unless the core is feed-forward and its readout sees mean spikes."""
        super().require_core(core)
        if not core.cell.averages:
            accepted = "a cell whose readout sees the mean of its spikes, such as deep_lif"
            checks.refuse("cell", type(core.cell).__name__, f"{accepted}, for the rule Rate")
        if core.layout.live_MKJ[:, :, : core.units].any():
            accepted = "a network without recurrent weights, for the rule Rate"
            checks.refuse("cell", type(core.cell).__name__, accepted)

    def init(self, setup: Setup) -> RateState:
        """Returns ε = 0 and r = 0; raises UserError for a core that `require_core` refuses."""
        self.require_core(setup.core)
        core = setup.core
        slots, units, _ = core.layout.live_MKJ.shape
        like = core.initial_state(setup.lanes, setup.dtype)
        return RateState(
            core.layout,
            like.new_zeros(setup.lanes, core.cell.components, slots, units),
            like.new_zeros(setup.lanes, core.layout.inputs + 1),
            like.new_zeros(setup.lanes),
            like.new_zeros(core.layout.size),
        )

    def reset(self, state: RateState, lanes_B: Tensor) -> RateState:
        """Forgets the past in `lanes_B`."""
        for kept in (state.trace_BCMK, state.sources_BI, state.steps_B):
            kept[lanes_B] = 0
        return state

    def step(self, state: RateState, record: Record) -> RateState:
        """Advances ε and Σ src and, with a credit, adds the gradient of one pass down."""
        trace_BCMK = torch.einsum("bpqk,bqmk->bpmk", record.dsds_BCCK, state.trace_BCMK)
        trace_BCMK += record.dsda_BCMK
        first = state.layout.units  # after the h(t-1), which no unit sees
        sources_BI, steps_B = state.sources_BI + record.src_BJ[:, first:], state.steps_B + 1
        state = replace(state, trace_BCMK=trace_BCMK, sources_BI=sources_BI, steps_B=steps_B)
        if record.credit_BCK is None:
            return state
        rates_BJ = torch.zeros_like(record.src_BJ)
        rates_BJ[:, first:] = sources_BI / steps_B[:, None]
        dense_MKJ = torch.zeros_like(record.weights_MKJ)
        credit_BCK = record.credit_BCK
        for below, (units, inputs) in reversed(list(enumerate(record.layers, start=-1))):
            d_BMK = torch.einsum("bck,bcmk->bmk", credit_BCK[..., units], trace_BCMK[..., units])
            for seen in (inputs, slice(-1, None)):
                dense_MKJ[:, units, seen] = torch.einsum("bmu,bj->muj", d_BMK, rates_BJ[:, seen])
            if below >= 0:
                credit_BCK = credit_BCK.clone()
                weights_MKV = record.weights_MKJ[:, units, inputs]
                passed_BV = torch.einsum("muv,bmu->bv", weights_MKV, d_BMK)
                credit_BCK[:, record.read, record.layers[below].units] += passed_BV
        return replace(state, gradient_P=state.gradient_P + state.layout.gather(dense_MKJ))

    def cost(self, core: RecurrentCore, horizon: int) -> Cost:
        """Counts the forward step, ε and Σ src, and at a step with a target the pass down."""
        n, cell = Counts.of(core), core.cell
        slots = len(cell.slots)
        inputs = core.layout.inputs + 1
        kept = n.states * slots + inputs + 1
        trace = core.units * slots * sum(map(sum, cell.state_pattern)) + n.slopes
        met = slots * int(core.credited(passed=True).sum())
        down = met + n.links + n.parameters
        return Cost(n.weights + trace + inputs + down, kept, 2 * kept, "k", "k² + p")

    def storage(self, sizes: Sizes, backend: ModuleType | None) -> Storage:
        """Counts ε, Σ src and, in a step, the new ones and the dense gradient."""
        n = sizes
        inputs = n.sources - n.units
        lanes = n.padded if backend is None else n.lanes
        kept = lanes * (n.states * n.slots + inputs + 1) * n.itemsize
        if backend is None:
            step = lanes * (2 * n.slots * n.units + inputs) * n.itemsize
        else:
            step = lanes * (2 * n.states * n.slots + inputs + n.sources) * n.itemsize
            step += 2 * n.dense * n.itemsize
        return Storage(kept, step=step, saved=kept)
