"""The copy task: read L bits, then repeat them."""

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from snaprun.checks import at_least, one_of, within
from snaprun.losses.softmax import BPC
from snaprun.metrics import BUILT_IN
from snaprun.tasks.base import Batch, Task

HELD_OUT = (4, 64)  # minibatches, and the lanes of each
HELD_OUT_SEED = 2**40  # plus L: the seed of the generator, which no stream of training has
LEVEL, MASTERED, MASTERED_AVERAGE = (
    BUILT_IN[key] for key in ("level", "mastered", "mastered_average")
)
DELIMITER, BLANK = 2, 3  # the symbols after the bits 0 and 1
Scope = Literal["recall", "all"]


class Copy(Task):
    """Read L bits and a delimiter, then produce the bits while L blanks come in.

        input   b₁ … b_L  delimiter  blank … blank
        target  -  …  -       -       b₁   …  b_L        bpc_scope=recall
        target blank … blank blank    b₁   …  b_L        bpc_scope=all

    Curriculum: the level L starts at 1 and rises by one after a minibatch whose training bpc is
    under `threshold` (bits); each lane draws its length uniformly from [max(L - spread, 1), L].
    Lanes that end early are padded with blanks that have no target. `fixed_length` gives every
    lane that length and switches the curriculum off.

    Source: Menick et al. 2020, arXiv 2006.07232, the section on the copy task.

    >>> import torch
    >>> from snaprun.tasks import Copy
    >>> batch = Copy(fixed_length=2).batch(lanes=1, generator=torch.Generator())
    >>> batch.inputs[2:, 0].tolist()  # the delimiter, then two blanks
    [2, 3, 3]
    >>> torch.equal(batch.targets[3:], batch.inputs[:2])
    True
    """

    inputs = 4
    outputs = 4
    declared = (LEVEL, MASTERED, MASTERED_AVERAGE, BPC)
    held_out_lanes = HELD_OUT[1]
    length_key = "fixed_length"

    def __init__(
        self,
        bpc_scope: Scope = "recall",
        fixed_length: int | None = None,
        threshold: float = 0.15,
        spread: int = 5,
    ) -> None:
        self.bpc_scope = one_of("task.bpc_scope", bpc_scope, get_args(Scope))
        if fixed_length is not None:
            at_least("task.fixed_length", fixed_length, 1)
        self.fixed_length = fixed_length
        self.threshold = within(
            "task.threshold", threshold, 0.0, math.inf, open_low=True, open_high=True
        )
        self.spread = at_least("task.spread", spread, 0)
        self.level = fixed_length or 1

    def batch(self, lanes: int, generator: torch.Generator) -> Batch:
        """Return one sequence per lane, (2 L_max + 1) steps long, L_max the longest lane's L."""
        shortest = self.level if self.fixed_length else max(self.level - self.spread, 1)
        length = torch.randint(shortest, self.level + 1, (lanes,), generator=generator)  # (B,)
        return self._sequences(length, generator)

    def _sequences(self, length: Tensor, generator: torch.Generator) -> Batch:
        """Return one sequence for each lane; `length` (B,) is the number of its bits."""
        lanes = len(length)
        steps = 2 * int(length.max()) + 1  # T
        bits = torch.randint(0, 2, (steps, lanes), generator=generator)  # a lane uses the first L

        step = torch.arange(steps).unsqueeze(1)  # (T, 1)
        recall = (step > length) & (step <= 2 * length)  # (T, B)
        mask = step <= 2 * length if self.bpc_scope == "all" else recall

        inputs = torch.where(step < length, bits, BLANK)
        inputs[step == length] = DELIMITER
        again = bits.gather(0, (step - length - 1) % steps)  # the bits from the delimiter on
        targets = torch.where(recall, again, torch.where(mask, BLANK, 0))

        resets = torch.zeros_like(mask)
        resets[0] = True
        return Batch(inputs, targets, mask, resets)

    def steps(self) -> int:
        """Return 2 L + 1, where L is the present level."""
        return 2 * self.level + 1

    def observe(self, loss: float) -> None:
        """Raise the level by one when `loss`, the bpc, is under the threshold."""
        if self.fixed_length is None and loss < self.threshold:
            self.level += 1

    def metrics(self) -> dict[str, float]:
        """Return the level L, the measure of learning speed."""
        return {LEVEL.key: self.level}

    def held_out(
        self, loss: Callable[[Iterator[Batch]], float], tokens: int | None
    ) -> dict[str, float]:
        """Return `mastered`: the largest L at which held-out bpc is under the threshold, else 0.

        Every L has 256 sequences of its own, all of length L. The search begins at level + 1 and
        goes up while it succeeds (to 2 level + 1 at most), otherwise down. The level may be well
        above `mastered`, because one lucky minibatch raises the level and nothing lowers it. With
        `fixed_length`, only that length is tried.
        """
        del tokens

        def masters(length: int) -> bool:
            total = 0.0
            for batch in self._held_out_batches(length):
                total += loss(iter([batch])) / HELD_OUT[0]
                if not total < self.threshold:  # the other batches can only add to it
                    return False
            return True

        if self.fixed_length is not None:
            return {MASTERED.key: self.fixed_length if masters(self.fixed_length) else 0}
        mastered = self.level + 1
        if masters(mastered):
            while mastered <= 2 * self.level and masters(mastered + 1):
                mastered += 1
        else:
            mastered = next((length for length in range(self.level, 0, -1) if masters(length)), 0)
        return {MASTERED.key: mastered}

    def _held_out_batches(self, length: int) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(HELD_OUT_SEED + length)
        batches, lanes = HELD_OUT
        return (self._sequences(torch.full((lanes,), length), generator) for _ in range(batches))

    def state_dict(self) -> dict[str, Any]:
        """Return the level."""
        return {"level": self.level}

    def load_state_dict(self, state: Any, drawn: int | None = None) -> None:
        """Continue at the level of `state`; raises ValueError if `drawn` steps do not reach it."""
        level = state.get("level") if isinstance(state, dict) and len(state) == 1 else None
        if type(level) is not int or level < 1 or (self.fixed_length or level) != level:
            raise ValueError("task mismatch: expected a level ≥ 1, of this task.")
        # A batch of the level l has 2 l + 1 steps, or 2 (l - spread) + 1 where all lanes are short.
        if drawn is not None and self.fixed_length is None:
            short = max(level - 1 - self.spread, 0)
            if drawn < max(3 * (level - 1), short**2):
                raise ValueError(f"task.level mismatch: {level} is not reached in {drawn} steps.")
        self.level = level
