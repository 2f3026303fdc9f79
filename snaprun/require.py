"""Checks of a saved tree of numbers, tensors, dicts and lists; a mismatch raises ValueError.

A checkpoint has to have the keys, types and shapes that the resuming run would save itself, and
values in their ranges. Every error is one line that names the place in the tree, what was expected
there, and what was found.
"""

import math
from collections.abc import Collection
from typing import Any, NoReturn

import torch
from torch import Tensor

MOST = 2**53  # far beyond any count


def require_like(where: str, saved: Any, own: Any) -> None:
    """Raises ValueError unless `saved` has the entries, types, dtypes and shapes of `own`."""
    taped = ".tape." in where or ".bank." in where  # of any length
    expected, got = _kind(own, taped), _kind(saved, taped)
    if got != expected:
        mismatch(where, expected, got)
    if isinstance(own, dict | list):
        for key in own if isinstance(own, dict) else range(len(own)):
            require_like(f"{where}.{key}", saved[key], own[key])


def require_equal(where: str, saved: Any, own: Any) -> None:
    """Raises ValueError unless `saved` equals `own`, a tree without tensors, value by value."""
    if not isinstance(own, dict | list):
        if type(saved) is not type(own) or saved != own:
            mismatch(where, _word(own), _word(saved))
        return
    if _kind(saved, False) != _kind(own, False):
        mismatch(where, _kind(own, False), _kind(saved, False))
    for key in own if isinstance(own, dict) else range(len(own)):
        require_equal(f"{where}.{key}", saved[key], own[key])


def require_entries(where: str, saved: Any, names: Collection[str]) -> None:
    """Raises ValueError unless `saved` is a dict with exactly the keys `names`."""
    expected = _kind(dict.fromkeys(names), False)
    if (got := _kind(saved, False)) != expected:
        mismatch(where, expected, got)


def require_count(where: str, saved: Any, *, least: int = 0, most: int = MOST) -> None:
    """Raises ValueError unless `saved` is an integer in [least, most]."""
    if type(saved) is not int or not least <= saved <= most:
        mismatch(where, f"an integer in [{least}, {most}]", _word(saved))


def require_number(where: str, saved: Any, *, least: float = -math.inf) -> None:
    """Raises ValueError unless `saved` is a finite float, or an integer within ±2^53, ≥ `least`."""
    whole = type(saved) is int and abs(saved) <= MOST
    if not (whole or (type(saved) is float and math.isfinite(saved))) or saved < least:
        mismatch(where, f"a finite number ≥ {least}", _word(saved))


def require_tensor(
    where: str, saved: Any, dtype: torch.dtype, shape: tuple[int, ...], below: int | None = None
) -> None:
    """Raises ValueError unless `saved` is a tensor of this kind with values in [0, below)."""
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
    """Describes a saved value of any size in a few letters."""
    if isinstance(value, str):
        return repr(value[:60])
    if type(value) is int and abs(value) > MOST:
        return "an integer beyond 2^53"
    return str(value) if type(value) in (int, float, bool) else type(value).__name__


def mismatch(where: str, expected: str, got: str) -> NoReturn:
    """Raises the ValueError of a wrong value at `where` in the tree; all arguments are words."""
    raise ValueError(f"{where} mismatch: expected {expected}, got {got}.")
