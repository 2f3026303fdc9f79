"""Pruning by magnitude: the schedule, and which weights die."""

import pytest
import torch
from torch.nn.utils import prune as torch_prune

from snaprun.checks import UserError
from snaprun.sparsity import Dense, Magnitude, Uniform
from tests.cases import rng

K, A = 13, 5
SLOTS = ((True, True, False, True), (True, False, True, True))  # recurrent, input
MATRICES = [
    (slot, part)
    for has, part in zip(SLOTS, (slice(0, K), slice(K, -1)), strict=True)
    for slot in range(4)
    if has[slot]
]


def weights(seed):
    return torch.randn(4, K, K + A + 1, generator=rng(seed), dtype=torch.float64)


def level(sparsity, tokens):
    return sparsity.metrics(tokens)["sparsity"]


@pytest.mark.parametrize("initial", [0.0, 0.5])
def test_the_schedule_is_the_cubic_one(initial):
    sparsity = Magnitude(level=0.875, initial=initial, begin=200, end=1000, every=100)
    for tokens in (0, 199, 200, 299):
        assert level(sparsity, tokens) == initial
    # Halfway all but an eighth of the rise is done, after a quarter all but 27/64.
    for tokens, left in ((400, 27 / 64), (499, 27 / 64), (600, 1 / 8), (999, 1 / 512)):
        assert level(sparsity, tokens) == pytest.approx(0.875 - (0.875 - initial) * left, abs=1e-15)
    for tokens in (1000, 10**9):
        assert level(sparsity, tokens) == 0.875


def test_the_end_is_reached_where_every_does_not_divide_the_time():
    sparsity = Magnitude(level=0.9, begin=0, end=250, every=100)
    assert level(sparsity, 249) == pytest.approx(0.9 * (1 - 0.2**3))
    assert level(sparsity, 250) == 0.9
    assert Magnitude(level=0.9, begin=0, end=250, every=999).due(249, 250)


def test_a_change_is_due_where_the_level_rises():
    sparsity = Magnitude(level=0.9, begin=200, end=500, every=100)
    passed = [(t, t + 50) for t in range(0, 900, 50) if sparsity.due(t, t + 50)]
    assert passed == [(250, 300), (350, 400), (450, 500)]
    assert sparsity.due(0, 10_000)
    assert not sparsity.due(300, 399)
    constant = Magnitude(level=0.9, initial=0.9, begin=200, end=500, every=100)
    assert not constant.due(0, 10_000)
    assert not Uniform(0.5).due(0, 10**9)


def test_the_first_mask_is_uniform_at_the_initial_level():
    for initial, like in ((0.0, Dense()), (0.6, Uniform(0.6))):
        drawn, want = (s.mask(*SLOTS, K, A, rng(2)) for s in (Magnitude(0.7, initial), like))
        assert drawn.equal(want)


def test_masks_are_those_of_torch():
    """Several prunings with other weights each, against `l1_unstructured` on every matrix."""
    sparsity = Magnitude(level=0.9, initial=0.3, begin=0, end=500, every=100)
    live_MKJ = sparsity.mask(*SLOTS, K, A, rng(1))
    modules = [torch.nn.Module() for _ in MATRICES]
    for module, (slot, part) in zip(modules, MATRICES, strict=True):
        module.weight = torch.nn.Parameter(torch.zeros(live_MKJ[slot, :, part].shape).double())
        torch_prune.custom_from_mask(module, "weight", live_MKJ[slot, :, part])
    for tokens in (100, 200, 450, 500):
        weights_MKJ = weights(tokens)
        s_t = 0.9 - 0.6 * (1 - tokens // 100 / 5) ** 3
        left_MKJ = sparsity.pruned(tokens, live_MKJ, weights_MKJ * live_MKJ)
        for module, (slot, part) in zip(modules, MATRICES, strict=True):
            scores = weights_MKJ[slot, :, part]
            excess = int(module.weight_mask.sum()) - round((1 - s_t) * scores.numel())
            torch_prune.l1_unstructured(module, "weight", excess, importance_scores=scores)
            assert left_MKJ[slot, :, part].equal(module.weight_mask.bool())
        assert left_MKJ[:, :, -1].all()
        assert not (left_MKJ & ~live_MKJ).any()
        live_MKJ = left_MKJ


def test_nothing_dies_before_its_time():
    sparsity = Magnitude(level=0.9, initial=0.3)
    live_MKJ = sparsity.mask(*SLOTS, K, A, rng(1))
    assert sparsity.pruned(0, live_MKJ, weights(0)).equal(live_MKJ)
    assert Uniform(0.9).pruned(10**9, live_MKJ, weights(0)).equal(live_MKJ)


def test_of_equals_the_first_live():
    sparsity = Magnitude(level=0.5, begin=0, end=1)
    live_MKJ = sparsity.mask(*SLOTS, K, A, rng())
    left_MKJ = sparsity.pruned(1, live_MKJ, torch.ones(live_MKJ.shape))
    for slot, part in MATRICES:
        alive = left_MKJ[slot, :, part].flatten()
        assert alive.equal(torch.arange(len(alive)) < round(0.5 * len(alive)))


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("level", {"level": 1.0}),
        ("level", {"level": float("nan")}),
        ("initial", {"initial": -0.1}),
        ("initial", {"level": 0.5, "initial": 0.6}),
        ("begin", {"begin": -1}),
        ("end", {"begin": 10, "end": 10}),
        ("every", {"every": 0}),
    ],
)
def test_refuses_in_one_line(key, values):
    with pytest.raises(UserError, match=rf"^sparsity\.{key}=.*") as refused:
        Magnitude(**values)
    assert "\n" not in str(refused.value)
