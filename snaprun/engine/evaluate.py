"""Validation computes the mean loss, and measures, on held-out data with frozen weights."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from snaprun.engine import native
from snaprun.engine.optim import SGD
from snaprun.losses import Columns, Measure, Sums
from snaprun.model.network import Network
from snaprun.rules import Frozen
from snaprun.tasks import Batch

_NEVER = 2**40  # steps between updates
# Sums the losses of a batch, and writes the outputs if they are asked for.
Summed = Callable[[Batch, Tensor | None], float]
Pieces = Callable[[Batch], Iterable[Batch]]  # cuts a batch; the pieces in order are the batch


def as_a_whole(batch: Batch) -> Iterable[Batch]:
    """Return the batch as its only piece."""
    return (batch,)


def mean_loss(
    network: Network,
    batches: Iterable[Batch],
    in_core: bool = False,
    columns: Columns | None = None,
    sums: Sums | None = None,
    pieces: Pieces = as_a_whole,
) -> float:
    """Return the mean loss over every target of `batches`, in the unit that the loss reports.

    Nothing is updated. A batch is run in its `pieces`, and measured as a whole: what `columns`
    measure is added to `sums`. If `in_core` is true and the C++ core supports the network, the C++
    core computes the loss and skips the dead weights.

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
    in_core = in_core and native.supports(network, Frozen.of(network.core), SGD()) is None
    total, targets = 0.0, 0
    summed, lanes, width = None, 0, network.readout.parameters[-1].numel()
    for batch in batches:
        cut = pieces(batch)
        if summed is None or lanes != batch.mask.shape[1]:
            lanes = batch.mask.shape[1]
            summed = (_in_core if in_core else _in_torch)(network, lanes)
        outputs_TBO = None
        if columns and columns.outputs:
            outputs_TBO = torch.zeros(
                *batch.mask.shape, width, dtype=network.dtype, device=network.core.device
            )
        first = 0
        for piece in cut:
            last = first + len(piece.mask)
            into_TBO = None if outputs_TBO is None else outputs_TBO[first:last]
            total += summed(piece.to(network.core.device), into_TBO)
            first = last
        if outputs_TBO is not None:
            outputs_TBO = outputs_TBO.to(batch.mask.device)
        targets += int(batch.mask.sum())
        if columns and sums is not None:
            columns.add(sums, batch.targets, batch.mask, outputs_TBO, batch.baseline)
    return network.readout.loss.reported(total / targets)


@dataclass(frozen=True)
class HeldOut:
    """What a task asks about held-out batches; a tasks.Evaluation."""

    network: Network
    measures: Sequence[Measure]
    in_core: bool
    pieces: Pieces = as_a_whole

    def __call__(self, batches: Iterable[Batch], /) -> float:
        """Return the mean loss over all targets, in reported units."""
        return mean_loss(self.network, batches, self.in_core, pieces=self.pieces)

    def metrics(self, batches: Iterable[Batch], /) -> dict[str, float]:
        """Return the loss, the measures, and those of the batches' baseline, by column."""
        loss, sums = self.network.readout.loss, Sums()
        columns = Columns(loss, self.measures, held_out=True)
        mean = mean_loss(self.network, batches, self.in_core, columns, sums, self.pieces)
        beside = {key: value for key, value in columns.values(sums).items() if value is not None}
        return {loss.held_out.key: mean, **beside}


def _in_torch(network: Network, lanes: int) -> Summed:
    """Return what sums the losses of successive batches; a lane's state is carried to a reset."""
    weights_MKJ, readout = network.weights(), network.readout
    state_BCK, bank = network.core.initial_state(lanes, network.dtype), network.bank(lanes)

    def summed(batch: Batch, outputs_TBO: Tensor | None) -> float:
        nonlocal state_BCK, bank
        total = 0.0
        for t in range(len(batch.mask)):
            state_BCK = state_BCK.masked_fill(batch.resets[t][:, None, None], 0)
            bank = bank and bank.reset(batch.resets[t])
            point = weights_MKJ, state_BCK, bank, batch.inputs[t]
            state_BCK, bank, _ = network.core.advance(*point)
            outputs_BO = readout.outputs(network.core.seen(state_BCK, bank)).double()
            loss_B = readout.loss.value(outputs_BO, batch.targets[t], batch.mask[t])
            total += float(loss_B.sum())
            if outputs_TBO is not None:
                outputs_TBO[t] = outputs_BO
        bank = bank.opened() if bank and batch.ends else bank
        return total

    return summed


def _in_core(network: Network, lanes: int) -> Summed:
    """Do the same in C++, with an engine that never reaches its first update."""
    still = Frozen.of(network.core)
    engine = native.NativeEngine(
        network, still, SGD(), lanes=lanes, update_every=_NEVER, noise=Generator()
    )
    return lambda batch, outputs_TBO: float(engine.run(batch, outputs_TBO).sum(dtype=torch.float64))
