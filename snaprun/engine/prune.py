"""A change of the mask in training drops the state of dead weights and keeps all other state."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from snaprun.core import RecurrentCore
from snaprun.engine.base import Engine
from snaprun.require import require_entries, require_like
from snaprun.rules import LearningRule


def prune(engine: Engine, live_MKJ: Tensor) -> None:
    """Set every weight outside `live_MKJ` to zero and train on without those weights.

    `live_MKJ` must be a subset of the live weights. The window of updates ends here. θ, moments,
    traces and J keep the entries of the live weights bit for bit; J keeps the rows that the live
    weights still reach. If every lane begins a sequence right after the change, an exact rule
    stays exact. Within a sequence, the rule forgets the influence that only dead weights carried.
    """
    network, before = engine.network, engine.network.core
    if live_MKJ.to(before.device).equal(before.layout.live_MKJ):
        return
    engine.update()
    saved = engine.state_dict()
    network.prune(live_MKJ)
    engine.reset()
    engine.measure()
    # The tape is empty now, and its size does not depend on the mask.
    saved["rule_bytes"] = engine.rule_bytes or saved["rule_bytes"]
    engine.load_state_dict(reindexed(saved, engine.rule, before, network.core))


def resume(engine: Engine, prunes: bool, saved: Any) -> None:
    """Continue from `saved`, an engine's state, whose mask may have been pruned if `prunes`.

    Raises ValueError if `saved` does not fit; the engine is then unusable.
    """
    own = engine.network.state_dict()
    network: Any = saved.get("network") if isinstance(saved, dict) else None
    require_entries("state.network", network, own)
    live, own_live = network["live"], own["live"].cpu()
    require_like("state.network.live", live, own_live)
    if not prunes and not live.equal(own_live):
        raise ValueError("state.network.live mismatch: this run keeps the mask it begins with.")
    prune(engine, live)
    engine.load_state_dict(saved)


def reindexed(
    saved: Mapping[str, Any], rule: LearningRule, before: RecurrentCore, after: RecurrentCore
) -> dict[str, Any]:
    """Return the engine state `saved` (snaprun.engine.saved) without the weights dead in `after`.

    The mask of the core `after` must be a subset of the mask of `before`.
    """
    kept_P = before.layout.gather(after.layout.live_MKJ)
    labels, left = (
        {"gradient": core.layout.flat_P} if rule.replays else rule.labels(core)
        for core in (before, after)
    )
    kept = {name: torch.isin(x, left[name], assume_unique=True) for name, x in labels.items()}

    def live(of_all: Sequence[Tensor]) -> list[Tensor]:
        """Drop the dead weights from the first tensor of a list over the parameters, θ's."""
        return [of_all[0][kept_P], *of_all[1:]]

    return {
        **saved,
        "network": {
            **saved["network"],
            "live": after.layout.live_MKJ,
            "theta": saved["network"]["theta"][kept_P],
        },
        "optimiser": {name: live(of_all) for name, of_all in saved["optimiser"].items()},
        **({"average": live(saved["average"])} if "average" in saved else {}),
        "rule": {
            name: x[..., kept[name]] if name in kept else x for name, x in saved["rule"].items()
        },
    }
