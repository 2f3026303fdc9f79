"""Validation: bits per character on held-out data with frozen weights."""

import math
from collections.abc import Iterable

import torch

from snaprun.tasks import Batch
from snaprun.train.network import Network


def bits_per_character(network: Network, batches: Iterable[Batch]) -> float:
    """The mean of -log₂ p(target) over every target of `batches`, in bits; nothing is updated."""
    weights_MKJ, core = network.weights(), network.core
    nats, targets = 0.0, 0
    state_BCK = None
    for batch in batches:
        batch = batch.to(core.device)
        if state_BCK is None or len(state_BCK) != batch.mask.shape[1]:
            state_BCK = core.initial_state(batch.mask.shape[1], network.dtype)
        for t in range(len(batch.mask)):
            state_BCK = state_BCK.masked_fill(batch.resets[t][:, None, None], 0)
            state_BCK, _ = core.step(weights_MKJ, state_BCK, batch.inputs[t])
            log_p_BO = torch.log_softmax(network.readout.logits(state_BCK[:, 0]).double(), 1)
            picked_B = log_p_BO.gather(1, batch.targets[t][:, None]).squeeze(1)
            nats -= float((picked_B * batch.mask[t]).sum())
        targets += int(batch.mask.sum())
    return nats / targets / math.log(2)
