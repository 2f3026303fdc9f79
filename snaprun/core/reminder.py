"""A reminder of the core: sparse attention over memories of the past h of the uppermost layer.

    a_i = w₃ · tanh(W₁ m_i + W₂ ĥ),   w_i = relu(a_i − τ) / Σ_j relu(a_j − τ),   s = Σ_i w_i m_i

τ is the (k_top + 1)-th best score, so that at most k_top weights differ from zero (Ke et al. 2018,
arXiv 1809.03702). All derivatives are in closed form. Shape suffixes: B lanes, K units of the
uppermost layer, N memories, R = k_top + 1 rows: the memory of the threshold, then those kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import functional as F


class Attention(NamedTuple):
    """The parameters of the score, or their gradients."""

    memory_KK: Tensor  # W₁
    query_KK: Tensor  # W₂
    score_K: Tensor  # w₃


@dataclass(frozen=True)
class Bank:
    """The memories of every lane, the earliest first; m_0 = 0 is there from the beginning.

    The tensors over N have room for more than `count` memories. That room is written in place, so
    of two banks that follow from one bank only the newer may be used.
    """

    attention: Attention
    memories_NBK: Tensor
    keys_NBK: Tensor  # W₁ m
    absent_NB: Tensor  # bool: no memory of this lane; all the room is absent
    scratch_NBK: Tensor  # where scores are computed; holds nothing
    summary_BK: Tensor  # s of the newest step
    lane_B: Tensor  # int64: 0, 1, …
    whole: bool = True  # whether every lane has every memory
    count: int = 1  # N
    older: int = 1  # m_0 and the memories from before the window, which take no credit
    steps: int = 0  # t, since the window began

    @property
    def holds(self) -> bool:
        """Whether a lane has a memory besides m_0."""
        return not bool(self.absent_NB[1 : self.count].all())

    @property
    def kept(self) -> tuple[Tensor, Tensor]:
        """The memories and their keys, without the room for more."""
        return self.memories_NBK[: self.count], self.keys_NBK[: self.count]

    def reset(self, lanes_B: Tensor) -> "Bank":
        """Returns the bank without the memories of `lanes_B` (boolean) but m_0.

        Between two windows, whose tapes name memories by their place, those that no lane has any
        more are dropped.
        """
        if not lanes_B.any():
            return self
        absent_NB = self.absent_NB | lanes_B
        absent_NB[0] = False
        bank = replace(self, absent_NB=absent_NB, whole=False)
        if self.steps:
            return bank
        held_N = ~absent_NB.all(1)
        saved = {"memories": self.memories_NBK[held_N], "absent": absent_NB[held_N]}
        return bank.restored({**saved, "older": len(saved["memories"])}, steps=0)

    def opened(self) -> "Bank":
        """Returns the bank at the beginning of another window, where the parameters may differ."""
        return replace(self, older=self.count, steps=0)

    def state_dict(self) -> dict[str, Any]:
        """Returns a copy of the memories, and how many are from before the window."""
        tensors = {"memories": self.memories_NBK, "absent": self.absent_NB}
        return {k: x[: self.count].clone() for k, x in tensors.items()} | {"older": self.older}

    def restored(self, saved: dict[str, Any], steps: int) -> "Bank":
        """Returns the bank of a `state_dict` that fits, at step `steps` of its window."""
        count, bank = len(saved["memories"]), self
        while len(bank.memories_NBK) < count:
            bank = _with_more_room(bank)
        absent_NB = torch.ones_like(bank.absent_NB)
        absent_NB[:count] = saved["absent"]
        bank.memories_NBK[:count] = saved["memories"]
        lanes = {"absent_NB": absent_NB, "whole": not saved["absent"].any()}
        return replace(bank, **lanes, count=count, older=saved["older"], steps=steps).keyed()

    def keyed(self) -> "Bank":
        """Returns this bank with the keys of all memories computed anew."""
        for row in range(1, self.count):
            # One by one and from memory of its own, as it joined: the bits of a product may depend
            # on its shape and on where its factors begin.
            memory_BK = self.memories_NBK[row].clone()
            torch.mm(memory_BK, self.attention.memory_KK.T, out=self.keys_NBK[row])
        return self


class Sparse(NamedTuple):
    """The weights of the memories that are kept."""

    # int64: the memory of the threshold τ, then the best k_top, best first; 0 for an absent memory
    index_RB: Tensor
    weights_RB: Tensor  # of the rows; 0 for the threshold and for an absent memory
    slope_B: Tensor  # 1 / Σ_j relu(a_j − τ); 0 where all kept scores equal τ


@dataclass(frozen=True)
class Recall:
    """What a step recalled: all that the derivatives of the attention need."""

    proposed_BK: Tensor  # ĥ, the h of the cell alone
    sparse: Sparse
    bank: Bank | None  # after the step; None on a tape, which needs the newest alone
    credit_BK: Tensor | None = None  # ∂L_t/∂s_t through the readout; None without a target


@dataclass(frozen=True)
class Reminder:
    """Adds s, recalled by ĥ from the memories, to the h of the uppermost layer: h = ĥ + s.

    h joins the memories after every `k_att`-th step of a window, and the readout sees [h; s]. At
    most `k_top` memories are recalled at a step.

    >>> from snaprun.seeding import stream
    >>> reminder = Reminder(k_att=1, k_top=2)
    >>> bank = reminder.bank(reminder.draw(3, stream(0, "init"), torch.float64), lanes=1)
    >>> for h_BK in torch.eye(3, dtype=torch.float64).split(1):
    ...     h_BK, bank, recall = reminder.step(bank, h_BK)
    >>> bank.count, recall.sparse.weights_RB.sum().item()  # m_0 and three more; the weights' sum
    (4, 1.0)
    """

    k_att: int
    k_top: int

    @staticmethod
    def shapes(units: int) -> tuple[tuple[int, ...], ...]:
        """Returns the shapes of the parameters for `units` units of the uppermost layer."""
        return (units, units), (units, units), (units,)

    @classmethod
    def parameters(cls, units: int) -> int:
        """Returns the number of parameters."""
        return sum(map(prod, cls.shapes(units)))

    def bank_bytes(self, units: int, lanes: int, steps: int, itemsize: int) -> int:
        """Returns the bytes of a bank after so many steps; its room doubles when it is full."""
        room = self.k_top + 1
        while room < 1 + steps // self.k_att:
            room *= 2
        return room * lanes * (3 * units * itemsize + 1)  # memories, keys, scratch; absence

    def draw(
        self,
        units: int,
        generator: Generator,
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
    ) -> Attention:
        """Draws the parameters uniformly from ±1/√fan-in."""

        def drawn() -> Iterator[Tensor]:
            for shape in self.shapes(units):
                uniform = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
                yield (uniform / units**0.5).to(device, dtype)

        return Attention(*drawn())

    def bank(self, attention: Attention, lanes: int) -> Bank:
        """Returns the bank before the first step, which holds m_0 alone."""
        like = attention.score_K
        room = like.new_zeros(self.k_top + 1, lanes, len(like))
        absent_NB = torch.ones(room.shape[:2], dtype=torch.bool, device=like.device)
        absent_NB[0] = False
        buffers = room, room.clone(), absent_NB, torch.empty_like(room), torch.zeros_like(room[0])
        return Bank(attention, *buffers, torch.arange(lanes, device=like.device))

    def step(self, bank: Bank, proposed_BK: Tensor) -> tuple[Tensor, Bank, Recall]:
        """Returns h = ĥ + s, the bank after the step, and what the step recalled."""
        if not bank.steps:
            bank.keyed()
        sparse = self.sparse(bank, proposed_BK)
        rows_RBK = _rows(bank.memories_NBK, _flat(bank, sparse))
        summary_BK = rows_RBK.mul_(sparse.weights_RB[..., None]).sum(0)
        h_BK, steps = proposed_BK + summary_BK, bank.steps + 1
        after = replace(bank, summary_BK=summary_BK, steps=steps)
        if steps % self.k_att == 0:
            after = _joined(after, h_BK)
        return h_BK, after, Recall(proposed_BK, sparse, after)

    def sparse(self, bank: Bank, proposed_BK: Tensor) -> Sparse:
        """Returns the weights of the memories kept; nothing of the other ones' scores is kept."""
        least = self.k_top + 1  # of the scores to sort
        rows = max(bank.count, least)
        query_BK = proposed_BK @ bank.attention.query_KK.T
        torch.add(bank.keys_NBK[:rows], query_BK, out=bank.scratch_NBK[:rows])
        scores_NB = bank.scratch_NBK[:rows].tanh_() @ bank.attention.score_K
        everywhere = bank.whole and bank.count >= least
        return sparsify(scores_NB, self.k_top, None if everywhere else bank.absent_NB[:rows])


def sparsify(scores_NB: Tensor, k_top: int, absent_NB: Tensor | None = None) -> Sparse:
    """Returns the weights of the `k_top` best of N > `k_top` scores, but for `absent_NB`.

    Of equal scores the earlier memory is the better one. A lane with at most `k_top` memories keeps
    all: τ is its lowest score less 1. Where all kept scores equal τ the weights are uniform.

    >>> scores_NB = torch.tensor([[1.0], [4.0], [2.0], [9.0]])
    >>> absent_NB = torch.tensor([[False], [False], [False], [True]])
    >>> sparsify(scores_NB, 2, absent_NB).weights_RB.T  # of the threshold, 4 and 2
    tensor([[0.0000, 0.7500, 0.2500]])
    >>> sparsify(scores_NB, 3, absent_NB).index_RB.T  # the lowest, then all
    tensor([[0, 1, 2, 0]])
    """
    if absent_NB is not None:
        scores_NB = scores_NB.masked_fill(absent_NB, -torch.inf)
    best_NB, order_NB = scores_NB.sort(dim=0, descending=True, stable=True)
    threshold_1B, last_1B = best_NB[k_top:][:1], order_NB[k_top:][:1]
    kept_RB = order_NB[:k_top]
    if absent_NB is not None:
        present_1B = (~absent_NB).sum(0, keepdim=True)
        rank_1B = (present_1B - 1).clamp(max=k_top)
        threshold_1B = best_NB.gather(0, rank_1B) - (present_1B <= k_top).to(best_NB)
        last_1B = order_NB.gather(0, rank_1B)
        kept_RB = kept_RB.masked_fill(best_NB[:k_top] == -torch.inf, 0)
    above_RB = (best_NB[:k_top] - threshold_1B).relu_()
    total_B = above_RB.sum(0)
    slope_B = total_B.reciprocal()
    if not total_B.all():
        tied_B = total_B == 0
        above_RB = torch.where(tied_B, 1.0, above_RB)
        total_B = torch.where(tied_B, float(k_top), total_B)
        slope_B = torch.where(tied_B, 0.0, slope_B)
    weights_RB = F.pad(above_RB.div_(total_B), (0, 0, 1, 0))
    return Sparse(torch.cat((last_1B, kept_RB)), weights_RB, slope_B)


def sparsify_vjp(sparse: Sparse, credit_RB: Tensor) -> Tensor:
    """Returns the credit on the scores of the rows from that on their weights, shape (R, B).

    A kept score has (∂L/∂w_i − Σ_j w_j ∂L/∂w_j) / Σ_j relu(a_j − τ), and the threshold's what makes
    all sum to zero, for a common shift of the scores changes no weight.
    """
    weights_RB = sparse.weights_RB
    mean_B = (weights_RB * credit_RB).sum(0)
    of_scores_RB = (credit_RB - mean_B) * (sparse.slope_B * (weights_RB > 0))
    of_scores_RB[0] = -of_scores_RB.sum(0)
    return of_scores_RB


@dataclass
class Pending:
    """Credit on the memories and on the attention, which a sweep back over a window adds up."""

    bank: Bank  # of the window's last step
    memories_NBK: Tensor  # as summands of s
    keys_NBK: Tensor  # less the factor w₃
    score_K: Tensor  # ∂L/∂w₃
    scored_KK: Tensor  # diag(w₃) W₁

    @classmethod
    def none(cls, bank: Bank) -> "Pending":
        """Returns no credit on the memories of a bank."""
        memories_NBK, keys_NBK = map(torch.zeros_like, bank.kept)
        w1_KK, _, w3_K = bank.attention
        return cls(bank, memories_NBK, keys_NBK, torch.zeros_like(w3_K), w3_K[:, None] * w1_KK)

    def of(self, row: int) -> Tensor:
        """Returns the credit on a memory, shape (B, K): as a summand of s, and through its key."""
        return torch.addmm(self.memories_NBK[row], self.keys_NBK[row], self.scored_KK)

    def attention(self, of_query_TBK: Tensor, proposed_TBK: Tensor) -> Attention:
        """Returns the gradients of the parameters after the sweep.

        `of_query_TBK` is what `recall_vjp` has returned of every step.
        """
        w3_K1 = self.bank.attention.score_K[:, None]
        return Attention(
            w3_K1 * (self.keys_NBK.flatten(0, 1).T @ self.bank.kept[0].flatten(0, 1)),
            w3_K1 * (of_query_TBK.flatten(0, 1).T @ proposed_TBK.flatten(0, 1)),
            self.score_K,
        )


def recall_vjp(
    recall: Recall, query_BK: Tensor, credit_BK: Tensor, pending: Pending, detach: bool
) -> Tensor:
    """Returns the credit on W₂ ĥ less its factor w₃, from the credit ∂L/∂s, both (B, K).

    Adds to `pending`. `query_BK` is W₂ ĥ. With `detach` the memories get no credit as summands of
    s; their keys get it all the same, for the sake of W₁.
    """
    bank, sparse = pending.bank, recall.sparse
    rows = _flat(bank, sparse)
    of_weights_RB = _rows(bank.memories_NBK, rows).mul_(credit_BK).sum(2)
    of_scores_RB = sparsify_vjp(sparse, of_weights_RB)
    tanh_RBK = _rows(bank.keys_NBK, rows).add_(query_BK).tanh_()
    pending.score_K += of_scores_RB.flatten() @ tanh_RBK.flatten(0, 1)
    # of_scores (1 − tanh²), in one pass
    of_keys_RBK = torch.ops.aten.tanh_backward(of_scores_RB[..., None], tanh_RBK)
    _add_to_rows(pending.keys_NBK, rows, of_keys_RBK)
    if not detach:
        _add_to_rows(pending.memories_NBK, rows, sparse.weights_RB[..., None] * credit_BK)
    return of_keys_RBK.sum(0)


def _flat(bank: Bank, sparse: Sparse) -> Tensor:
    """Returns the rows (R, B) of a tensor (N, B, K) that is flattened to (N·B, K)."""
    return torch.add(bank.lane_B, sparse.index_RB, alpha=len(bank.lane_B))


def _rows(values_NBK: Tensor, rows_RB: Tensor) -> Tensor:
    """Returns a copy of some rows, shape (R, B, K)."""
    chosen = values_NBK.flatten(0, 1).index_select(0, rows_RB.flatten())
    return chosen.unflatten(0, rows_RB.shape)


def _add_to_rows(values_NBK: Tensor, rows_RB: Tensor, added_RBK: Tensor) -> None:
    values_NBK.flatten(0, 1).index_add_(0, rows_RB.flatten(), added_RBK.flatten(0, 1))


def _joined(bank: Bank, h_BK: Tensor) -> Bank:
    """Returns the bank with another memory in every lane."""
    if bank.count == len(bank.memories_NBK):
        bank = _with_more_room(bank)
    row, absent_NB = bank.count, bank.absent_NB.clone()
    bank.memories_NBK[row] = h_BK
    torch.mm(h_BK, bank.attention.memory_KK.T, out=bank.keys_NBK[row])
    absent_NB[row] = False
    return replace(bank, absent_NB=absent_NB, count=row + 1)


def _with_more_room(bank: Bank) -> Bank:
    """Returns the bank with twice the room."""
    room, absent_NB = torch.zeros_like(bank.memories_NBK), torch.ones_like(bank.absent_NB)
    return replace(
        bank,
        memories_NBK=torch.cat((bank.memories_NBK, room)),
        keys_NBK=torch.cat((bank.keys_NBK, room)),
        absent_NB=torch.cat((bank.absent_NB, absent_NB)),
        scratch_NBK=torch.cat((bank.scratch_NBK, room)),
    )
