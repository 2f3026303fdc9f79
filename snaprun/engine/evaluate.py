"""Validation computes the mean loss on held-out data with frozen weights."""

from collections.abc import Callable, Iterable

import torch
from torch import Generator

from snaprun.engine import native
from snaprun.engine.optim import SGD
from snaprun.model.network import Network
from snaprun.rules import Frozen
from snaprun.tasks import Batch

_NEVER = 2**40  # steps between updates


def mean_loss(network: Network, batches: Iterable[Batch], in_core: bool = False) -> float:
    """Return the mean loss over every target of `batches`, in the unit that the loss reports.

    Nothing is updated. If `in_core` is true and the C++ core supports the network, the C++ core
    computes the loss and skips the dead weights.

    >>> from snaprun.cells import Vanilla
    >>> from snaprun.model.network import Architecture
    >>> from snaprun.seeding import stream
    >>> from snaprun.sparsity import Dense
    >>> from snaprun.tasks import Copy
    >>> network = Architecture(Vanilla(), 8, Dense(), hidden=0).build(4, 4, seed=0)
    >>> batch = Copy(fixed_length=3).batch(2, stream(0, "data"))
    >>> 1 < mean_loss(network, [batch]) < 4  # bits; a uniform guess of 4 symbols is 2
    True
    """
    in_core = in_core and native.supports(network, Frozen(), SGD()) is None
    total, targets = 0.0, 0
    summed, lanes = None, 0
    for batch in batches:
        batch = batch.to(network.core.device)
        if summed is None or lanes != batch.mask.shape[1]:
            lanes = batch.mask.shape[1]
            summed = (_in_core if in_core else _in_torch)(network, lanes)
        total += summed(batch)
        targets += int(batch.mask.sum())
    return network.readout.loss.reported(total / targets)


def _in_torch(network: Network, lanes: int) -> Callable[[Batch], float]:
    """Return what sums the losses of successive batches; a lane's state is carried to a reset."""
    weights_MKJ, readout = network.weights(), network.readout
    state_BCK = network.core.initial_state(lanes, network.dtype)

    def summed(batch: Batch) -> float:
        nonlocal state_BCK
        total = 0.0
        for t in range(len(batch.mask)):
            state_BCK = state_BCK.masked_fill(batch.resets[t][:, None, None], 0)
            state_BCK, _ = network.core.step(weights_MKJ, state_BCK, batch.inputs[t])
            outputs_BO = readout.outputs(network.core.output(state_BCK)).double()
            loss_B = readout.loss.value(outputs_BO, batch.targets[t], batch.mask[t])
            total += float(loss_B.sum())
        return total

    return summed


def _in_core(network: Network, lanes: int) -> Callable[[Batch], float]:
    """Do the same in C++, with an engine that never reaches its first update."""
    engine = native.NativeEngine(
        network, Frozen(), SGD(), lanes=lanes, update_every=_NEVER, noise=Generator()
    )
    return lambda batch: float(engine.run(batch).sum(dtype=torch.float64))
