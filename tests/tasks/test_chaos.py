"""The chaotic series, against other ways to integrate their equations, and their very bits."""

import hashlib

import numpy as np
import pytest

from snaprun.tasks.chaos import lorenz, mackey_glass


def heun(steps: int, until: int) -> np.ndarray:
    """Mackey–Glass at t = 1, 2, … by Heun's method; it needs no values between its steps."""
    h, lag = 1 / steps, 17 * steps
    x = [1.2] * (lag + 1)

    def slope(now: float, delayed: float) -> float:
        return 0.2 * delayed / (1 + delayed**10) - 0.1 * now

    for i in range(lag, lag + until * steps):
        first = slope(x[i], x[i - lag])
        x.append(x[i] + h / 2 * (first + slope(x[i] + h * first, x[i + 1 - lag])))
    return np.array(x[lag::steps][1:])


def test_mackey_glass_is_the_limit_of_another_method():
    until = 1030
    coarse, fine = (heun(steps, until)[1000:] for steps in (50, 100))
    found = mackey_glass(30)[:, 0]
    apart, nearer = (abs(x - found).max() for x in (coarse, fine))
    assert apart / nearer == pytest.approx(4, abs=0.05)  # of second order
    assert (4 * fine - coarse) / 3 == pytest.approx(found, abs=1e-6)


def test_lorenz_is_that_of_scipy():
    integrate = pytest.importorskip("scipy.integrate")
    points, times = lorenz(60), np.arange(60) * 0.02

    def slope(_, s):
        x, y, z = s
        return [10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z]

    found = integrate.solve_ivp(
        slope, (0, times[-1]), points[0], "DOP853", times, rtol=1e-12, atol=1e-12
    )
    assert abs(points - found.y.T).max() < 1e-3


@pytest.mark.parametrize("generate", [mackey_glass, lorenz])
def test_a_longer_series_begins_with_a_shorter_one(generate):
    short, long = generate(5), generate(700)
    assert short.shape == (5, long.shape[1])
    assert np.array_equal(short, long[:5])


@pytest.mark.parametrize(
    ("generate", "sha256"),
    [
        (mackey_glass, "e3e70b6d2350e8d7ae66cd1a1f9fe3cfcd2f84c551a61f52d2a1ce3bdd07524a"),
        (lorenz, "f3ed2bee3669fb5818e9452bc6e5ead7de7d12720405b572bb12d4300208902b"),
    ],
)
def test_every_machine_computes_the_same_bits(generate, sha256):
    assert hashlib.sha256(generate(1000).tobytes()).hexdigest() == sha256
