"""A change of the mask in training: what is kept of dead weights is dropped, the rest stays."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from snaprun.core import RecurrentCore
from snaprun.engine.base import Engine
from snaprun.rules import LearningRule


def prune(engine: Engine, live_MKJ: Tensor) -> None:
    """Go on with `live_MKJ` alone, a part of the live weights so far; the others are zero.

    The window of updates ends here. θ, moments, traces and J keep, bit for bit, what belongs to
    live weights, J in the rows that these still reach. So where sequences begin with the change an
    exact rule stays exact; within one, it forgets what only dead weights carried.
    """
    network, before = engine.network, engine.network.core
    if live_MKJ.to(before.device).equal(before.layout.live_MKJ):
        return
    engine.update()
    saved = engine.state_dict()
    network.prune(live_MKJ)
    engine.reset()
    engine.measure()
    # A tape, empty now, does not depend on the mask.
    saved["rule_bytes"] = engine.rule_bytes or saved["rule_bytes"]
    engine.load_state_dict(reindexed(saved, engine.rule, before, network.core))


def reindexed(
    saved: Mapping[str, Any], rule: LearningRule, before: RecurrentCore, after: RecurrentCore
) -> dict[str, Any]:
    """An engine's state (snaprun.engine.saved) on a core whose mask is a part of another's."""
    kept_P = before.layout.gather(after.layout.live_MKJ)
    labels, left = rule.labels(before), rule.labels(after)
    kept = {name: torch.isin(x, left[name], assume_unique=True) for name, x in labels.items()}

    def live(of_all: Sequence[Tensor]) -> list[Tensor]:
        """What an entry a parameter, θ's first, keeps."""
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
