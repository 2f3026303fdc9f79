"""Backpropagation through time, full or truncated."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from snaprun.core import Record, RecurrentCore, Sizes, Storage
from snaprun.core.jacobians import dynamics_vjp, slot_vjp
from snaprun.rules.base import Cost, Counts, LearningRule, Setup
from snaprun.sparsity import Layout


@dataclass(frozen=True)
class BPTTState:
    """The tape since the last update; the tape grows in place."""

    layout: Layout
    empty: dict[str, Tensor]  # a saved tape of no steps
    tape: list[Record] = field(default_factory=list)
    begins: dict[int, Tensor] = field(default_factory=dict)  # lanes that begin at a tape index


class BPTT(LearningRule[BPTTState]):
    """Carries credit backward over a tape of the steps since the last update (Werbos 1990).

        λ_t = δ_t + λ_(t+1) D_(t+1),    g = Σ_t λ_t I_t                                  (6)

    Each call of `gradient` cuts the tape. With an update every T steps the rule is truncated BPTT
    with the state carried (Williams & Peng 1990); with one update per sequence it is exact.

    >>> from snaprun.cells import Vanilla
    >>> from snaprun.rules import RULES
    >>> from snaprun.sparsity import Dense
    >>> core = RecurrentCore.build(Vanilla(), Dense(), 8, 4, torch.Generator())
    >>> [RULES["bptt"]().cost(core, horizon).state for horizon in (1, 10)]  # numbers on the tape
    [37, 370]
    """

    claim = "exact"
    state_type = BPTTState
    taped = True

    def init(self, setup: Setup) -> BPTTState:
        """Returns an empty tape."""
        core, lanes = setup.core, setup.lanes
        like = core.initial_state(lanes, setup.dtype)
        shapes = taped(core)
        empty = {name: like.new_zeros(0, lanes, *shape) for name, shape in shapes.items()}
        empty["has_credit"] = torch.zeros(0, dtype=torch.bool)
        empty["begins"] = torch.zeros(0, lanes, dtype=torch.bool, device=core.device)
        return BPTTState(core.layout, empty)

    def reset(self, state: BPTTState, lanes_B: Tensor) -> BPTTState:
        """Stops the credit of later steps from flowing back past this point in `lanes_B`."""
        begun_B = state.begins.get(len(state.tape))
        state.begins[len(state.tape)] = lanes_B if begun_B is None else begun_B | lanes_B
        return state

    def step(self, state: BPTTState, record: Record) -> BPTTState:
        """Appends the record to the tape."""
        state.tape.append(record)
        return state

    def gradient(self, state: BPTTState) -> tuple[Tensor, BPTTState]:
        """Returns equation (6) over the tape, shape (P,), and an empty tape."""
        cut = BPTTState(state.layout, state.empty)
        if not state.tape:
            return state.empty["src"].new_zeros(state.layout.size), cut
        credit_BCK = torch.zeros_like(state.tape[-1].dsda_BCMK[:, :, 0])
        slot_credit: list[Tensor] = []
        for t in range(len(state.tape) - 1, -1, -1):
            record = state.tape[t]
            if record.credit_BCK is not None:
                credit_BCK = credit_BCK + record.credit_BCK
            slot_credit.append(slot_vjp(record, credit_BCK).flatten(1))
            if t == 0:  # the window has no earlier step to take λ D
                break
            credit_BCK = dynamics_vjp(record, credit_BCK)
            if t in state.begins:
                credit_BCK = credit_BCK.masked_fill(state.begins[t][:, None, None], 0)
        sources = torch.cat([record.src_BJ for record in reversed(state.tape)])
        dense = torch.cat(slot_credit).T @ sources  # Σ_t λ_t I_t over all pairs (slot·unit, source)
        return state.layout.gather(dense), cut

    def kept(self, state: BPTTState) -> Iterable[Tensor]:
        """Yields the tensors that the tape holds of each step."""
        for record in state.tape:
            yield from (record.src_BJ, record.dsda_BCMK, record.dsds_BCCK)
            if record.credit_BCK is not None:
                yield record.credit_BCK

    def state_dict(self, state: BPTTState) -> dict[str, Any]:
        """Returns the tape, stacked over its T steps; a step without credit has zero credit."""
        tape, empty = state.tape, state.empty
        no_credit_BCK = empty["credit"].new_zeros(empty["credit"].shape[1:])
        none_B = empty["begins"].new_zeros(empty["begins"].shape[1:])
        steps = {
            "src": [r.src_BJ for r in tape],
            "dsda": [r.dsda_BCMK for r in tape],
            "dsds": [r.dsds_BCCK for r in tape],
            "credit": [no_credit_BCK if r.credit_BCK is None else r.credit_BCK for r in tape],
            "has_credit": [torch.tensor(r.credit_BCK is not None) for r in tape],
            "begins": [state.begins.get(t, none_B) for t in range(len(tape))],
        }
        return {"tape": {name: torch.stack(x) if x else empty[name] for name, x in steps.items()}}

    def load_state_dict(
        self, state: BPTTState, saved: dict[str, Any], weights_MKJ: Tensor
    ) -> BPTTState:
        """Returns a state with the saved tape, unstacked into one record per step."""
        tape: dict[str, Tensor] = saved["tape"]
        src, dsda, dsds, credit = (
            tape[name].to(state.empty["src"], copy=True)
            for name in ("src", "dsda", "dsds", "credit")
        )
        layers = tuple(state.layout.places)
        records = [
            Record(src[t], dsda[t], dsds[t], weights_MKJ, layers, credit[t] if has_credit else None)
            for t, has_credit in enumerate(tape["has_credit"].tolist())
        ]
        begins = tape["begins"].to(src.device, copy=True)
        begun = {t: begins[t] for t in begins.any(1).nonzero().flatten().tolist()}
        return BPTTState(state.layout, state.empty, records, begun)

    def cost(self, core: RecurrentCore, horizon: int) -> Cost:
        """Counts the forward step, λ ∂s'/∂a, λ I, λ D and λ E, and takes the mean over a window.

        The window has `horizon` steps, each with a target. Its first step needs no λ D.
        """
        n, cell = Counts.of(core), core.cell
        window = max(horizon, 1)
        macs = window * (n.weights + n.links) + _backward_macs(core, window)
        slopes = cell.components * (len(cell.slots) + cell.components + 1) * core.units
        kept = n.sources + slopes  # of one step; each number is written once and read once
        return Cost(round(macs / window), window * kept, 2 * kept, "T k + p", "k² + p")

    def storage(self, sizes: Sizes, backend: ModuleType | None) -> Storage:
        """Counts the tape of a window.

        In C++ the tape grows by copying itself; if a batch comes in pieces, to up to one and a
        half times the size needed. In PyTorch the backward pass stacks sources and slot credits.
        """
        n, w = sizes, sizes.itemsize
        per_slot = n.slots * n.units
        if backend is None:
            tape = n.window * n.padded * (n.record * w + 1)
            scratch = (4 * per_slot + 2 * n.states) * n.padded * w + n.parameters * w
            return Storage(tape, scratch, backward=tape * 3 // 2 * (n.window > 1), saved=tape)
        tape = n.window * n.lanes * n.record * w
        stacked = n.window * n.lanes * (n.sources + 2 * per_slot) * w
        errors = n.window * n.lanes * n.outputs * w
        return Storage(tape, errors, backward=stacked + 2 * n.dense * w, saved=tape)


def taped(core: RecurrentCore) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the numbers that the tape holds of a step and lane, by saved name."""
    slots, units, sources = core.layout.live_MKJ.shape
    components = core.cell.components
    return {
        "src": (sources,),
        "dsda": (components, slots, units),
        "dsds": (components, components, units),
        "credit": (components, units),
    }


def _backward_macs(core: RecurrentCore, steps: int) -> int:
    """Returns the multiply-adds of equation (6) over a window, skipping structural zeros of λ.

    δ is nonzero on h only, so λ reaches a cell's other components only in earlier steps.
    """
    slope_CM = torch.tensor(core.cell.slope_pattern)
    state_CC = torch.tensor(core.cell.state_pattern)
    live_MKJ = core.layout.live_MKJ.cpu()
    parameters_M = live_MKJ.flatten(1).sum(1)
    recurrent_M = live_MKJ[:, :, : core.units].flatten(1).sum(1)
    macs, lambda_C = 0, torch.zeros(core.cell.components, dtype=torch.bool)
    lambda_C[0] = True
    for left in range(steps - 1, -1, -1):
        slot_M = slope_CM[lambda_C].any(0)
        gradient = core.units * int(slope_CM[lambda_C].sum()) + int(parameters_M[slot_M].sum())
        blocks_CC = state_CC[lambda_C]
        back = core.units * int(blocks_CC.sum()) + int(recurrent_M[slot_M].sum())
        before_C = blocks_CC.any(0)
        before_C[0] = True  # δ of the earlier step
        if before_C.equal(lambda_C):  # and so in all earlier steps
            return macs + (left + 1) * gradient + left * back
        macs += gradient + (back if left else 0)
        lambda_C = before_C
    return macs
