"""Whole training steps as contenders: our engines, and `torch.nn` with autograd."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.nn import functional as F

from snaprun.bench.available import LR, Engine
from snaprun.bench.interleave import Contender
from snaprun.bench.problem import Feed, Net, batches, rule_of
from snaprun.engine.base import SEQUENCE
from snaprun.tasks import Batch

UPDATES, TRAINING_LR = 1000, 1e-3  # training before timing, so that moments are as in a run
MODULES: dict[str, Callable[..., torch.nn.Module]] = {
    "gru": torch.nn.GRU,
    "lstm": torch.nn.LSTM,
    "vanilla": torch.nn.RNN,
}


@dataclass(frozen=True)
class Setting:
    """What the contenders of a group share: a briefly trained network, and data."""

    net: Net
    lanes: int
    seed: int
    data: Sequence[Batch]
    trained: dict[str, Any]  # the state dict of the engine that trained it

    @classmethod
    def make(
        cls,
        net: Net,
        lanes: int,
        engines: Sequence[Engine],
        seed: int,
        updates: int = UPDATES,
    ) -> "Setting":
        """Make `updates` updates of SnAp-1, one per step, on the last engine that can run it."""
        data = batches(net.task, lanes, seed)
        for engine in reversed(engines):
            started = engine.start(
                net.build(seed), rule_of("snap1"), lanes, 1, seed, lr=TRAINING_LR
            )
            if started is not None:
                for piece in Feed(data).pieces(updates):
                    started.run(piece)
                return cls(net, lanes, seed, data, started.state_dict())
        raise ValueError(f"no engine trains {net.name}")


def ours(engine: Engine, setting: Setting, rule: str) -> tuple[Contender, Any] | None:
    """Return the contender named `rule engine`, and its engine; None if the engine refuses.

    `rule` is a rule's word, optionally with a slash and the steps between updates (default 1).
    """
    name, _, every = rule.partition("/")
    update_every = SEQUENCE if every not in ("", "1") else 1
    network = setting.net.build(setting.seed)
    started = engine.start(network, rule_of(name), setting.lanes, update_every, setting.seed)
    if started is None:
        return None
    shared = {key: setting.trained[key] for key in ("network", "optimiser", "updates")}
    started.load_state_dict(started.state_dict() | shared)
    feed, label = Feed(setting.data), f"{rule} {engine.name}"
    if update_every == SEQUENCE:
        steps = len(setting.data[0].mask)
        return Contender(label, partial(_run, started, feed.sequences), steps), started
    return Contender(label, partial(_run, started, feed.pieces)), started


def started(
    setting: Setting, rules: Sequence[str], engines: Sequence[Engine]
) -> Iterator[tuple[Contender, Any]]:
    """Yield a contender and its engine for each rule and each engine that can run it."""
    made = (ours(engine, setting, rule) for rule in rules for engine in engines)
    return (one for one in made if one is not None)


def autograd(setting: Setting, steps: int) -> Contender:
    """Return a dense `torch.nn` network with the same readout, fused Adam, an update per `steps`.

    The state is carried from update to update, detached, and zeroed when a sequence begins.
    """
    torch.manual_seed(0)
    net = setting.net
    recurrent = MODULES[net.cell](net.inputs, net.units)
    readout = torch.nn.Sequential(torch.nn.Linear(net.units, net.hidden or net.outputs))
    if net.hidden:
        readout.extend([torch.nn.ReLU(), torch.nn.Linear(net.hidden, net.outputs)])
    optimiser = torch.optim.Adam(
        [*recurrent.parameters(), *readout.parameters()], lr=LR, fused=True
    )
    windows = [
        (F.one_hot(piece.inputs, net.inputs).float(), piece.targets, bool(piece.resets[0].any()))
        for batch in setting.data
        for piece in (batch.piece(t, steps) for t in range(0, len(batch.mask), steps))
    ]
    zeros = torch.zeros(1, setting.lanes, net.units)
    start = (zeros, zeros) if net.cell == "lstm" else zeros
    state, at = start, 0

    def work(count: int) -> None:
        nonlocal state, at
        for _ in range(count):
            inputs_TBA, targets_TB, begins = windows[at]
            h_TBK, carried = recurrent(inputs_TBA, start if begins else state)
            loss = F.cross_entropy(readout(h_TBK).flatten(0, 1), targets_TB.flatten())
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            tuples = isinstance(carried, tuple)
            state = tuple(x.detach() for x in carried) if tuples else carried.detach()
            at = (at + 1) % len(windows)

    return Contender(f"autograd/{steps} torch.nn", work, steps)


def _run(engine: Any, following: Callable[[int], Any], count: int) -> None:
    for batch in following(count):
        engine.run(batch)
