"""The copy task: read L bits, then say them again."""

import math
from typing import Any, Literal, get_args

import torch

from snaprun.checks import at_least, one_of, within
from snaprun.tasks.base import Batch, Task

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
    """

    inputs = 4
    outputs = 4

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

    def observe(self, bpc: float) -> None:
        """Raise the level by one when `bpc` is under the threshold."""
        if self.fixed_length is None and bpc < self.threshold:
            self.level += 1

    def metrics(self) -> dict[str, float]:
        """Return the level L, the measure of learning speed."""
        return {"level": self.level}

    def state_dict(self) -> dict[str, Any]:
        """Return the level."""
        return {"level": self.level}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at the level of `state`."""
        self.level = int(state["level"])
