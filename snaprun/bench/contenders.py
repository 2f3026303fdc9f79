"""Whole training steps as contenders: our engines, and `torch.nn` with autograd."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, UntypedStorage
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from snaprun.bench.available import LR, Engine
from snaprun.bench.interleave import Contender
from snaprun.bench.problem import STEPS, Feed, Net, batches, rule_of
from snaprun.engine.base import SEQUENCE
from snaprun.rules import LearningRule
from snaprun.tasks import Batch

UPDATES, TRAINING_LR = 1000, 1e-3  # training before timing, so that moments are as in a run
MODULES: dict[str, type[torch.nn.GRU | torch.nn.LSTM | torch.nn.RNN]] = {
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
        steps: int = STEPS,
    ) -> "Setting":
        """Make `updates` updates of SnAp-1, one per step, on the last engine that can run it.

        The data are sequences of `steps` steps.
        """
        data = batches(net.task, lanes, seed, steps)
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
    return of_rule(engine, setting, rule_of(name), update_every, f"{rule} {engine.name}")


def of_rule(
    engine: Engine, setting: Setting, rule: LearningRule, update_every: int | str, label: str
) -> tuple[Contender, Any] | None:
    """Return the contender named `label`, and its engine; None if the engine refuses."""
    network = setting.net.build(setting.seed)
    started = engine.start(network, rule, setting.lanes, update_every, setting.seed)
    if started is None:
        return None
    shared = {key: setting.trained[key] for key in ("network", "optimiser", "updates")}
    started.load_state_dict(started.state_dict() | shared)
    feed = Feed(setting.data)
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
    """Return the contender `TorchNN`, with an update per `steps`."""
    return Contender(f"autograd/{steps} torch.nn", TorchNN(setting, steps).work, steps)


class TorchNN:
    """A dense `torch.nn` network with the same readout, fused Adam, and an update per `steps`.

    The state is carried from update to update, detached, and zeroed when a sequence begins. With
    `segment` = n, autograd keeps the state of every n-th step, and repeats n steps at a time.
    """

    def __init__(self, setting: Setting, steps: int, segment: int | None = None):
        torch.manual_seed(0)
        net = setting.net
        self.segment = segment
        self._recurrent = MODULES[net.cell](net.inputs, net.units)
        self._readout = torch.nn.Sequential(torch.nn.Linear(net.units, net.hidden or net.outputs))
        if net.hidden:
            self._readout.extend([torch.nn.ReLU(), torch.nn.Linear(net.hidden, net.outputs)])
        parameters = [*self._recurrent.parameters(), *self._readout.parameters()]
        self._optimiser = torch.optim.Adam(parameters, lr=LR, fused=True)
        self._windows = [
            (
                F.one_hot(piece.inputs, net.inputs).float(),
                piece.targets,
                bool(piece.resets[0].any()),
            )
            for batch in setting.data
            for piece in (batch.piece(t, steps) for t in range(0, len(batch.mask), steps))
        ]
        zeros = torch.zeros(1, setting.lanes, net.units)
        self._start = (zeros, zeros) if net.cell == "lstm" else (zeros,)
        self._state, self._at = self._start, 0

    def work(self, count: int) -> None:
        """Make `count` updates."""
        for _ in range(count):
            inputs_TBA, targets_TB, begins = self._windows[self._at]
            state = self._start if begins else self._state
            loss, *carried = self._loss(inputs_TBA, targets_TB, state)
            loss.backward()
            self._optimiser.step()
            self._optimiser.zero_grad()
            self._state = tuple(x.detach() for x in carried)
            self._at = (self._at + 1) % len(self._windows)

    def taped_bytes(self) -> int:
        """Return the bytes that autograd saves of a window, without parameters and data.

        With segments these are the states that are kept, and what is saved of one segment.
        """
        inputs_TBA, targets_TB, _ = self._windows[0]
        if self.segment is None:
            return self._saved(inputs_TBA, targets_TB)
        states = len(inputs_TBA.split(self.segment)) * sum(x.nbytes for x in self._start)
        return states + self._saved(inputs_TBA[: self.segment], targets_TB[: self.segment])

    def _saved(self, inputs_TBA: Tensor, targets_TB: Tensor) -> int:
        saved: dict[int, UntypedStorage] = {}  # each is held, so that no address is used twice

        def pack(x: Tensor) -> Tensor:
            storage = x.untyped_storage()
            saved[storage.data_ptr()] = storage
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            self._forward(inputs_TBA, targets_TB, *self._start)
        parameters = (p for group in self._optimiser.param_groups for p in group["params"])
        for x in (inputs_TBA, targets_TB, *self._start, *parameters):
            saved.pop(x.untyped_storage().data_ptr(), None)
        return sum(storage.nbytes() for storage in saved.values())

    def _forward(
        self, inputs_TBA: Tensor, targets_TB: Tensor, *state: Tensor
    ) -> tuple[Tensor, ...]:
        first, *rest = state
        h_TBK, carried = self._recurrent(inputs_TBA, state if rest else first)
        loss = F.cross_entropy(self._readout(h_TBK).flatten(0, 1), targets_TB.flatten())
        return loss, *(carried if rest else (carried,))

    def _loss(
        self, inputs_TBA: Tensor, targets_TB: Tensor, state: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        if self.segment is None:
            return self._forward(inputs_TBA, targets_TB, *state)
        total = torch.zeros(())
        # The reentrant form is the faster one, and repeats what has an argument with a gradient.
        state = tuple(x.detach().requires_grad_() for x in state)
        parts = zip(inputs_TBA.split(self.segment), targets_TB.split(self.segment), strict=True)
        for x_TBA, y_TB in parts:
            loss, *carried = checkpoint(
                self._forward, x_TBA, y_TB, *state, use_reentrant=True, preserve_rng_state=False
            )
            state = tuple(carried)
            total = total + loss * (len(x_TBA) / len(inputs_TBA))
        return total, *state


def _run(engine: Any, following: Callable[[int], Any], count: int) -> None:
    for batch in following(count):
        engine.run(batch)
