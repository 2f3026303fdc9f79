"""Whole training steps as contenders: our engines, and `torch.nn` with autograd."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn import functional as F

from snaprun.bench.available import LR, Engine
from snaprun.bench.interleave import Contender
from snaprun.bench.problem import RULES, Net, part
from snaprun.tasks import Batch
from snaprun.train.engine import SEQUENCE
from snaprun.train.network import Network

NEVER = 2**30  # steps between updates: no run is as long
MODULES: dict[str, Callable[..., torch.nn.Module]] = {
    "gru": torch.nn.GRU,
    "lstm": torch.nn.LSTM,
    "vanilla": torch.nn.RNN,
}


def ours(
    engine: Engine,
    network: Network,
    rule: str,
    batch: Batch,
    seed: int,
    update_every: int | str | None = None,
) -> tuple[Contender, Any] | None:
    """The contender `rule engine` and its engine; None where the engine refuses.

    `rule` is a key of RULES with the steps between updates behind a slash, 1 by default.
    """
    name, _, every = rule.partition("/")
    if update_every is None:
        update_every = SEQUENCE if every not in ("", "1") else 1
    lanes = batch.mask.shape[1]
    started = engine.start(network, RULES[name](), lanes, update_every, seed)
    if started is None:
        return None
    label = f"{rule} {engine.name}"
    if update_every == SEQUENCE:
        return Contender(label, partial(_sequences, started, batch), len(batch.mask)), started
    return Contender(label, partial(_steps, started, batch)), started


def autograd(net: Net, batch: Batch, steps: int) -> Contender:
    """`torch.nn`, dense, with the same readout and fused Adam, an update in `steps` steps.

    The state is carried on, detached after every update.
    """
    torch.manual_seed(0)
    lanes = batch.mask.shape[1]
    recurrent = MODULES[net.cell](net.inputs, net.units)
    widths = [net.units, *([net.hidden] if net.hidden else []), net.outputs]
    layers: list[torch.nn.Module] = [torch.nn.Linear(widths[0], widths[1])]
    if net.hidden:
        layers += [torch.nn.ReLU(), torch.nn.Linear(widths[1], widths[2])]
    readout = torch.nn.Sequential(*layers)
    optimiser = torch.optim.Adam(
        [*recurrent.parameters(), *readout.parameters()], lr=LR, fused=True
    )
    inputs_TBA = batch.inputs
    if inputs_TBA.dim() == 2:
        inputs_TBA = F.one_hot(inputs_TBA, net.inputs).float()
    zeros = torch.zeros(1, lanes, net.units)
    state = [(zeros, zeros) if net.cell == "lstm" else zeros]

    def work(windows: int) -> None:
        for window in range(windows):
            t = window * steps % len(inputs_TBA)
            h_TBK, carried = recurrent(inputs_TBA[t : t + steps], state[0])
            loss = F.cross_entropy(
                readout(h_TBK).flatten(0, 1), batch.targets[t : t + steps].flatten()
            )
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            tuples = isinstance(carried, tuple)
            state[0] = tuple(x.detach() for x in carried) if tuples else carried.detach()

    return Contender(f"autograd/{steps} torch.nn", work, steps)


def _steps(engine: Any, batch: Batch, steps: int) -> None:
    whole, rest = divmod(steps, len(batch.mask))
    for _ in range(whole):
        engine.run(batch)
    if rest:
        engine.run(part(batch, rest))


def _sequences(engine: Any, batch: Batch, sequences: int) -> None:
    for _ in range(sequences):
        engine.run(batch)
