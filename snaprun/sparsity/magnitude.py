"""Pruning by magnitude while the network trains."""

import torch
from torch import Tensor

from snaprun import checks
from snaprun.sparsity.masks import Uniform


class Magnitude(Uniform):
    """Prunes each weight matrix separately to the level s_t, with t in tokens, t0 ≤ t ≤ t1.

        s_t = s_f + (s_i − s_f) (1 − (t − t0)/(t1 − t0))³

    The first mask is uniformly random at the level s_i; later masks have fewer live weights. The
    mask changes at t0 + every,
    t0 + 2·every, … and at t1, each time at the end of the batch that passes that data-time. Then
    each matrix keeps the round((1 − s_t)·entries) live weights of largest |w|, and of equal ones
    the first. A dead weight stays dead, and biases stay live. Zhu & Gupta 2017, arXiv 1710.01878,
    equation (1).

    >>> from snaprun.sparsity import SPARSITIES
    >>> sparsity = SPARSITIES["magnitude"](level=0.75, initial=0.0, begin=0, end=100, every=50)
    >>> [sparsity.metrics(tokens)["sparsity"] for tokens in (0, 49, 50, 100)]
    [0.0, 0.0, 0.65625, 0.75]
    >>> weights_MKJ = torch.tensor([[[4.0, -3.0, 2.0, 1.0, 0.0]] * 2])  # 2 units, 2 inputs, biases
    >>> live_MKJ = torch.ones_like(weights_MKJ, dtype=torch.bool)
    >>> sparsity.pruned(100, live_MKJ, weights_MKJ).int().tolist()
    [[[1, 0, 1, 0, 1], [0, 0, 0, 0, 1]]]
    """

    sparser = "a larger sparsity.initial"
    prunes = True

    def __init__(
        self,
        level: float = 0.75,
        initial: float = 0.0,
        begin: int = 50_000,
        end: int = 200_000,
        every: int = 10_000,
    ):
        super().__init__(level)
        self.initial = self.drawn = checks.within("sparsity.initial", initial, 0.0, self.level)
        self.begin = checks.at_least("sparsity.begin", begin, 0)
        self.end = checks.at_least("sparsity.end", end, self.begin + 1)
        self.every = checks.at_least("sparsity.every", every, 1)

    def due(self, before: int, tokens: int) -> bool:
        """Returns whether the level rises between the two data-times, in tokens."""
        return self._scheduled(before) < self._scheduled(tokens)

    def pruned(self, tokens: int, live_MKJ: Tensor, weights_MKJ: Tensor) -> Tensor:
        """Returns the part of `live_MKJ` that stays live at the data-time `tokens`."""
        units, left_MKJ = live_MKJ.shape[1], live_MKJ.clone()
        magnitude_MKJ = weights_MKJ.abs().masked_fill(~live_MKJ, -1)
        for part in (slice(0, units), slice(units, -1)):
            magnitude_MX = magnitude_MKJ[:, :, part].flatten(1)
            stay = round((1 - self._scheduled(tokens)) * magnitude_MX.shape[1])
            order_MX = magnitude_MX.argsort(dim=1, descending=True, stable=True)
            largest_MX = torch.zeros_like(magnitude_MX, dtype=torch.bool)
            largest_MX.scatter_(1, order_MX[:, :stay], True)
            left_MKJ[:, :, part] &= largest_MX.unflatten(1, (units, -1))
        return left_MKJ

    def metrics(self, tokens: int) -> dict[str, float]:
        """Returns the level at the data-time `tokens`."""
        return {"sparsity": self._scheduled(tokens)}

    def _scheduled(self, tokens: int) -> float:
        """Returns s_t of the last change of the mask up to the data-time `tokens`."""
        if tokens >= self.end:
            return self.level
        since = max(0, tokens - self.begin)
        left = 1 - since // self.every * self.every / (self.end - self.begin)
        return self.level + (self.initial - self.level) * left**3
