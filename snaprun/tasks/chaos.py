"""Chaotic series, computed from their equations.

They use +, −, × and ÷ in Python's and NumPy's float64 alone, so that every machine computes the
same bits.
"""

from array import array

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]  # (N, C): N rows of C columns


def mackey_glass(length: int) -> Values:
    """Return `length` points, shape (N, 1), of the Mackey–Glass equation, one each time unit.

        dx/dt = β x(t − τ) / (1 + x(t − τ)^n) − γ x(t),    β = 0.2, γ = 0.1, n = 10, τ = 17

    The classical Runge–Kutta method of order 4 takes ten steps of 0.1 a time unit. Between two
    steps x(t − τ) is the cubic that has their values and slopes. x = 1.2 up to t = 0, and the
    points up to t = 1000 are left out.

    Source: Mackey & Glass 1977, Science 197:287.

    >>> mackey_glass(3).round(3).tolist()
    [[0.901], [0.858], [0.817]]
    """
    gamma, tau, steps, left_out = 0.1, 17, 10, 1000
    h = 1 / steps
    window = tau * steps  # steps of a window; all x(t - τ) of a window lie in the one before it
    nodes, middles = np.full(window + 1, 1.2), np.full(window, 1.2)  # x at and between the steps
    found = []  # the points of each window; its first node ends the window before
    for _ in range(-(-(left_out + length) // tau)):
        grown, grown_between = _growth(nodes), _growth(middles)
        x, reached = float(nodes[-1]), [float(nodes[-1])]
        now = grown.tolist()
        for f0, f, f1 in zip(now, grown_between.tolist(), now[1:], strict=False):
            k1 = f0 - gamma * x
            k2 = f - gamma * (x + h / 2 * k1)
            k3 = f - gamma * (x + h / 2 * k2)
            k4 = f1 - gamma * (x + h * k3)
            x += h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            reached.append(x)
        nodes = np.array(reached)
        slopes = grown - gamma * nodes
        middles = (nodes[:-1] + nodes[1:]) / 2 + h / 8 * (slopes[:-1] - slopes[1:])
        found.append(nodes[steps::steps].copy())
    return np.concatenate(found)[left_out : left_out + length, None].copy()


def _growth(x: Values) -> Values:
    """Return β x / (1 + x^n)."""
    square = x * x
    eighth = square * square * (square * square)
    return 0.2 * x / (1 + eighth * square)


def lorenz(length: int) -> Values:
    """Return `length` points (x, y, z), shape (N, 3), of the Lorenz equations, each 0.02 of time.

        dx/dt = σ (y − x),   dy/dt = x (ρ − z) − y,   dz/dt = x y − β z,    σ = 10, ρ = 28, β = 8/3

    The classical Runge–Kutta method of order 4 takes two steps of 0.01 a point. It begins at
    (1, 1, 1), and the points up to t = 50 are left out.

    Source: Lorenz 1963, Journal of the Atmospheric Sciences 20:130.

    >>> lorenz(2).round(1).tolist()
    [[9.6, 13.8, 22.2], [10.5, 14.5, 23.9]]
    """
    h, steps, left_out = 0.01, 2, 2500

    def slope(x: float, y: float, z: float) -> tuple[float, float, float]:
        return 10.0 * (y - x), x * (28.0 - z) - y, x * y - 8 / 3 * z

    x = y = z = 1.0
    found = array("d")
    for step in range(1, (left_out + length) * steps + 1):
        a, b, c = slope(x, y, z)
        d, e, f = slope(x + h / 2 * a, y + h / 2 * b, z + h / 2 * c)
        i, j, k = slope(x + h / 2 * d, y + h / 2 * e, z + h / 2 * f)
        u, v, w = slope(x + h * i, y + h * j, z + h * k)
        x += h / 6 * (a + 2 * d + 2 * i + u)
        y += h / 6 * (b + 2 * e + 2 * j + v)
        z += h / 6 * (c + 2 * f + 2 * k + w)
        if step % steps == 0 and step > left_out * steps:
            found.extend((x, y, z))
    return np.frombuffer(found).reshape(-1, 3)
