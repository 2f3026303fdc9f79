"""Small networks, batches and replays in float64."""

import torch
from torch.nn import functional as F

from snaprun.align.replay import Replay
from snaprun.cells import GRU
from snaprun.influence import choose
from snaprun.model.network import Architecture
from snaprun.sparsity import Uniform
from snaprun.tasks import Batch
from tests.cases import rng

B, A, K, O = 3, 5, 6, 4
SEED = 4


def network(cell=None, level=0.6, seed=SEED):
    built = Architecture(cell or GRU(), K, Uniform(level=level), 8).build(A, O, seed, torch.float64)
    built.theta += 0.3 * torch.randn(built.theta.shape, generator=rng(seed), dtype=torch.float64)
    return built


def replay(network, seed=SEED):
    return Replay(network.core, B, network.dtype, O, choose("auto"), seed)


def batch(steps=9, seed=7):
    """Targets in some lanes of most steps, none at step 1; one lane begins anew in the middle."""
    generator = rng(seed)
    resets = torch.zeros(steps, B, dtype=torch.bool)
    resets[0] = resets[steps // 2, 1] = True
    mask = torch.rand(steps, B, generator=generator) < 0.7
    mask[1], mask[-1] = False, True
    inputs = torch.randint(0, A, (steps, B), generator=generator)
    targets = torch.randint(0, O, (steps, B), generator=generator) * mask
    return Batch(inputs, targets, mask, resets)


def by_autograd(network, batch):
    """The gradient (P,) of the summed loss of the unrolled dense network."""
    layout = network.core.layout
    weights_MKJ = network.weights().requires_grad_()
    state_BCK = network.core.initial_state(B, torch.float64)
    total = torch.zeros((), dtype=torch.float64)
    for t in range(len(batch.mask)):
        state_BCK = torch.where(batch.resets[t][:, None, None], 0.0, state_BCK)
        one_hot_BA = torch.eye(A, dtype=torch.float64)[batch.inputs[t]]
        source_BJ = torch.cat((state_BCK[:, 0], one_hot_BA, torch.ones(B, 1)), 1)
        pre_BMK = torch.einsum("muj,bj->bmu", weights_MKJ * layout.live_MKJ, source_BJ)
        state_BCK = network.core.cell.transition(pre_BMK, state_BCK)
        first, first_bias, last, last_bias = (p.detach() for p in network.readout.parameters)
        read_BK = state_BCK[:, network.core.cell.read]
        logits_BO = F.linear(F.linear(read_BK, first, first_bias).relu(), last, last_bias)
        nats_B = F.cross_entropy(logits_BO, batch.targets[t], reduction="none")
        total = total + (nats_B * batch.mask[t]).sum()
    return layout.gather(torch.autograd.grad(total, weights_MKJ)[0])
