"""Grey values as spikes.

Shape suffixes: T steps, B lanes, I pixels of a step, N neurons of a pixel.
"""

from typing import Literal

import torch
from torch import Generator, Tensor

Code = Literal["grey", "threshold", "poisson", "latency"]


def threshold(x_TBI: Tensor, neurons: int) -> Tensor:
    """Return spikes where a grey value crosses a threshold, shape (T, B, I·N), 0 or 1.

    Neuron n of a pixel has the threshold (n + ½)/N, and spikes when it lies between the value of
    the step before, 0 before the first step, and that of this step.

    >>> threshold(torch.tensor([[[0.3]], [[1.0]], [[0.3]]]), 2)[:, 0].tolist()
    [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
    """
    levels_N = (torch.arange(neurons) + 0.5) / neurons
    above_TBIN = x_TBI[..., None] > levels_N
    before_TBIN = torch.cat((torch.zeros_like(above_TBIN[:1]), above_TBIN[:-1]))
    return (above_TBIN ^ before_TBIN).flatten(2).to(x_TBI.dtype)


def poisson(x_TBI: Tensor, generator: Generator) -> Tensor:
    """Return spikes that come with the chance x at every step, shape (T, B, I), 0 or 1."""
    return (torch.rand(x_TBI.shape, generator=generator) < x_TBI).to(x_TBI.dtype)


def latency(x_TBI: Tensor) -> Tensor:
    """Return one spike of every pixel of a still image, earlier the brighter it is, (T, B, I).

    It comes at step round((1 − x) (T − 1)); a black pixel, x = 0, has none.

    >>> latency(torch.tensor([[[1.0, 0.5, 0.0]]]).expand(3, -1, -1))[:, 0].tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    steps_T11 = torch.arange(len(x_TBI))[:, None, None]
    due_TBI = ((1 - x_TBI) * (len(x_TBI) - 1)).round() == steps_T11
    return (due_TBI & (x_TBI > 0)).to(x_TBI.dtype)
