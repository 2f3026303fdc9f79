"""Store and recall: one bit of a stream of bits is kept until it is asked for."""

from collections.abc import Iterator

import torch

from snaprun.checks import at_least, refuse, within
from snaprun.losses import Accuracy, SoftmaxCrossEntropy
from snaprun.tasks.base import Batch, Task
from snaprun.tasks.decisions import DecisionError, spikes
from snaprun.tasks.held_out import LANES, drawn


class StoreRecall(Task):
    """Read a stream of random bits as spikes, store one when told to, and recall it when told to.

    A sequence has `slots` slots of `slot` steps. Four populations of `population` neurons spike:
    bit 0, bit 1, store and recall. In every slot but one a random bit is shown. In one of these
    the store population is active too; the recall population is active between `shortest` and
    `longest` slots later, alone, and every step of that slot has the stored bit as its target.
    Neurons spike with the chance `rate` a step while their population is active, and with `noise`
    otherwise. The slots of the two cues are uniform among those that fit.

    The decision of a sequence is the class of the greatest output summed over the recall slot.
    Guessing has a decision error of 1/2. Held out are 1024 sequences from a random stream of their
    own.

    Source: the store-recall task of Bellec et al. 2018, arXiv 1803.09574, and 2020, Nature
    Communications 11:3625.

    >>> import torch
    >>> from snaprun.tasks import TASKS
    >>> batch = TASKS["store_recall"]().batch(lanes=2, generator=torch.Generator())
    >>> tuple(batch.inputs.shape), batch.mask.sum(0).tolist()
    ((200, 2, 40), [20, 20])
    """

    one_hot = False
    outputs = 2
    loss = SoftmaxCrossEntropy(bits=False)
    measures = (DecisionError(), Accuracy())
    held_out_lanes = LANES

    def __init__(
        self,
        slots: int = 10,
        slot: int = 20,
        shortest: int = 3,
        longest: int = 7,
        population: int = 10,
        rate: float = 0.2,
        noise: float = 0.01,
    ) -> None:
        self.slots = at_least("task.slots", slots, 2)
        self.slot = at_least("task.slot", slot, 1)
        self.shortest = at_least("task.shortest", shortest, 1)
        if not shortest <= longest < slots:
            refuse("task.longest", longest, f"{shortest} to {slots - 1}, within the sequence")
        self.longest = longest
        self.population = at_least("task.population", population, 1)
        self.rate = within("task.rate", rate, 0, 1)
        self.noise = within("task.noise", noise, 0, 1)
        self.inputs = 4 * population

    def batch(self, lanes: int, generator: torch.Generator) -> Batch:
        """Return one sequence of slots × slot steps for each lane."""
        slots_S1, lane = torch.arange(self.slots)[:, None], torch.arange(lanes)
        bits_SB = torch.randint(0, 2, (self.slots, lanes), generator=generator)
        later_B = torch.randint(self.shortest, self.longest + 1, (lanes,), generator=generator)
        first_B = (torch.rand(lanes, generator=generator) * (self.slots - later_B)).long()
        store_SB, recall_SB = slots_S1 == first_B, slots_S1 == first_B + later_B
        shown_SB = ~recall_SB
        populations = ((bits_SB == 0) & shown_SB, (bits_SB == 1) & shown_SB, store_SB, recall_SB)
        active_TBG = torch.stack(populations, 2).repeat_interleave(self.slot, 0)

        inputs = spikes(active_TBG, self.population, (self.rate, self.noise), generator)
        mask = active_TBG[:, :, 3]
        resets = torch.zeros_like(mask)
        resets[0] = True
        return Batch(inputs, bits_SB[first_B, lane] * mask, mask, resets)

    def steps(self) -> int:
        """Return slots × slot."""
        return self.slots * self.slot

    def validation(self, tokens: int | None) -> Iterator[Batch]:
        """Return held-out sequences, as snaprun.tasks.held_out.drawn says."""
        return drawn(self.batch, self.steps(), tokens)
