"""Accumulation of evidence: cues on the left and on the right are counted, and a delay follows."""

from collections.abc import Iterator

import torch

from snaprun.checks import at_least, refuse, within
from snaprun.losses import Accuracy, SoftmaxCrossEntropy
from snaprun.tasks.base import Batch, Task
from snaprun.tasks.decisions import DecisionError, spikes
from snaprun.tasks.held_out import LANES, drawn


class Evidence(Task):
    """See cues on the left or on the right, then decide after a delay on which side were more.

    A sequence shows `cues` cues, an odd number of them, of `cue` steps each with `gap` steps after
    it, then nothing for `delay` steps, then a signal for `decision` steps, each of which has the
    side of most cues as its target. The side is drawn first; a cue is on it with a chance of 0.7,
    and cues are drawn anew until most of them are. Four populations of `population` neurons spike:
    left, right, the signal, and one that only makes noise. Neurons spike with the chance `rate` a
    step while their population is active, and with `noise` otherwise.

    The decision of a sequence is the class of the greatest output summed over the signal. Guessing
    has a decision error of 1/2. Held out are 1024 sequences from a random stream of their own.

    Source: the evidence accumulation task of Bellec et al. 2020, Nature Communications 11:3625,
    after Morcos & Harvey 2016, Nature Neuroscience 19:1672.

    >>> import torch
    >>> from snaprun.tasks import TASKS
    >>> task = TASKS["evidence"](delay=50)
    >>> batch = task.batch(lanes=2, generator=torch.Generator())
    >>> tuple(batch.inputs.shape), batch.mask.sum(0).tolist()
    ((185, 2, 40), [30, 30])
    """

    one_hot = False
    outputs = 2
    loss = SoftmaxCrossEntropy(bits=False)
    measures = (DecisionError(), Accuracy())
    held_out_lanes = LANES
    length_key = "delay"
    likely = 0.7  # the chance of a cue on the side of most cues, before the draw is accepted

    def __init__(
        self,
        cues: int = 7,
        cue: int = 10,
        gap: int = 5,
        delay: int = 50,
        decision: int = 30,
        population: int = 10,
        rate: float = 0.1,
        noise: float = 0.01,
    ) -> None:
        self.cues = at_least("task.cues", cues, 1)
        if cues % 2 == 0:
            refuse("task.cues", cues, "an odd number, so that one side has more")
        self.cue = at_least("task.cue", cue, 1)
        self.gap = at_least("task.gap", gap, 0)
        self.delay = at_least("task.delay", delay, 0)
        self.decision = at_least("task.decision", decision, 1)
        self.population = at_least("task.population", population, 1)
        self.rate = within("task.rate", rate, 0, 1)
        self.noise = within("task.noise", noise, 0, 1)
        self.inputs = 4 * population

    def batch(self, lanes: int, generator: torch.Generator) -> Batch:
        """Return one sequence for each lane."""
        side_B = torch.randint(0, 2, (lanes,), generator=generator)
        on_side_NB = torch.zeros(self.cues, lanes, dtype=torch.bool)
        left_B = torch.ones(lanes, dtype=torch.bool)  # the lanes whose cues are yet to be drawn
        while left_B.any():
            drawn_NB = torch.rand(self.cues, lanes, generator=generator) < self.likely
            on_side_NB = torch.where(left_B, drawn_NB, on_side_NB)
            left_B = on_side_NB.sum(0) * 2 < self.cues
        right_NB = on_side_NB == side_B.bool()

        active_TBG = torch.zeros(self.steps(), lanes, 4, dtype=torch.bool)
        for n in range(self.cues):
            shown = slice(n * (self.cue + self.gap), n * (self.cue + self.gap) + self.cue)
            active_TBG[shown, :, 0], active_TBG[shown, :, 1] = ~right_NB[n], right_NB[n]
        active_TBG[-self.decision :, :, 2] = True
        inputs = spikes(active_TBG, self.population, (self.rate, self.noise), generator)
        mask = active_TBG[:, :, 2].clone()
        resets = torch.zeros_like(mask)
        resets[0] = True
        return Batch(inputs, side_B * mask, mask, resets)

    def steps(self) -> int:
        """Return cues × (cue + gap) + delay + decision."""
        return self.cues * (self.cue + self.gap) + self.delay + self.decision

    def validation(self, tokens: int | None) -> Iterator[Batch]:
        """Return held-out sequences, as snaprun.tasks.held_out.drawn says."""
        return drawn(self.batch, self.steps(), tokens)
