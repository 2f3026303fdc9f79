"""Masks: exact counts, dense biases, seeds, and what slots share."""

import pytest
import torch

from snaprun.checks import UserError
from snaprun.sparsity import DeepR, Dense, Diagonal, Uniform
from tests.cases import SPARSITIES, rng

K, A = 13, 5
RECURRENT, FED = (True, True, False, True), (True, False, True, True)


def mask(sparsity, seed=0, units=K, inputs=A):
    return sparsity.mask(RECURRENT, FED, units, inputs, rng(seed))


@pytest.mark.parametrize("name", SPARSITIES)
def test_biases_are_dense_and_absent_matrices_dead(name):
    live_MKJ = mask(SPARSITIES[name])
    assert live_MKJ.shape == (4, K, K + A + 1)
    assert live_MKJ.dtype == torch.bool
    assert live_MKJ[:, :, -1].all()
    assert not live_MKJ[2, :, :K].any()
    assert not live_MKJ[1, :, K:-1].any()


@pytest.mark.parametrize("name", SPARSITIES)
def test_a_seed_decides_the_mask(name):
    sparsity = SPARSITIES[name]
    assert mask(sparsity, 3).equal(mask(sparsity, 3))
    random = type(sparsity) in (Uniform, DeepR)
    assert mask(sparsity, 3).equal(mask(sparsity, 4)) is not random


@pytest.mark.parametrize("level", [0.0, 0.3, 0.75, 0.9375, 0.999])
def test_uniform_counts_are_exact(level):
    live_MKJ = mask(Uniform(level))
    for slot in range(4):
        want = round((1 - level) * K * K) if RECURRENT[slot] else 0
        assert live_MKJ[slot, :, :K].sum() == want
        want = round((1 - level) * K * A) if FED[slot] else 0
        assert live_MKJ[slot, :, K:-1].sum() == want


def test_uniform_slots_draw_their_own_masks_unless_they_share():
    own_MKJ, shared_MKJ = mask(Uniform(0.5)), mask(Uniform(0.5, share_slots=True))
    assert not own_MKJ[0, :, :K].equal(own_MKJ[3, :, :K])
    for a, b, part in ((0, 1, slice(0, K)), (0, 3, slice(0, K)), (0, 2, slice(K, -1))):
        assert shared_MKJ[a, :, part].equal(shared_MKJ[b, :, part])


def test_a_sparser_mask_of_the_same_seed_lies_within_a_denser_one():
    sparse, dense = mask(Uniform(0.8)), mask(Uniform(0.4))
    assert (sparse & dense).equal(sparse)


def test_dense_and_diagonal():
    assert mask(Dense())[0].all()
    live_MKJ = mask(Diagonal(level=0.6))
    for slot in (0, 1, 3):
        assert live_MKJ[slot, :, :K].equal(torch.eye(K, dtype=torch.bool))
    assert live_MKJ[0, :, K:-1].sum() == round(0.4 * K * A)
    assert mask(Diagonal())[0, :, K:-1].all()


@pytest.mark.parametrize("kind", [Uniform, Diagonal])
@pytest.mark.parametrize("level", [1.0, -0.1, float("nan")])
def test_refuses_a_level_outside_0_1(kind, level):
    with pytest.raises(UserError, match=r"sparsity\.level"):
        kind(level)
