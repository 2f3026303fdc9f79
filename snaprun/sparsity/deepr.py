"""Deep rewiring: weights that lose their sign die, and as many others come alive."""

import torch
from torch import Generator, Tensor

from snaprun import checks
from snaprun.sparsity.masks import Uniform

TINY = 1e-12  # θ of a weight that comes alive


class DeepR(Uniform):
    """Keeps the number of live weights and changes which ones they are, after every update.

        w = s θ,    θ ← θ − lr l1 + √(2 lr T) ν,  ν ~ N(0, 1),    live while θ > 0

    Every weight has a sign s for the whole run, that of its initial deviate. After an update a live
    weight is drawn towards 0 and shaken; where θ ≤ 0 it dies. Then as many of the weights that were
    dead, chosen uniformly among all of them, come alive with a tiny θ; if too few were dead, some
    of those that have just died come back, too. Biases stay as they are. The first mask is
    uniformly random at the level. Bellec et al. 2018, arXiv 1711.05136, algorithm 1.

    It needs train.update_every=sequence.

    >>> from snaprun.sparsity import SPARSITIES
    >>> deepr = SPARSITIES["deepr"](level=0.5, l1=0.0)
    >>> weights_MKJ = torch.tensor([[[0.5, -0.1, 0.0, 0.0, 0.2]]])  # of which two live, and a bias
    >>> signs_MKJ, possible_MKJ = torch.ones(1, 1, 5), torch.ones(1, 1, 5).bool()
    >>> at = weights_MKJ != 0, weights_MKJ, possible_MKJ, signs_MKJ
    >>> live_MKJ, _ = deepr.rewired(*at, lr=0.1, generator=Generator().manual_seed(0))
    >>> live_MKJ[0, 0, :2].tolist(), live_MKJ.sum().item()
    ([True, False], 3)
    """

    sparser = "a larger sparsity.level"
    rewires = True

    def __init__(self, level: float = 0.88, l1: float = 0.01, temperature: float = 0.0):
        super().__init__(level)
        self.l1 = checks.within("sparsity.l1", l1, 0, float("inf"), open_high=True)
        most = float("inf")
        self.temperature = checks.within(
            "sparsity.temperature", temperature, 0, most, open_high=True
        )

    def rewired(
        self,
        live_MKJ: Tensor,
        weights_MKJ: Tensor,
        possible_MKJ: Tensor,
        signs_MKJ: Tensor,
        *,
        lr: float,
        generator: Generator,
    ) -> tuple[Tensor, Tensor]:
        """Returns the mask and the dense weights after an update with the rate `lr`.

        `possible_MKJ` are the entries that the cell has.
        """
        weight_MKJ = torch.ones_like(live_MKJ)
        weight_MKJ[:, :, -1] = False
        theta_MKJ = weights_MKJ * signs_MKJ - lr * self.l1
        if self.temperature:
            drawn_MKJ = torch.randn(theta_MKJ.shape, generator=generator, dtype=torch.float64)
            shaken = (2 * lr * self.temperature) ** 0.5
            theta_MKJ += shaken * drawn_MKJ.to(theta_MKJ)

        dies_MKJ = live_MKJ & weight_MKJ & ~(theta_MKJ > 0)
        candidates = (possible_MKJ & weight_MKJ & ~live_MKJ).flatten().nonzero().squeeze(1)
        order = torch.randperm(len(candidates), generator=generator).to(candidates.device)
        count = int(dies_MKJ.sum())
        born = candidates[order[:count]]
        if short := count - len(born):
            fallen = dies_MKJ.flatten().nonzero().squeeze(1)
            drawn = torch.randperm(len(fallen), generator=generator)[:short].to(fallen.device)
            born = torch.cat((born, fallen[drawn]))
        after_MKJ = live_MKJ & ~dies_MKJ
        theta_MKJ.view(-1)[born] = TINY
        after_MKJ.view(-1)[born] = True
        changed_MKJ = torch.where(weight_MKJ, theta_MKJ * signs_MKJ, weights_MKJ)
        return after_MKJ, torch.where(after_MKJ, changed_MKJ, 0)
