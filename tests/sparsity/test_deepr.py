"""Deep rewiring against the algorithm written out weight by weight."""

import pytest
import torch

from snaprun.checks import UserError
from snaprun.sparsity import DeepR
from snaprun.sparsity.deepr import TINY
from tests.cases import close, rng

M, K, A = 2, 5, 4
SHAPE = (M, K, K + A + 1)


def network(level=0.5, seed=0):
    """A mask with biases, weights of the right sign, signs, and what is possible (no diagonal)."""
    generator = rng(seed)
    signs_MKJ = torch.randn(SHAPE, generator=generator).double().sign()
    possible_MKJ = torch.ones(SHAPE, dtype=torch.bool)
    possible_MKJ[:, torch.arange(K), torch.arange(K)] = False
    live_MKJ = possible_MKJ & (torch.rand(SHAPE, generator=generator) > level)
    live_MKJ[:, :, -1] = True
    weights_MKJ = torch.rand(SHAPE, generator=generator).double() * signs_MKJ * live_MKJ
    return live_MKJ, weights_MKJ, possible_MKJ, signs_MKJ


def rewired(deepr, made, lr=0.1, seed=0):
    return deepr.rewired(*made, lr=lr, generator=rng(seed))


def test_weights_are_drawn_to_zero_and_die_there():
    live_MKJ, weights_MKJ, possible_MKJ, signs_MKJ = made = network()
    after_MKJ, changed_MKJ = rewired(DeepR(l1=2.0), made)
    born = died = 0
    for m in range(M):
        for k in range(K):
            for j in range(K + A):
                theta = float(weights_MKJ[m, k, j] * signs_MKJ[m, k, j]) - 0.2
                now, then = bool(after_MKJ[m, k, j]), bool(live_MKJ[m, k, j])
                if then:
                    assert now == (theta > 0)
                    died += not now
                else:
                    born += now
                    assert possible_MKJ[m, k, j] or not now
                    theta = TINY
                want = theta * float(signs_MKJ[m, k, j]) if now else 0.0
                assert float(changed_MKJ[m, k, j]) == pytest.approx(want, abs=1e-15)
    assert born == died > 3
    assert after_MKJ.sum() == live_MKJ.sum()
    assert changed_MKJ[:, :, -1].equal(weights_MKJ[:, :, -1])


@pytest.mark.parametrize("level", [0.0, 0.1])
def test_where_too_few_were_dead_some_of_the_fallen_come_back(level):
    live_MKJ, weights_MKJ, possible_MKJ, signs_MKJ = made = network(level)
    after_MKJ, changed_MKJ = rewired(DeepR(l1=5.0), made)
    fallen_MKJ = live_MKJ & (weights_MKJ.abs() <= 0.5)
    fallen_MKJ[:, :, -1] = False
    assert fallen_MKJ.sum() > (possible_MKJ & ~live_MKJ).sum()
    assert after_MKJ.sum() == live_MKJ.sum()
    assert after_MKJ.equal(possible_MKJ & (after_MKJ | ~live_MKJ))  # all that were dead live
    again_MKJ = fallen_MKJ & after_MKJ
    close(changed_MKJ[again_MKJ], TINY * signs_MKJ[again_MKJ])


def test_a_weight_that_changed_its_sign_dies():
    live_MKJ, weights_MKJ, possible_MKJ, signs_MKJ = network()
    flipped = live_MKJ.nonzero()[::7]
    flipped = flipped[flipped[:, 2] < K + A]
    for m, k, j in flipped.tolist():
        weights_MKJ[m, k, j] *= -1
    after_MKJ, _ = rewired(DeepR(l1=0.0), (live_MKJ, weights_MKJ, possible_MKJ, signs_MKJ))
    assert not any(after_MKJ[m, k, j] for m, k, j in flipped.tolist())
    assert int((live_MKJ & ~after_MKJ).sum()) == len(flipped) > 2


def test_every_dead_weight_may_come_alive():
    made = network()
    live_MKJ, _, possible_MKJ, _ = made
    came_MKJ = torch.zeros(SHAPE, dtype=torch.bool)
    for seed in range(200):
        came_MKJ |= rewired(DeepR(l1=2.0), made, seed=seed)[0] & ~live_MKJ
    assert came_MKJ.equal(possible_MKJ & ~live_MKJ)


def test_the_noise_has_the_variance_of_langevin_dynamics():
    live_MKJ, weights_MKJ, possible_MKJ, signs_MKJ = network(level=0.0)
    weights_MKJ = 50 * signs_MKJ * live_MKJ
    moved = []
    for seed in range(300):
        made = live_MKJ, weights_MKJ, possible_MKJ, signs_MKJ
        _, changed_MKJ = rewired(DeepR(l1=0.0, temperature=0.3), made, lr=0.2, seed=seed)
        moved.append((changed_MKJ - weights_MKJ)[live_MKJ][: M * K])
    variance = float(torch.stack(moved).var())
    assert variance == pytest.approx(2 * 0.2 * 0.3, rel=5 * (2 / (300 * M * K)) ** 0.5)


def test_without_cause_nothing_changes():
    made = network()
    after_MKJ, changed_MKJ = rewired(DeepR(l1=0.0), made)
    assert after_MKJ.equal(made[0])
    close(changed_MKJ, made[1], 0)


@pytest.mark.parametrize(("key", "value"), [("l1", -1), ("temperature", -0.5), ("level", 1.0)])
def test_wrong_keys_are_refused(key, value):
    with pytest.raises(UserError, match=rf"sparsity\.{key}="):
        DeepR(**{key: value})
