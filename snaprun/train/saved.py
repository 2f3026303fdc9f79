"""What an engine saves: one form for all engines, so that one goes on where another stopped.

A dict of integers, tensors, and lists and dicts of them:

    network    the mask and the parameters, as of Network.state_dict
    optimiser  the moments by PyTorch's names, each a list over the parameters, θ (P,) first;
               zero before the first update
    average    of the weights, a list over the parameters; zero before the first update, absent
               where none is kept
    gradient   of the readout's parameters since the last update, a list
    state      s, shape (B, c, k)
    rule       LearningRule.state_dict
    noise      the state of the rule's generator
    updates, longest_window, rule_bytes
    steps, targets    since the last update
"""

from typing import Any

import torch
from torch import Generator, Tensor

MOST = 2**53  # far beyond any count


def require_fit(saved: Any, own: dict[str, Any], update_every: int | str) -> None:
    """Raise the ValueError of one line that says where `saved` differs in kind from `own`.

    `own` is what the engine that is to go on would save now; values are not compared.
    """
    _require(saved, own, "state")
    steps = saved["steps"]
    if isinstance(update_every, int) and steps >= update_every:
        _mismatch("state.steps", f"fewer than {update_every}", str(steps))
    for name, tensor in saved["rule"].get("tape", {}).items():
        if len(tensor) != steps:
            _mismatch(f"state.rule.tape.{name}", f"{steps} steps", str(len(tensor)))


def copied(tree: Any) -> Any:
    """The same dicts and lists of copies of the tensors, contiguous."""
    if isinstance(tree, dict):
        return {name: copied(x) for name, x in tree.items()}
    if isinstance(tree, list):
        return [copied(x) for x in tree]
    return tree.clone(memory_format=torch.contiguous_format)


def set_noise(noise: Generator, state: Tensor) -> None:
    """Go on with a saved state of the generator; ValueError where it is none."""
    try:
        noise.set_state(state)
    except RuntimeError as error:
        raise ValueError(f"state.noise is none of a generator's states: {error}") from error


def _require(saved: Any, own: Any, where: str) -> None:
    taped = ".tape." in where
    expected, got = _kind(own, taped), _kind(saved, taped)
    if got != expected:
        _mismatch(where, expected, got)
    if isinstance(own, dict | list):
        for key in own if isinstance(own, dict) else range(len(own)):
            _require(saved[key], own[key], f"{where}.{key}")


def _kind(value: Any, taped: bool) -> str:
    if isinstance(value, Tensor):
        shape = ["T", *value.shape[1:]] if taped and value.dim() else value.shape
        return f"{value.dtype} ({', '.join(map(str, shape))})"
    if isinstance(value, dict):
        return f"the entries {sorted(map(str, value))}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if type(value) is int:
        return "an integer in [0, 2^53]" if 0 <= value <= MOST else "one outside"
    return type(value).__name__


def _mismatch(where: str, expected: str, got: str) -> None:
    raise ValueError(f"{where} mismatch: expected {expected}, got {got}.")
