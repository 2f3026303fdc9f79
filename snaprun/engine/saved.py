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
    rule       LearningRule.state_dict
    noise      the state of the rule's generator
    updates, longest_window, rule_bytes    as in snaprun.engine.base
    steps, targets    time steps, and (lane, step) pairs with a target, since the last update
"""

import struct
from typing import Any

import torch
from torch import Generator

from snaprun.require import mismatch, require_count, require_like


def require_fit(saved: Any, own: dict[str, Any], update_every: int | str) -> None:
    """Raise ValueError unless `saved` has the form of `own`, the loading engine's own state."""
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
