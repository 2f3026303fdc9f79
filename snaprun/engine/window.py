"""The open window of a rule that replays: its data, and its passes through the network."""

from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from snaprun.core import Linearise
from snaprun.engine.base import Begun
from snaprun.engine.saved import DATA
from snaprun.model.network import Network
from snaprun.rules import BPTT, Setup
from snaprun.rules.replay import Replay
from snaprun.tasks import Batch


@dataclass
class Piece:
    """Successive steps of a window, from `start` on: the rows of a batch from `row` on."""

    start: int
    batch: Batch
    row: int
    begins: list[bool]  # whether a sequence begins at a step, in any lane
    targets: list[int]  # how many lanes have a target

    def view(self) -> Batch:
        """Return the steps as a batch of their own."""
        return self.batch.piece(self.row, len(self.begins))


class Window:
    """Carries a rule that replays through windows of known length; a rules.replay.Forward.

    The data of the open window are kept as views of the batches. In the reverse pass the readout
    is run, which adds to the `.grad` of its parameters.
    """

    def __init__(self, rule: BPTT, setup: Setup, network: Network, weights_MKJ: Tensor):
        self.replay = Replay(rule, setup)
        self._network, self._weights_MKJ = network, weights_MKJ
        self._pieces: list[Piece] = []
        self._starts: list[int] = []
        self._begins_B: Tensor | None = None  # where sequences begin with the next step
        # The batch whose last steps are the window's, in which the losses that the reverse pass
        # finds are written; None: the losses are found in the first pass.
        self.last: Begun | None = None

    @property
    def left(self) -> int:
        """The steps that the first pass has yet to make."""
        return self.replay.steps - self.replay.passed

    def open(self, steps: int, state_BCK: Tensor, weights_MKJ: Tensor) -> None:
        """Open a window of `steps` steps with the state before the first of them."""
        self._weights_MKJ = weights_MKJ
        self.replay.begin(steps, state_BCK)

    def require_kind(self, one_hot: bool) -> None:
        """Raise ValueError unless inputs of this kind can follow those of the open window."""
        if self._pieces and (self._pieces[-1].batch.inputs.dim() == 2) != one_hot:
            raise ValueError("the inputs of a window are either indices or numbers")

    def begin(self, resets_B: Tensor) -> None:
        """Note that sequences begin in some lanes with the next step, whose data are to come."""
        begins_B = self._begins_B
        self._begins_B = resets_B if begins_B is None else begins_B | resets_B

    def add(self, batch: Batch, row: int, begins: list[bool], targets: list[int]) -> None:
        """Take the data of the next steps, the rows of a batch from `row` on; the rest as Piece."""
        if self._begins_B is not None:
            resets = batch.resets.clone()
            resets[row] |= self._begins_B
            batch, self._begins_B = replace(batch, resets=resets), None
            begins = [True, *begins[1:]]
        start = 0
        if self._pieces:
            last = self._pieces[-1]
            start = last.start + len(last.begins)
            if last.batch is batch and last.row + len(last.begins) == row:
                last.begins += begins
                last.targets += targets
                return
        self._pieces.append(Piece(start, batch, row, begins, targets))
        self._starts.append(start)

    def add_step(self, step: Batch, count: int) -> None:
        """Take the data of one step, which comes alone, with a target in `count` lanes.

        Pieces are joined when the last is as long as the one before, so that they stay few.
        """
        self.add(step, 0, [False], [count])
        pieces = self._pieces
        while len(pieces) > 1 and len(pieces[-1].begins) >= len(pieces[-2].begins):
            last, before = pieces.pop(), pieces.pop()
            begins, targets = before.begins + last.begins, before.targets + last.targets
            both = joined([before.view(), last.view()])
            pieces.append(Piece(before.start, both, 0, begins, targets))
            self._starts.pop()

    def reverse(self, most: int | None = None) -> int:
        """Do up to `most` steps of the reverse pass (None: all), and return how many were done."""
        return self.replay.reverse(self, most)

    def finish(self) -> Tensor:
        """Return the gradient (P,), and end the window."""
        self._pieces, self._starts, self.last = [], [], None
        return self.replay.finish()

    def begins(self, t: int) -> Tensor | None:
        """Return the lanes (B,) in which a sequence begins before step t; None: in no lane."""
        piece, i = self._at(t)
        return piece.batch.resets[piece.row + i] if piece.begins[i] else None

    def step(self, t: int, state_BCK: Tensor) -> tuple[Tensor, Linearise]:
        """Return step t from the state before it, in which these lanes are zeroed first."""
        piece, i = self._at(t)
        batch, row = piece.batch, piece.row + i
        if piece.begins[i]:
            state_BCK = state_BCK.masked_fill(batch.resets[row][:, None, None], 0)
        return self._network.core.step(self._weights_MKJ, state_BCK, batch.inputs[row])

    def credit(self, t: int, state_BCK: Tensor) -> Tensor | None:
        """Return δ_t (B, k) from the state after step t, and write its loss to the batch."""
        piece, i = self._at(t)
        if not piece.targets[i]:
            return None
        network, batch, row = self._network, piece.batch, piece.row + i
        h_BK = network.core.output(state_BCK)
        learned = network.readout.learn(h_BK, batch.targets[row], batch.mask[row])
        if self.last is not None:
            row = self.last.steps - self.replay.steps + t
            if row >= 0:  # earlier ones are those of earlier batches
                self.last.take(row, learned.loss_B, learned.outputs_BO)
        return learned.credit_BK

    def _at(self, t: int) -> tuple[Piece, int]:
        piece = self._pieces[bisect_right(self._starts, t) - 1]
        return piece, t - piece.start

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of the rule's state, with the data of the window's steps so far."""
        data = {name: torch.empty(0) for name in DATA}
        if self._pieces:
            batch = joined([piece.view() for piece in self._pieces])
            data = {name: getattr(batch, name) for name in DATA}
        return {**self.replay.state_dict(), **data}

    def load_state_dict(self, saved: dict[str, Any], weights_MKJ: Tensor) -> None:
        """Continue from `saved`, a `state_dict` that `require_window` accepts."""
        self._pieces, self._starts, self._weights_MKJ = [], [], weights_MKJ
        self._begins_B = self.last = None
        self.replay.load_state_dict(saved, weights_MKJ)
        if len(saved["mask"]):
            data = {name: saved[name].to(weights_MKJ.device, copy=True) for name in DATA}
            begins, targets = data["resets"].any(1).tolist(), data["mask"].sum(1).tolist()
            self.add(Batch(**data), 0, begins, targets)


def joined(batches: list[Batch]) -> Batch:
    """Return the steps of some batches as one, without what is not needed of them."""
    of = (torch.cat([getattr(batch, name) for batch in batches]) for name in DATA)
    inputs, targets, mask, resets = of
    return Batch(inputs, targets, mask, resets)
