"""Sparse attentive backtracking: credit skips to the memories that a step recalled."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from snaprun import checks
from snaprun.core import Attention, Bank, Recall, Record, RecurrentCore, Reminder, Sizes, Storage
from snaprun.core.reminder import Pending, Sparse, recall_vjp
from snaprun.require import require_tensor
from snaprun.rules.base import Cost, LearningRule, Setup
from snaprun.rules.bptt import BPTT, BPTTState

FULL_TAPE = BPTT()  # keeps the tape of the cell
MOST_RECALLED = 2**24  # that the C++ core takes


@dataclass(frozen=True)
class SABState:
    """The tape since the last update, the memories, and the newest gradient of the attention."""

    tape: BPTTState
    empty: dict[str, Tensor]  # a saved tape of the recalls of no steps
    attention: Attention
    bank: Bank | None = None  # None: before the first step


class SAB(LearningRule[SABState]):
    """Sends credit back `k_trunc` steps at a time, and from each step to what it recalled.

        h_t = ĥ_t + s_t,    s_t = Σ_i w_i m_i,    outputs = V₁ h_t + V₂ s_t + b

    ĥ is the h of the cell, and the weights w of at most `k_top` memories m_i follow from a sparse
    attention with the query ĥ (snaprun.core.reminder). h joins the memories every `k_att` steps.
    λ is cut before the steps t with (t + 1) mod k_trunc = 0, counted from the window's start;
    memories are never cut. With `detach` no credit flows back through the memories: the network is
    the same, so that the difference is what this credit brings.

    s adds to h at every step. In a cell whose h flows on to ĥ, as in a GRU, h grows exponentially
    where the attention keeps to new memories; in an LSTM and in a vanilla cell without a leak ĥ is
    bounded.

    The rule adds the attention to the network, and needs train.update_every=sequence. Source: Ke et
    al. 2018, arXiv 1809.03702.

    >>> from snaprun.cells import Vanilla
    >>> from snaprun.engine.optim import Adam
    >>> from snaprun.engine.torch import TorchEngine
    >>> from snaprun.model.network import Architecture
    >>> from snaprun.rules import RULES
    >>> from snaprun.seeding import stream
    >>> from snaprun.sparsity import Dense
    >>> from snaprun.tasks import Copy
    >>> rule = RULES["sab"](k_att=1, k_top=2, k_trunc=3)
    >>> parts = Architecture(Vanilla(), 8, Dense(), hidden=0, reminder=rule.reminder)
    >>> network = parts.build(Copy.inputs, Copy.outputs, seed=0)
    >>> engine = TorchEngine(network, rule, Adam(), lanes=2, update_every="sequence",
    ...                      noise=stream(0, "noise"))
    >>> loss_TB = engine.run(Copy(fixed_length=3).batch(2, stream(0, "data")))
    >>> engine.updates, [tuple(p.shape) for p in network.attention]
    (1, [(8, 8), (8, 8), (8,)])
    """

    claim = "biased"
    state_type = SABState
    taped = once_a_sequence = True

    def __init__(self, k_att: int = 2, k_top: int = 5, k_trunc: int = 5, detach: bool = False):
        self.k_att = checks.at_least("rule.k_att", k_att, 1)
        self.k_top = checks.at_least("rule.k_top", k_top, 1, MOST_RECALLED)
        self.k_trunc = checks.at_least("rule.k_trunc", k_trunc, 1)
        self.detach = detach

    @property
    def reminder(self) -> Reminder:
        """The attention over memories."""
        return Reminder(self.k_att, self.k_top)

    @property
    def of_cell(self) -> BPTT:
        """BPTT with the cuts of the credit through the cell."""
        return BPTT(truncate=self.k_trunc)

    @property
    def lighter(self) -> str:
        """Fewer recalled memories, unless it is one."""
        return "" if self.k_top == 1 else "a smaller rule.k_top"

    def require_core(self, core: RecurrentCore) -> None:
        """Raises UserError unless the core has this reminder and its readout sees h."""
        if core.cell.read:
            accepted = "a cell whose readout sees h, for the rule SAB, which adds memories to h"
            checks.refuse("cell", type(core.cell).__name__, accepted)
        super().require_core(core)

    def init(self, setup: Setup) -> SABState:
        """Returns an empty tape; raises UserError if the core has not the reminder of this rule."""
        self.require_core(setup.core)
        tape = FULL_TAPE.init(setup)
        like, units = tape.empty["src"], setup.core.layout.layers[-1]
        index = torch.empty(0, self.k_top + 1, setup.lanes, dtype=torch.int64, device=like.device)
        empty = {
            "proposed": like.new_empty(0, setup.lanes, units),
            "index": index,
            "weights": index.to(like.dtype),
            "slope": like.new_empty(0, setup.lanes),
            "recall_credit": like.new_empty(0, setup.lanes, units),
        }
        zeros = (like.new_zeros(shape) for shape in self.reminder.shapes(units))
        return SABState(tape, empty, Attention(*zeros))

    def with_bank(self, state: SABState, bank: Bank) -> SABState:
        """Returns the state with other memories."""
        return replace(state, bank=bank)

    def reset(self, state: SABState, lanes_B: Tensor) -> SABState:
        """Stops the credit of later steps from flowing back past this point in `lanes_B`."""
        return replace(state, tape=FULL_TAPE.reset(state.tape, lanes_B))

    def step(self, state: SABState, record: Record) -> SABState:
        """Appends the record to the tape."""
        recall = _recall(record)
        record = replace(record, recall=replace(recall, bank=None))
        return replace(state, tape=FULL_TAPE.step(state.tape, record), bank=recall.bank)

    def gradient(self, state: SABState) -> tuple[Tensor, SABState]:
        """Returns the gradient of θ over the tape, and a state that holds the attention's.

        One sweep back: the credit on h_t is the readout's, λ_{t+1}, and what later steps have sent
        to h_t as a memory; it flows through the recall to ĥ_t, and through the cell to λ_t.
        """
        tape, steps = state.tape, len(state.tape.tape)
        cut = BPTTState(tape.layout, tape.empty)
        if not steps or state.bank is None:
            zeros = Attention(*map(torch.zeros_like, state.attention))
            none_P = state.empty["proposed"].new_zeros(tape.layout.size)
            return none_P, replace(state, tape=cut, attention=zeros)
        bank, top, attention = state.bank, tape.tape[0].layers[-1].units, state.bank.attention
        pending, scored_KK = Pending.none(bank), attention.score_K[:, None] * attention.query_KK
        proposed_TBK = torch.stack([_recall(record).proposed_BK for record in tape.tape])
        query_TBK = proposed_TBK @ attention.query_KK.T
        of_query_TBK = torch.empty_like(query_TBK)

        def through(t: int, record: Record, credit_BCK: Tensor) -> Tensor:
            of_h_BK = credit_BCK[:, 0, top]
            joined, rest = divmod(t + 1, self.k_att)
            if not (rest or self.detach):
                of_h_BK = of_h_BK + pending.of(bank.older + joined - 1)
            recall = _recall(record)
            of_s_BK = of_h_BK if recall.credit_BK is None else of_h_BK + recall.credit_BK
            of_query_TBK[t] = recall_vjp(recall, query_TBK[t], of_s_BK, pending, self.detach)
            credit_BCK = credit_BCK.clone()
            credit_BCK[:, 0, top] = torch.addmm(of_h_BK, of_query_TBK[t], scored_KK)
            return credit_BCK

        gradient_P = self.of_cell.swept(tape, through)
        found = pending.attention(of_query_TBK, proposed_TBK)
        return gradient_P, replace(state, tape=cut, attention=found)

    def attention(self, state: SABState) -> Sequence[Tensor]:
        """Returns the gradients of W₁, W₂ and w₃."""
        return state.attention

    def kept(self, state: SABState) -> Iterable[Tensor]:
        """Yields the numbers that the tape holds of each step, and the memories with their keys."""
        yield from FULL_TAPE.kept(state.tape)
        for record in state.tape.tape:
            recall = _recall(record)
            yield from (recall.proposed_BK, recall.sparse.weights_RB, recall.sparse.slope_B)
            if recall.credit_BK is not None:
                yield recall.credit_BK
        if state.bank is not None:
            yield from state.bank.kept

    def state_dict(self, state: SABState) -> dict[str, Any]:
        """Returns the tape, stacked over its T steps; a step without credit has zero credit."""
        recalls = [_recall(record) for record in state.tape.tape]
        zero_BK = state.empty["proposed"].new_zeros(state.empty["proposed"].shape[1:])
        steps = {
            "proposed": [r.proposed_BK for r in recalls],
            "index": [r.sparse.index_RB for r in recalls],
            "weights": [r.sparse.weights_RB for r in recalls],
            "slope": [r.sparse.slope_B for r in recalls],
            "recall_credit": [zero_BK if r.credit_BK is None else r.credit_BK for r in recalls],
        }
        saved = FULL_TAPE.state_dict(state.tape)
        own = {k: torch.stack(x) if x else state.empty[k] for k, x in steps.items()}
        return {**saved, "tape": saved["tape"] | own}

    def load_state_dict(
        self, state: SABState, saved: dict[str, Any], weights_MKJ: Tensor
    ) -> SABState:
        """Returns a state with the saved tape, whose steps recall from the bank of `state`."""
        tape: dict[str, Tensor] = saved["tape"]
        loaded = FULL_TAPE.load_state_dict(state.tape, saved, weights_MKJ)
        own = {k: tape[k].to(like, copy=True) for k, like in state.empty.items()}
        if state.bank is not None:
            index, count = tape["index"], state.bank.count
            where = "state.rule.tape.index"
            require_tensor(where, index, torch.int64, tuple(index.shape), below=count)
        records = [
            replace(
                record,
                recall=Recall(
                    own["proposed"][t],
                    Sparse(own["index"][t], own["weights"][t], own["slope"][t]),
                    None,
                    None if record.credit_BCK is None else own["recall_credit"][t],
                ),
            )
            for t, record in enumerate(loaded.tape)
        ]
        return replace(state, tape=replace(loaded, tape=records))

    def cost(self, core: RecurrentCore, horizon: int) -> Cost:
        """Counts the cell, its credit in blocks of `k_trunc` steps, and the attention both ways.

        The mean is over a sequence of `horizon` steps, each with a target; a step scores all
        memories so far, and sends credit to those kept and to the threshold's.
        """
        window, k = max(horizon, 1), core.layout.layers[-1]
        plain = self.of_cell.cost(core, window)
        macs = window * plain.macs
        joins = window // self.k_att
        # Keys, their credit (also on to the memories), and W₂ ĥ, its credit and that of W₂.
        macs += joins * (2 if self.detach else 3) * k * k + window * 3 * k * k
        for t in range(window):
            held = 1 + t // self.k_att
            kept, rows = min(held, self.k_top), min(held, self.k_top + 1)
            # Scores; s, ∂L/∂w and the credit on the memories; ∂L/∂w₃ and the credit on the keys.
            macs += (held + (2 if self.detach else 3) * kept + 3 * rows) * k
        recall = 2 * k + self.k_top + 2  # ĥ, ∂L/∂s, the weights and their slope
        memories = 2 * (1 + joins) * k  # with their keys
        state = plain.state + window * recall + memories
        touched = plain.touched + 2 * recall + memories // 2  # half of them at a mean step
        return Cost(round(macs / window), state, touched, "T k + k² + p", "T k + k² + p")

    def storage(self, sizes: Sizes, backend: ModuleType | None) -> Storage:
        """Counts the tape and the memories of a window, whose room doubles when it is full."""
        n, w, k, rows = sizes, sizes.itemsize, sizes.top, self.k_top + 1
        if backend is None:  # C++
            plain = FULL_TAPE.storage(sizes, None)
            recalls = n.window * n.lanes * (w * (2 * n.wide + rows + 1) + 8 * rows)
            memories = 2 * (1 + n.window // self.k_att) * n.lanes * n.wide * w  # with their keys
            kept = plain.kept + recalls + memories
            scratch = plain.scratch + (5 * n.wide + 2 * k) * k * w  # copies of W₁ and W₂, gradients
            # Both grow by copying themselves; and the credit on memories and keys.
            backward = plain.backward + recalls * 3 // 2 + 3 * memories
            return Storage(kept=kept, scratch=scratch, backward=backward, saved=kept)
        of_lanes = n.lanes * w
        tape = n.window * (of_lanes * (n.record + 2 * k + rows + 1) + 8 * n.lanes * rows)
        bank = self.reminder.bank_bytes(k, n.lanes, n.window, w)
        recalled = 4 * rows * k * of_lanes
        stacked = n.window * of_lanes * (n.sources + 2 * n.slots * n.units + 3 * k)
        return Storage(
            kept=tape + bank,
            scratch=n.window * of_lanes * n.outputs,
            step=bank + recalled,  # the room before it doubled
            backward=stacked + 2 * n.dense * w + bank + recalled,  # and the credit on the memories
            saved=tape + bank,
        )


def _recall(record: Record) -> Recall:
    """Returns what the step recalled; raises ValueError for the record of a plain core."""
    if record.recall is None:
        raise ValueError("the record has no recall: the core lacks the reminder of the rule")
    return record.recall
