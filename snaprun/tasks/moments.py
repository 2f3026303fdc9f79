"""Mean and variance of the rows of a series so far."""

import numpy as np

from snaprun.tasks.chaos import Values


class Moments:
    """The count, the mean and the summed squared deviations of the rows read so far, by column.

    >>> import numpy as np
    >>> past = Moments(columns=1)
    >>> mean_TC, deviation_TC = past.over(np.array([[1.0], [3.0]]))
    >>> mean_TC.tolist(), deviation_TC.tolist()  # of one row, which does not vary, and of two
    ([[1.0], [2.0]], [[1.0], [1.0]])
    """

    def __init__(self, columns: int) -> None:
        self.count = 0
        self.mean_C = np.zeros(columns)
        self.squares_C = np.zeros(columns)  # Σ (x − mean)²

    def over(self, x_TC: Values) -> tuple[Values, Values]:
        """Read on, and return for every row the mean and the standard deviation up to that row.

        The row itself is included. The deviation is 1 where the rows do not vary. With centre c and
        a sum over the new rows up to row i, n rows in all by then:

            mean_i = c + Σ (x − c) / n,    squares_i = squares + Σ (x − c)² − (Σ (x − c))² / n

        c is the mean before, or the first row of all; so large values that vary little keep their
        digits (Chan, Golub & LeVeque 1983, The American Statistician 37:242).
        """
        centre_C = self.mean_C if self.count else x_TC[0]
        count_T1 = self.count + np.arange(1, len(x_TC) + 1)[:, None]
        apart_TC = x_TC - centre_C
        total_TC = apart_TC.cumsum(0)
        mean_TC = centre_C + total_TC / count_T1
        squares_TC = self.squares_C + (apart_TC * apart_TC).cumsum(0) - total_TC**2 / count_T1
        squares_TC = np.maximum(squares_TC, 0.0)
        self.count += len(x_TC)
        self.mean_C, self.squares_C = mean_TC[-1].copy(), squares_TC[-1].copy()
        return mean_TC, np.where(squares_TC > 0, np.sqrt(squares_TC / count_T1), 1.0)

    @property
    def variance_C(self) -> Values:
        """The variance of every column."""
        return self.squares_C / self.count

    def near(self, mean_C: Values, squares_C: Values) -> bool:
        """Return whether these are the same moments, but for the rounding of another order."""
        scale_C = abs(self.mean_C) + np.sqrt(self.squares_C)
        rounding_C = self.count * (1e-12 * scale_C) ** 2
        near_C = abs(mean_C - self.mean_C) <= 1e-6 * scale_C
        near_C &= abs(squares_C - self.squares_C) <= 1e-6 * self.squares_C + rounding_C
        return bool(near_C.all())
