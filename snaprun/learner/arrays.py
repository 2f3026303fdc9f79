"""Arrays that a user gives, of numpy, torch or Python, are checked and taken as arrays of numpy."""

import math
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from snaprun import checks


class Arrays:
    """Checks the arrays of a step of `lanes` lanes; B stands for the lanes.

    With one lane an array may lack the axis of lanes; it is then called flat.
    """

    def __init__(self, lanes: int, dtype: np.dtype[Any]):
        self.lanes, self.dtype = lanes, dtype
        self._shapes = ((1,), ()) if lanes == 1 else ((lanes,),)  # of one value a lane

    def one_a_lane(self, taken: ndarray, kinds: str) -> bool:
        """Return whether an array holds one value a lane, of numpy's `kinds` of dtypes."""
        return taken.dtype.kind in kinds and taken.shape in self._shapes

    def mask(self, given: Any) -> ndarray:
        """Return booleans (B,)."""
        taken = array("mask", given)
        if not self.one_a_lane(taken, "b"):
            checks.refuse("mask", given, f"booleans of the shape ({self.lanes},)")
        return taken.reshape(self.lanes)

    def classes(self, what: str, taken: ndarray, many: int) -> tuple[ndarray, bool]:
        """Return a copy of integers in [0, many), shape (B,), and whether they are flat."""
        shown = taken
        if self.one_a_lane(taken, "iu"):
            found = taken.reshape(-1).astype(np.int64)
            listed = found.tolist()  # Python's min and max are faster on a few numbers
            if min(listed) >= 0 and max(listed) < many:
                return found, not taken.shape
        else:
            shown = f"{taken.dtype} of the shape {taken.shape}"
        checks.refuse(what, shown, f"integers in [0, {many}) of the shape ({self.lanes},)")

    def numbers(self, what: str, taken: ndarray, width: int) -> tuple[ndarray, bool]:
        """Return a copy of finite numbers, shape (B, width), and whether they are flat."""
        flat = self.lanes == 1 and (taken.shape == (width,) or (width == 1 and not taken.shape))
        if not flat and taken.shape != (self.lanes, width):
            shape = f"the shape ({self.lanes}, {width})"
            accepted = f"{shape} or ({width},)" if self.lanes == 1 else shape
            checks.refuse(f"{what}.shape", taken.shape, accepted)
        if taken.dtype is self.dtype or taken.dtype == self.dtype:
            found = taken.copy()
        else:
            with np.errstate(over="ignore"):
                found = taken.astype(self.dtype)
        line = found.reshape(-1)
        # The product overflows for large numbers only; then each number is looked at.
        if not (math.isfinite(line.dot(line)) or np.isfinite(line).all()):
            checks.refuse(what, taken, f"finite numbers of {self.dtype}")
        return line.reshape(1, width) if flat else found, flat


def chosen_lanes(given: Any, lanes: int) -> ndarray:
    """Return as booleans (B,) which of `lanes` lanes are chosen.

    `given` are their numbers, a mask (B,), or None for all. No number is no lane.
    """
    if given is None:
        return np.ones(lanes, bool)
    taken, chosen_B = array("lanes", given), np.zeros(lanes, bool)
    if taken.dtype.kind == "b" and taken.shape == (lanes,):
        return taken.copy()
    if taken.size:
        if taken.dtype.kind not in "iu" or ((taken < 0) | (taken >= lanes)).any():
            accepted = f"integers in [0, {lanes}), or booleans of the shape ({lanes},)"
            checks.refuse("lanes", given, accepted)
        chosen_B[taken.astype(int)] = True
    return chosen_B


def array(what: str, given: Any) -> ndarray:
    """Return `given` as an array of numpy, which may share its memory."""
    taken = given
    if type(given) is ndarray:
        pass
    elif isinstance(given, Tensor):
        if given.layout is not torch.strided:
            checks.refuse(what, given.layout, "a dense array")
        try:
            taken = given.detach().cpu()
            taken = (taken.float() if taken.dtype == torch.bfloat16 else taken).numpy()
        except (NotImplementedError, TypeError):  # on the device meta, or quantised
            taken = np.asarray(None)
    else:
        try:
            taken = np.asarray(given)
        except ValueError:  # a ragged list
            taken = np.asarray(None)
    if taken.dtype.kind not in "fiub":
        checks.refuse(what, given, "an array of numbers")
    return taken


def as_given(given: Any, flat: bool, result: ndarray) -> Any:
    """Return a copy of a result, of torch or numpy as what was given, flat if that was flat."""
    if type(given) is not ndarray and isinstance(given, Tensor):
        copied = torch.tensor(result, device=given.device)
        return copied[0] if flat else copied
    if not flat:
        return result.copy()
    return result[0].copy() if result.ndim > 1 else result.item()
