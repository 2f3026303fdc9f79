"""The native engine's memory, seen in the form of snaprun.train.saved."""

from typing import Any

import torch
from torch import Tensor

from snaprun.core import RecurrentCore
from snaprun.rules import BPTT, RFLO, UORO, Frozen, LearningRule
from snaprun.train.network import Network


def views(
    memory: dict[str, Tensor],
    network: Network,
    rule: LearningRule,
    moments: tuple[str, ...],
    lanes: int,
) -> dict[str, Any]:
    """The entries of a saved engine that lie in `memory`, as views: to be copied or filled in.

    J and traces are not among them. In memory lanes come last, padded; the padding stays zero.
    """
    parameters = network.parameters
    gradient = [memory[f"gradient {i}"].view(p.shape) for i, p in enumerate(parameters)]
    seen: dict[str, Any] = {}
    if isinstance(rule, BPTT):
        seen["tape"] = _tape(memory, network.core, lanes)
    elif not isinstance(rule, Frozen):
        seen["gradient"] = gradient[0]
    if isinstance(rule, UORO):
        seen |= {name: _lanes_first(memory[name], lanes) for name in ("s", "theta")}
    if isinstance(rule, RFLO) and rule.feedback == "random":
        seen["feedback"] = memory["feedback"]
    average = [
        memory[f"average {i}"].view(p.shape)
        for i, p in enumerate(parameters)
        if f"average {i}" in memory
    ]
    return {
        "optimiser": {
            name: [memory[f"moment {which} {i}"].view(p.shape) for i, p in enumerate(parameters)]
            for which, name in enumerate(moments)
        },
        **({"average": average} if average else {}),
        "gradient": gradient[1:],
        "state": _lanes_first(memory["state"], lanes),
        "rule": seen,
    }


def _lanes_first(padded: Tensor, lanes: int) -> Tensor:
    return padded[..., :lanes].movedim(-1, 0)


def _tape(memory: dict[str, Tensor], core: RecurrentCore, lanes: int) -> dict[str, Tensor]:
    """Steps first, then lanes."""
    begins, has_credit = (memory[name].view(torch.bool) for name in ("begins", "has_credit"))
    slots, units, sources = core.layout.live_MKJ.shape
    components = core.cell.components
    shapes = {
        "src": (sources,),
        "dsda": (components, slots, units),
        "dsds": (components, components, units),
        "credit": (components, units),
    }
    stride = begins.shape[1]
    parts = memory["tape"].split([torch.Size(x).numel() * stride for x in shapes.values()], 1)
    seen = {
        name: part.unflatten(1, (*shape, stride))[..., :lanes].movedim(-1, 1)
        for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }
    return seen | {"begins": begins[:, :lanes], "has_credit": has_credit}


def fill(tree: Any, saved: Any) -> None:
    """Every tensor of `tree` in place from the one that stands there in `saved`."""
    if isinstance(tree, Tensor):
        tree.copy_(saved)
        return
    for key in tree if isinstance(tree, dict) else range(len(tree)):
        fill(tree[key], saved[key])
