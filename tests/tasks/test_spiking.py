"""Tasks of spiking populations, each lane read back from its spikes."""

import math

import pytest
import torch

from snaprun.checks import UserError
from snaprun.losses import Columns, Sums
from snaprun.tasks import TASKS
from snaprun.tasks.decisions import DecisionError
from snaprun.tasks.evidence import Evidence
from snaprun.tasks.function_family import FunctionFamily
from snaprun.tasks.store_recall import StoreRecall
from tests.cases import rng

LOUD = {"rate": 1.0, "noise": 0.0}  # spikes that say without doubt which population is active


def populations(batch, size):
    """Whether a population is active, (T, B, G), read from spikes without noise."""
    active_TBG = batch.inputs.unflatten(2, (-1, size)).mean(3)
    assert set(active_TBG.unique().tolist()) <= {0.0, 1.0}
    return active_TBG.bool()


@pytest.mark.parametrize(("shortest", "longest"), [(3, 7), (1, 9), (2, 2)])
def test_the_target_is_the_bit_that_was_shown_with_the_store_cue(shortest, longest):
    task = StoreRecall(slot=4, shortest=shortest, longest=longest, population=3, **LOUD)
    batch = task.batch(200, rng())
    active_TBG = populations(batch, 3)
    assert len(active_TBG) == task.steps() == 40
    apart, bits = set(), set()
    for lane in range(200):
        zero_S, one_S, store_S, recall_S = active_TBG[::4, lane].T
        assert active_TBG[:, lane].equal(active_TBG[::4, lane].repeat_interleave(4, 0))
        (stored,), (asked,) = store_S.nonzero().tolist(), recall_S.nonzero().tolist()
        apart.add(asked[0] - stored[0])
        shown_S = ~recall_S
        assert (zero_S ^ one_S).equal(shown_S)
        assert batch.mask[:, lane].equal(recall_S.repeat_interleave(4))
        assert batch.targets[batch.mask[:, lane], lane].unique().item() == int(one_S[stored[0]])
        bits.add(int(one_S[stored[0]]))
    assert apart == set(range(shortest, longest + 1))
    assert bits == {0, 1}
    assert not batch.targets[~batch.mask].any()
    assert batch.resets.nonzero()[:, 0].unique().tolist() == [0]


@pytest.mark.parametrize("task", [StoreRecall(population=5), Evidence(population=5)])
def test_neurons_spike_with_their_rates(task):
    loud = type(task)(population=5, **LOUD)
    inputs = task.batch(400, rng(1)).inputs
    active = loud.batch(400, rng(1)).inputs.bool()
    for wanted, found in ((task.rate, inputs[active]), (task.noise, inputs[~active])):
        error = (wanted * (1 - wanted) / found.numel()) ** 0.5
        assert float(found.double().mean()) == pytest.approx(wanted, abs=5 * error)


@pytest.mark.parametrize("cues", [1, 3, 7])
def test_the_target_is_the_side_of_most_cues(cues):
    task = Evidence(cues=cues, cue=3, gap=2, delay=5, decision=4, population=2, **LOUD)
    batch = task.batch(300, rng())
    active_TBG = populations(batch, 2)
    assert len(active_TBG) == task.steps() == cues * 5 + 9
    shown_TB = active_TBG[:, :, 0] ^ active_TBG[:, :, 1]
    in_cue_T = torch.tensor(([True] * 3 + [False] * 2) * cues + [False] * 9)
    assert shown_TB.equal(in_cue_T[:, None].expand(-1, 300))
    left_B, right_B = (active_TBG[:, :, side].sum(0) // 3 for side in (0, 1))
    assert (left_B + right_B == cues).all()
    assert batch.targets[-1].equal((right_B > left_B).long())
    assert batch.mask.equal(active_TBG[:, :, 2])
    assert batch.mask.sum(0).unique().tolist() == [4]
    assert not active_TBG[:, :, 3].any()
    assert 100 < int(batch.targets[-1].sum()) < 200
    if cues == 7:  # how often the larger side has 4, 5, 6 or 7: binomial, given a majority
        chances = [math.comb(7, n) * 0.7**n * 0.3 ** (7 - n) for n in range(4, 8)]
        counts = torch.maximum(left_B, right_B).bincount(minlength=8)[4:].double() / 300
        for found, chance in zip(counts.tolist(), chances, strict=True):
            share = chance / sum(chances)
            assert found == pytest.approx(share, abs=5 * (share * (1 - share) / 300) ** 0.5)


def test_a_decision_is_that_of_the_sum_over_the_steps_that_are_asked():
    outputs_TBO = torch.tensor([[[9.0, 0.0]] * 3, [[0.0, 1.0]] * 3, [[3.0, 1.0]] * 3])
    mask_TB = torch.tensor([[False, False, False], [True, True, False], [False, True, False]])
    targets = torch.tensor([[0, 0, 0], [1, 1, 0], [0, 1, 0]])
    error = DecisionError()
    # Lane 0 decides for 1, rightly; lane 1 for 0, wrongly; lane 2 is not asked.
    assert error.sums(outputs_TBO, targets, mask_TB) == [1.0, 2.0]
    assert error.value([1.0, 2.0]) == 0.5
    assert math.isnan(error.value([0.0, 0.0]))


def test_guessing_errs_half_of_the_time():
    task = StoreRecall()
    columns, sums = Columns(task.loss, task.measures), Sums()
    batch = task.batch(4000, rng())
    outputs_TBO = torch.randn(*batch.mask.shape, 2, generator=rng(3))
    columns.add(sums, batch.targets, batch.mask, outputs_TBO, None)
    assert columns.values(sums)["decision_error"] == pytest.approx(0.5, abs=5 * 0.5 / 4000**0.5)


@pytest.mark.parametrize(
    ("task", "keys", "named"),
    [
        ("store_recall", {"longest": 10}, "longest"),
        ("store_recall", {"shortest": 5, "longest": 4}, "longest"),
        ("store_recall", {"rate": 1.5}, "rate"),
        ("evidence", {"cues": 4}, "cues"),
        ("evidence", {"noise": -0.1}, "noise"),
        ("function_family", {"family": "line"}, "family"),
        ("function_family", {"length": 1}, "length"),
    ],
)
def test_wrong_keys_are_refused(task, keys, named):
    with pytest.raises(UserError, match=rf"task\.{named}="):
        TASKS[task](**keys)


@pytest.mark.parametrize("family", ["network", "sine"])
def test_an_episode_shows_the_target_a_step_late_and_has_one_function(family):
    batch = FunctionFamily(family, length=300).batch(40, rng())
    x_TBA, before_TB = batch.inputs[..., :-1], batch.inputs[..., -1]
    y_TB = batch.targets[..., 0]
    assert before_TB[1:].equal(y_TB[:-1])
    assert not before_TB[0].any()
    assert batch.mask.all()
    mean_TB = (y_TB.cumsum(0)[:-1].T / torch.arange(1, 300)).T
    torch.testing.assert_close(batch.baseline[1:, :, 0], mean_TB)
    low, high = (-1, 1) if family == "network" else (-5, 5)
    assert low <= x_TBA.min() < low + 0.1 < high - 0.1 < x_TBA.max() <= high
    if family == "sine":  # A sin(x + φ) is linear in sin x and cos x
        for lane in range(40):
            x_T = x_TBA[:, lane, 0].double()
            basis = torch.stack((x_T.sin(), x_T.cos()), 1)
            found = torch.linalg.lstsq(basis, y_TB[:, lane, None].double())
            amplitude = float(found.solution.norm())
            assert 0.1 <= amplitude <= 5
            assert (basis @ found.solution - y_TB[:, lane, None]).abs().max() < 1e-5
    else:  # near points have near values: the slope is at most Σ |outer| |inner| / 4 ≤ 2.5 √2
        for lane in range(40):
            d_TT = torch.cdist(x_TBA[:, lane], x_TBA[:, lane])
            steep = (y_TB[:, lane, None] - y_TB[:, lane]).abs()
            assert (steep <= 2.5 * 2**0.5 * d_TT + 1e-5).all()


def test_the_tenths_of_an_episode():
    task = FunctionFamily(length=25)  # tenths of three steps
    columns, sums = Columns(task.loss, task.measures), Sums()
    batch = task.batch(2, rng())
    error_T = torch.arange(25.0)
    outputs_TBO = batch.targets + error_T[:, None, None]
    columns.add(sums, batch.targets, batch.mask, outputs_TBO, None)
    values = columns.values(sums)
    assert values["mse_first_tenth"] == pytest.approx((0 + 1 + 4) / 3, rel=1e-5)
    assert values["mse_last_tenth"] == pytest.approx((22**2 + 23**2 + 24**2) / 3, rel=1e-5)
