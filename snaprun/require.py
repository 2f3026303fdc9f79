"""What a saved tree of numbers, tensors, dicts and lists has to be, or ValueError says where not.

The schema of a checkpoint is what the run that is to go on would save itself, its keys, types and
shapes, and on top of it the ranges of its values. Every error is one line that names the
place, what was expected there, and what was found.
"""

import math
from collections.abc import Collection
from typing import Any, NoReturn

import torch
from torch import Tensor

MOST = 2**53  # far beyond any count


def require_like(where: str, saved: Any, own: Any) -> None:
    """Raise unless `saved` has the entries, types, dtypes and shapes of `own`."""
    taped = ".tape." in where
    expected, got = _kind(own, taped), _kind(saved, taped)
    if got != expected:
        mismatch(where, expected, got)
    if isinstance(own, dict | list):
        for key in own if isinstance(own, dict) else range(len(own)):
            require_like(f"{where}.{key}", saved[key], own[key])


def require_equal(where: str, saved: Any, own: Any) -> None:
    """Raise unless `saved` is `own`, a tree without tensors, value by value."""
    if not isinstance(own, dict | list):
        if type(saved) is not type(own) or saved != own:
            mismatch(where, _word(own), _word(saved))
        return
    if _kind(saved, False) != _kind(own, False):
        mismatch(where, _kind(own, False), _kind(saved, False))
    for key in own if isinstance(own, dict) else range(len(own)):
        require_equal(f"{where}.{key}", saved[key], own[key])


def require_entries(where: str, saved: Any, names: Collection[str]) -> None:
    """Raise unless `saved` is a dict with these keys and no others."""
    expected = _kind(dict.fromkeys(names), False)
    if (got := _kind(saved, False)) != expected:
        mismatch(where, expected, got)


def require_count(where: str, saved: Any, *, least: int = 0, most: int = MOST) -> None:
    """Raise unless `saved` is an integer in [least, most]."""
    if type(saved) is not int or not least <= saved <= most:
        mismatch(where, f"an integer in [{least}, {most}]", _word(saved))


def require_number(where: str, saved: Any, *, least: float = -math.inf) -> None:
    """Raise unless `saved` is a finite number ≥ `least`; an integer must be one of a float's."""
    whole = type(saved) is int and abs(saved) <= MOST
    if not (whole or (type(saved) is float and math.isfinite(saved))) or saved < least:
        mismatch(where, f"a finite number ≥ {least}", _word(saved))


def require_tensor(
    where: str, saved: Any, dtype: torch.dtype, shape: tuple[int, ...], below: int | None = None
) -> None:
    """Raise unless `saved` is a tensor of this kind, its values in [0, below)."""
    require_like(where, saved, torch.empty(shape, dtype=dtype, device="meta"))
    if below is not None and saved.numel() and not 0 <= saved.min() <= saved.max() < below:
        mismatch(where, f"values in [0, {below})", f"[{saved.min()}, {saved.max()}]")


def _kind(value: Any, taped: bool) -> str:
    if isinstance(value, Tensor):
        shape = ["T", *value.shape[1:]] if taped and value.dim() else value.shape
        more = "" if value.layout is torch.strided else f", {value.layout}"
        more += ", with a gradient" if value.requires_grad else ""
        return f"{value.dtype} ({', '.join(map(str, shape))}){more}"
    if isinstance(value, dict):
        names = sorted(key[:40] if type(key) is str else _word(key) for key in value)
        return f"the entries {', '.join(names)[:200]}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if type(value) is int:
        return "an integer in [0, 2^53]" if 0 <= value <= MOST else "one outside"
    return type(value).__name__


def _word(value: Any) -> str:
    """A value of the file in a few letters, however large it is."""
    if isinstance(value, str):
        return repr(value[:60])
    if type(value) is int and abs(value) > MOST:
        return "an integer beyond 2^53"
    return str(value) if type(value) in (int, float, bool) else type(value).__name__


def mismatch(where: str, expected: str, got: str) -> NoReturn:
    """Raise the ValueError of a value at `where` in the tree, all three in words."""
    raise ValueError(f"{where} mismatch: expected {expected}, got {got}.")
