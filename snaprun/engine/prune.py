"""A change of the mask in training: what belongs to a live weight goes with it."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import torch
from torch import Generator, Tensor

from snaprun.core import RecurrentCore
from snaprun.engine.base import Engine
from snaprun.require import MOST, require_entries, require_like
from snaprun.rules import LearningRule
from snaprun.seeding import stream
from snaprun.sparsity import Sparsity


class Masks:
    """Changes the mask of an engine's network while it trains, as a sparsity says.

    `seed` is that of the run, from whose streams the signs of weights and the draws come.
    """

    def __init__(self, engine: Engine, sparsity: Sparsity, seed: int):
        self._engine, self._sparsity, self._seed = engine, sparsity, seed
        self._updates = engine.updates  # after the last change

    def follow(self, before: int, tokens: int) -> None:
        """Change the mask if that is due between two data-times, in tokens."""
        engine, sparsity = self._engine, self._sparsity
        if sparsity.due(before, tokens):
            prune(engine, engine.network.pruned(partial(sparsity.pruned, tokens)))
        if sparsity.rewires and engine.updates > self._updates:
            rewire(engine, sparsity, self._signs, stream(self._seed, "rewire", tokens))
        self._updates = engine.updates

    @cached_property
    def _signs(self) -> Tensor:
        return self._engine.network.core.signs(stream(self._seed, "init"))

    def resume(self, saved: Any) -> None:
        """Continue from `saved`, an engine's state.

        Raises ValueError if `saved` does not fit; the engine is then unusable.
        """
        resume(self._engine, self._sparsity, saved)
        self._updates = self._engine.updates


def prune(engine: Engine, live_MKJ: Tensor) -> None:
    """Set every weight outside `live_MKJ` to zero and train on without those weights.

    `live_MKJ` must be a subset of the live weights. The window of updates ends here. θ, moments,
    traces and J keep the entries of the live weights bit for bit; J keeps the rows that the live
    weights still reach. If every lane begins a sequence right after the change, an exact rule
    stays exact. Within a sequence, the rule forgets the influence that only dead weights carried.
    """
    network = engine.network
    if not live_MKJ.to(network.core.device).equal(network.core.layout.live_MKJ):
        _change(engine, lambda: network.prune(live_MKJ))


def rewire(engine: Engine, sparsity: Sparsity, signs_MKJ: Tensor, generator: Generator) -> None:
    """Change the mask and the weights after an update, as `sparsity` says (its `rewired`).

    What belongs to a weight that stays live stays, as in `prune`; a weight that comes alive begins
    with moments, traces and J of zero.
    """
    network, core = engine.network, engine.network.core
    at = core.layout.live_MKJ, network.weights(), core.possible, signs_MKJ.to(network.theta)
    lr = engine.optimiser.rate(engine.updates - 1)
    live_MKJ, weights_MKJ = sparsity.rewired(*at, lr=lr, generator=generator)
    _change(engine, lambda: network.remask(live_MKJ, weights_MKJ))


def _change(engine: Engine, change: Callable[[], None]) -> None:
    network, before = engine.network, engine.network.core
    engine.update()
    saved = engine.state_dict()
    change()
    engine.reset()
    engine.measure()
    # The tape is empty now, and its size does not depend on the mask.
    saved["rule_bytes"] = engine.rule_bytes or saved["rule_bytes"]
    theta = network.theta.detach().clone()
    saved = reindexed(saved, engine.rule, before, network.core)
    engine.load_state_dict({**saved, "network": {**saved["network"], "theta": theta}})


def resume(engine: Engine, sparsity: Sparsity, saved: Any) -> None:
    """Continue from `saved`, an engine's state, whose mask differs only if `sparsity` changes it.

    Raises ValueError if `saved` does not fit; the engine is then unusable.
    """
    own = engine.network.state_dict()
    network: Any = saved.get("network") if isinstance(saved, dict) else None
    require_entries("state.network", network, own)
    live, own_live = network["live"], own["live"].cpu()
    require_like("state.network.live", live, own_live)
    if sparsity.rewires:
        network, weights_MKJ = engine.network, engine.network.weights()
        _change(engine, lambda: network.remask(live.to(weights_MKJ.device), weights_MKJ))
    elif sparsity.due(0, MOST):
        prune(engine, live)
    elif not live.equal(own_live):
        raise ValueError("state.network.live mismatch: this run keeps the mask it begins with.")
    engine.load_state_dict(saved)


def reindexed(
    saved: Mapping[str, Any], rule: LearningRule, before: RecurrentCore, after: RecurrentCore
) -> dict[str, Any]:
    """Return the engine state `saved` (snaprun.engine.saved) for the weights live in `after`.

    What belongs to a weight that is live in `before` too is kept, all else is zero.
    """
    labels, wanted = (
        {"gradient": core.layout.flat_P} if rule.replays else rule.labels(core)
        for core in (before, after)
    )

    def live(of_all: Sequence[Tensor]) -> list[Tensor]:
        """Reindex the first tensor of a list over the parameters, θ's."""
        return [_moved(of_all[0], before.layout.flat_P, after.layout.flat_P), *of_all[1:]]

    return {
        **saved,
        "network": {
            **saved["network"],
            "live": after.layout.live_MKJ,
            "theta": live([saved["network"]["theta"]])[0],
        },
        "optimiser": {name: live(of_all) for name, of_all in saved["optimiser"].items()},
        **({"average": live(saved["average"])} if "average" in saved else {}),
        "rule": {
            name: _moved(x, labels[name], wanted[name]) if name in labels else x
            for name, x in saved["rule"].items()
        },
    }


def _moved(x: Tensor, labels: Tensor, wanted: Tensor) -> Tensor:
    """Return the entries of the last axis of `x` by their labels, in the order `wanted`; else 0."""
    order = labels.argsort()
    at = torch.searchsorted(labels[order], wanted).clamp(max=max(len(labels) - 1, 0))
    found = labels[order][at] == wanted
    after = x.new_zeros(*x.shape[:-1], len(wanted))
    after[..., found] = x[..., order[at[found]]]
    return after
