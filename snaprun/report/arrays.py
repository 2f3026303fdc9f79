"""Numbers of curves in a page: thinned to what a screen shows, and each array written once.

N: the rows of a curve.
"""

import base64
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from snaprun.figures.stats import Array


class Arrays:
    """Arrays as little-endian float32 in base64, to which a page refers by their numbers."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def add(self, values_N: Array) -> int:
        """Return the number of an array; equal arrays have one number."""
        with np.errstate(over="ignore"):  # the page shows no value beyond those of float32
            text = base64.b64encode(np.asarray(values_N, "<f4").tobytes()).decode()
        return self._numbers.setdefault(text, len(self._numbers))

    @property
    def texts(self) -> list[str]:
        """The arrays in the order of their numbers."""
        return list(self._numbers)


def kept(length: int, most: int) -> NDArray[np.int64]:
    """Return the indices of at most so many points at even distances, with the first and the last.

    >>> from snaprun.report.arrays import kept
    >>> kept(7, 4).tolist(), kept(3, 4).tolist()
    ([0, 2, 4, 6], [0, 1, 2])
    """
    if length <= most:
        return np.arange(length)
    return np.linspace(0, length - 1, most).round().astype(int)


def most_points(lengths: Sequence[int], budget: int, most: int) -> int:
    """Return the largest number of points a curve, from 2 to `most`, that keeps to the budget.

    The budget is that of all curves together.

    >>> from snaprun.report.arrays import most_points
    >>> most_points([300, 300, 6], budget=206, most=300)
    100
    """
    length_N = np.array(lengths)
    fits = [n for n in range(2, most + 1) if np.minimum(length_N, n).sum() <= budget]
    return max(fits, default=2)
