"""Learn a stream as it comes: two sensors of a breath, forecast a quarter of a second on.

A belt measures how wide the chest is, a mask how fast air flows, four times a second. Rate and
depth of the breath drift. At every moment the learner says what both will be at the next one; once
that moment is there, it learns from its error, in the same pass. Nothing is stored or read twice.

    python examples/learn_a_stream.py            # a few seconds
    python examples/learn_a_stream.py 4000       # that many moments
"""

import sys
from collections.abc import Iterator

import numpy as np

import snaprun

REPORT = 1000  # moments between lines


def breathing(moments: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield belt and flow, shape (2,), at every moment."""
    random = np.random.default_rng(seed)
    phase, rate, depth = 0.0, 0.25, 1.0  # rate in breaths a second
    for _ in range(moments):
        rate += 0.01 * (0.25 - rate) + 0.005 * random.normal()
        depth += 0.01 * (1.0 - depth) + 0.03 * random.normal()
        phase += 2 * np.pi * rate / 4
        belt, flow = depth * np.sin(phase), depth * np.cos(phase)
        yield np.array([belt, flow]) + 0.02 * random.normal(size=2)


def main(moments: int = 20_000) -> tuple[float, float]:
    """Return the errors of the learner and of persistence over the last moments."""
    learner = snaprun.Learner(
        inputs=2, outputs=2, cell="gru", units=64, rule="snap1", sparsity=0.75, loss="mse", lr=1e-3
    )
    stream = breathing(moments)
    now = next(stream)
    errors: list[tuple[float, float]] = []  # mean squares over the two sensors
    print("root mean squared error   learner   persistence")
    for following in stream:
        learner.predict(now)  # the forecast, which a device would act on
        loss = learner.learn(following)  # a quarter of a second later
        errors.append((loss, float(np.mean((following - now) ** 2))))
        now = following
        if len(errors) % REPORT == 0:
            ours, theirs = np.sqrt(np.mean(errors[-REPORT:], axis=0))
            print(f"after {len(errors):6d} moments   {ours:11.3f}   {theirs:11.3f}")
    ours, theirs = np.sqrt(np.mean(errors[-REPORT:], axis=0))
    return float(ours), float(theirs)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
