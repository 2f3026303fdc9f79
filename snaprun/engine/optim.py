"""The optimisers, by the names that YAML uses; each builds one of PyTorch's own."""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch.nn import Parameter

from snaprun import checks
from snaprun.registry import Registry


class Optimiser(ABC):
    """The base of all optimisers: a learning rate on a schedule, and a bound on the gradient.

    After u updates the rate is lr · min(1, (u + 1)/warmup) · (floor + (1 − floor) f(n)), where
    n = max(0, u − warmup) updates were made after the warm-up, and f(n) = 1 if the rate does not
    fall, 2^(−n/half_life), or (1 + cos π min(1, n/(cosine − warmup)))/2.

    `clip` is the largest norm that the gradient may have (None: no bound). `warmup` counts updates,
    `half_life` those in which the rate falls to a half. `cosine` is the number of updates, with the
    warm-up, after which the rate has fallen along half a cosine (Loshchilov & Hutter 2017, arXiv
    1608.03983). `floor` is the share of lr to which it falls. Raises UserError for a value out of
    range, for both `half_life` and `cosine`, and for a `floor` without either.
    """

    # PyTorch's names of what it keeps for every parameter besides a count of steps.
    moments: tuple[str, ...]

    def __init__(
        self,
        lr: float,
        clip: float | None = None,
        half_life: float | None = None,
        warmup: int = 0,
        cosine: int | None = None,
        floor: float = 0.0,
    ):
        self.lr = checks.within("optim.lr", lr, 0.0, float("inf"), open_low=True, open_high=True)
        self.clip = _positive("optim.clip", clip)
        self.half_life = _positive("optim.half_life", half_life)
        self.warmup = checks.at_least("optim.warmup", warmup, 0)
        if cosine is not None:
            if half_life is not None:
                accepted = f"null beside optim.half_life={half_life:g}"
                checks.refuse("optim.cosine", cosine, accepted, "Set one of them to null.")
            cosine = checks.at_least("optim.cosine", cosine, self.warmup + 1)
        self.cosine = cosine
        self.floor = checks.within("optim.floor", floor, 0.0, 1.0)
        if floor and cosine is None and half_life is None:
            remedy = "Set optim.cosine or optim.half_life."
            checks.refuse("optim.floor", floor, "0 for a rate that does not fall", remedy)

    def rate(self, updates: int) -> float:
        """Return the learning rate after `updates` updates."""
        warm = min(1.0, (updates + 1) / self.warmup) if self.warmup else 1.0
        after, fall = max(0, updates - self.warmup), 1.0
        if self.half_life is not None:
            fall = 2 ** (-after / self.half_life)
        elif self.cosine is not None:
            fall = (1 + math.cos(math.pi * min(1.0, after / (self.cosine - self.warmup)))) / 2
        return self.lr * warm * (self.floor + (1 - self.floor) * fall)

    @abstractmethod
    def build(self, parameters: Sequence[Parameter]) -> torch.optim.Optimizer:
        """Return the PyTorch optimiser of `parameters`."""


def _positive(key: str, value: float | None) -> float | None:
    if value is None:
        return None
    return checks.within(key, value, 0.0, float("inf"), open_low=True, open_high=True)


class Adam(Optimiser):
    """Adam (Kingma & Ba 2015, arXiv 1412.6980).

    >>> adam = Adam(lr=0.5, half_life=10)
    >>> adam.rate(0), adam.rate(10)
    (0.5, 0.25)
    >>> adam.moments
    ('exp_avg', 'exp_avg_sq')
    """

    moments = ("exp_avg", "exp_avg_sq")  # the running means of the gradient and of its square

    def __init__(
        self,
        lr: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        clip: float | None = None,
        half_life: float | None = None,
        warmup: int = 0,
        cosine: int | None = None,
        floor: float = 0.0,
    ):
        super().__init__(lr, clip, half_life, warmup, cosine, floor)
        self.beta1 = checks.within("optim.beta1", beta1, 0.0, 1.0, open_high=True)
        self.beta2 = checks.within("optim.beta2", beta2, 0.0, 1.0, open_high=True)
        self.eps = checks.within("optim.eps", eps, 0.0, float("inf"), open_low=True)

    def build(self, parameters: Sequence[Parameter]) -> torch.optim.Optimizer:
        """Return PyTorch's fused implementation, one kernel per step."""
        return torch.optim.Adam(parameters, self.lr, (self.beta1, self.beta2), self.eps, fused=True)


class AdamW(Adam):
    """AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101): weights decay apart from the gradient.

        θ ← (1 − rate · weight_decay) θ,   then Adam's step

    As in `torch.optim.AdamW`, every parameter that the rule moves decays, biases as well.

    >>> import torch
    >>> theta = torch.nn.Parameter(torch.ones(2))
    >>> theta.grad = torch.zeros(2)
    >>> AdamW(lr=0.5, weight_decay=0.5).build([theta]).step()
    >>> theta.tolist()
    [0.75, 0.75]
    """

    def __init__(
        self,
        lr: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        clip: float | None = None,
        half_life: float | None = None,
        warmup: int = 0,
        cosine: int | None = None,
        floor: float = 0.0,
    ):
        super().__init__(lr, beta1, beta2, eps, clip, half_life, warmup, cosine, floor)
        most = float("inf")
        self.weight_decay = checks.within(
            "optim.weight_decay", weight_decay, 0, most, open_high=True
        )

    def build(self, parameters: Sequence[Parameter]) -> torch.optim.Optimizer:
        """Return PyTorch's fused implementation, one kernel per step."""
        return torch.optim.AdamW(
            parameters,
            self.lr,
            (self.beta1, self.beta2),
            self.eps,
            weight_decay=self.weight_decay,
            fused=True,
        )


class SGD(Optimiser):
    """Stochastic gradient descent with momentum.

    >>> import torch
    >>> theta = torch.nn.Parameter(torch.ones(2))
    >>> theta.grad = torch.tensor([2.0, 4.0])
    >>> SGD(lr=0.25).build([theta]).step()
    >>> theta.tolist()
    [0.5, 0.0]
    """

    def __init__(
        self,
        lr: float = 1e-2,
        momentum: float = 0.0,
        clip: float | None = None,
        half_life: float | None = None,
        warmup: int = 0,
        cosine: int | None = None,
        floor: float = 0.0,
    ):
        super().__init__(lr, clip, half_life, warmup, cosine, floor)
        self.momentum = checks.within("optim.momentum", momentum, 0.0, 1.0, open_high=True)
        self.moments = ("momentum_buffer",) if momentum else ()  # the velocity

    def build(self, parameters: Sequence[Parameter]) -> torch.optim.Optimizer:
        """Return PyTorch's fused implementation, one kernel per step."""
        return torch.optim.SGD(parameters, self.lr, self.momentum, fused=True)


class RMSprop(Optimiser):
    """RMSprop (Tieleman & Hinton 2012) with momentum.

    >>> RMSprop().moments, RMSprop(momentum=0.9).moments
    (('square_avg',), ('square_avg', 'momentum_buffer'))
    """

    def __init__(
        self,
        lr: float = 1e-3,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        clip: float | None = None,
        half_life: float | None = None,
        warmup: int = 0,
        cosine: int | None = None,
        floor: float = 0.0,
    ):
        super().__init__(lr, clip, half_life, warmup, cosine, floor)
        self.alpha = checks.within("optim.alpha", alpha, 0.0, 1.0, open_high=True)
        self.eps = checks.within("optim.eps", eps, 0.0, float("inf"), open_low=True)
        self.momentum = checks.within("optim.momentum", momentum, 0.0, 1.0, open_high=True)
        # The running mean of the squared gradient, and the velocity.
        self.moments = ("square_avg", "momentum_buffer") if momentum else ("square_avg",)

    def build(self, parameters: Sequence[Parameter]) -> torch.optim.Optimizer:
        """Return PyTorch's implementation."""
        return torch.optim.RMSprop(
            parameters, self.lr, self.alpha, self.eps, momentum=self.momentum
        )


def newest(decay: float, updates: int) -> float:
    """Return the weight w of θ_n in the exponential average of the parameters after n updates.

    θ̄_n = θ̄_{n−1} + w (θ_n − θ̄_{n−1}) with w = (1 − a)/(1 − aⁿ), so θ̄_n ∝ Σ_{i ≤ n} aⁿ⁻ⁱ θ_i.
    The weights of all θ_i sum to one from the first update on, as in Adam's bias-corrected means.
    `decay` is a, `updates` is n.
    """
    return -(1 - decay) / math.expm1(updates * math.log(decay))


OPTIMISERS = Registry(
    "optimisers", Optimiser, {"adam": Adam, "adamw": AdamW, "sgd": SGD, "rmsprop": RMSprop}
)
# The arguments of every optimiser.
SHARED = tuple(inspect.signature(Optimiser).parameters)
