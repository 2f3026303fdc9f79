"""A learner whose BPTT has a bounded memory, beside one that keeps the full tape."""

import numpy as np

from snaprun import Learner


def test_it_learns_as_with_the_full_tape_and_goes_on_from_its_file(tmp_path):
    common = {"units": 6, "rule": "bptt", "update_every": 9, "dtype": "float64", "lanes": 2}
    full = Learner(3, 2, **common)
    bounded = Learner(3, 2, **common, rule_args={"memory": 0.4}, engine="torch")
    rng = np.random.default_rng(0)
    for t in range(40):
        x, y = rng.normal(size=(2, 3)), rng.normal(size=(2, 2))
        if t % 7 == 5:
            for learner in (full, bounded):
                learner.reset([1])
        want, got = full.step(x, y), bounded.step(x, y)
        for ours, theirs in zip(got, want, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)
        if t % 5 == 2:
            bounded.predict(x)
            full.predict(x)
            bounded.save(tmp_path / "learner")
            before = bounded.learn(y)
            bounded = Learner.load(tmp_path / "learner")
            np.testing.assert_array_equal(bounded.learn(y), before)
            full.learn(y)
    assert bounded.updates == full.updates > 3
