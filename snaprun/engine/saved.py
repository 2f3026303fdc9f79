"""All engines save their state in one form, so that one engine continues where another stopped.

The form is a dict of integers, tensors, and lists and dicts of these:

    network    Network.state_dict: the mask and the parameters
    optimiser  the moments by PyTorch's names, each a list over the parameters, θ (P,) first;
               zero before the first update
    average    the averaged parameters, a list; zero before the first update, absent if no
               average is kept
    gradient   the gradients of the readout's parameters since the last update, a list
    state      s, shape (B, c, k)
    bank       Bank.state_dict; absent if the core has no reminder
    rates      RateCost.state_dict (snaprun.engine.rates); absent if the cell has no such cost
    rule       LearningRule.state_dict, or of a rule that replays Replay.state_dict and the data of
               the window's steps so far
    noise      the state of the rule's generator
    updates, longest_window, rule_bytes    as in snaprun.engine.base
    steps, targets    time steps, and (lane, step) pairs with a target, since the last update
"""

import struct
from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor

from snaprun.model.network import Network
from snaprun.require import (
    mismatch,
    require_count,
    require_entries,
    require_equal,
    require_like,
    require_tensor,
)
from snaprun.rules.replay import require

DATA = ("inputs", "targets", "mask", "resets")  # of the steps of a window, as in Batch
WINDOW = "steps_planned"  # an entry of the state of a rule that replays


def require_fit(saved: Any, own: dict[str, Any], update_every: int | str) -> None:
    """Raise ValueError unless `saved` has the form of `own`, the loading engine's own state.

    The form of a rule that replays depends on the place in its window (snaprun.engine.window).
    """
    if WINDOW in own["rule"]:
        have: Any = saved if isinstance(saved, dict) else {}
        require_like(
            "state", {**have, "rule": {}} if "rule" in have else saved, {**own, "rule": {}}
        )
        require_entries("state.rule", saved["rule"], own["rule"])
        require_count("state.targets", saved["targets"], most=saved["steps"] * len(own["state"]))
        return
    require_like("state", saved, own)
    steps, lanes = saved["steps"], len(own["state"])
    if isinstance(update_every, int):
        require_count("state.steps", steps, most=update_every - 1)
    require_count("state.targets", saved["targets"], most=steps * lanes)
    if "bank" in saved:
        bank = saved["bank"]
        count = len(bank["memories"])
        require_count("state.bank.older", bank["older"], least=1, most=count)
        if len(bank["absent"]) != count or bank["absent"][0].any():
            mismatch("state.bank.absent", f"{count} memories, the first one never", "others")
    for name, tensor in saved["rule"].get("tape", {}).items():
        if len(tensor) != steps:
            mismatch(f"state.rule.tape.{name}", f"{steps} steps", str(len(tensor)))


def require_window(
    saved: dict[str, Any],
    network: Network,
    state_bytes: tuple[int, int],
    update_every: int | str,
) -> None:
    """Raise ValueError unless the window in `saved`, of the right entries, is one of this engine.

    Its instructions up to the place where it stopped must leave just what is on the saved stack.
    """
    where, own, lanes = "state.rule", saved["rule"], len(saved["state"])
    mask = own["mask"]
    if not isinstance(mask, Tensor) or not mask.dim():
        mismatch(f"{where}.mask", "a tensor of steps and lanes", type(mask).__name__)
    steps = len(mask)
    require_count("state.steps", saved["steps"], least=steps, most=steps)
    if isinstance(update_every, int) and own[WINDOW] != 0:
        require_equal(f"{where}.{WINDOW}", own[WINDOW], update_every)
    require(own, network.core, (lanes, network.dtype), state_bytes)
    if steps:
        require_steps(where, own, network, (steps, lanes))
    else:
        for name in DATA:
            require_tensor(f"{where}.{name}", own[name], torch.float32, (0,))


def require_planned(saved: Any, steps: int) -> None:
    """Raise ValueError if an engine's state `saved` plans a window of other than `steps` steps."""
    rule = saved.get("rule") if isinstance(saved, dict) else None
    if isinstance(rule, dict) and WINDOW in rule and rule[WINDOW] != 0:
        require_equal(f"state.rule.{WINDOW}", rule[WINDOW], steps)


def require_steps(
    where: str, saved: Mapping[str, Any], network: Network, shape: tuple[int, int]
) -> None:
    """Raise ValueError unless `saved` has data of (T, B) steps and lanes, as in Batch."""
    outputs, width = network.readout.parameters[-1].numel(), network.core.inputs
    for name in ("mask", "resets"):
        require_tensor(f"{where}.{name}", saved[name], torch.bool, shape)
    if network.readout.loss.classes:
        require_tensor(f"{where}.targets", saved["targets"], torch.int64, shape, outputs)
    else:
        require_numbers(f"{where}.targets", saved["targets"], (*shape, outputs))
    inputs = saved["inputs"]
    if isinstance(inputs, Tensor) and inputs.is_floating_point():
        require_numbers(f"{where}.inputs", inputs, (*shape, width))
    else:
        require_tensor(f"{where}.inputs", inputs, torch.int64, shape, width)


def require_numbers(where: str, saved: Any, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless `saved` is a tensor of finite floats of any precision."""
    floats = isinstance(saved, Tensor) and saved.is_floating_point()
    require_tensor(where, saved, saved.dtype if floats else torch.float32, shape)
    if not saved.isfinite().all():
        mismatch(where, "finite numbers", "others")


def copied(tree: Any) -> Any:
    """Return the same dicts and lists with contiguous copies of the tensors."""
    if isinstance(tree, dict):
        return {name: copied(x) for name, x in tree.items()}
    if isinstance(tree, list):
        return [copied(x) for x in tree]
    return tree.clone(memory_format=torch.contiguous_format)


def set_noise(noise: Generator, state: Any, where: str = "state.noise") -> None:
    """Set the CPU generator `noise` to the saved `state`.

    Raises ValueError, which names `where`, if `state` is not the state of such a generator.
    """
    own = noise.get_state()
    require_like(where, state, own)
    # PyTorch does not check two indices into the 624 words: how many are left, and the next one.
    _, left, _, following = struct.unpack_from("QiiQ", state.numpy().tobytes())
    try:
        if left != 1 and left + following > 625:
            raise RuntimeError("its index lies beyond its words")
        noise.set_state(state)
    except RuntimeError as error:
        said = " ".join(str(error).split())
        raise ValueError(f"{where} is none of a generator's states: {said}") from error
