"""The adding problem, each lane read back."""

import pytest
import torch

from snaprun.checks import UserError
from snaprun.losses import Columns, MeanSquaredError, Sums
from snaprun.tasks import TASKS, Batch
from snaprun.tasks.adding import Adding
from tests.cases import rng


def marked(batch: Batch) -> list[tuple[list[float], list[int]]]:
    """The numbers of every lane, and the steps that are marked."""
    numbers, markers = batch.inputs.unbind(2)
    assert set(markers.unique().tolist()) <= {0.0, 1.0}
    steps = [column.nonzero().flatten().tolist() for column in markers.T]
    return list(zip(numbers.T.tolist(), steps, strict=True))


@pytest.mark.parametrize("length", [2, 3, 11, 100])
def test_the_target_is_the_sum_of_the_two_marked_numbers_at_the_last_step(length):
    batch = Adding(length=length).batch(40, rng())
    for lane, (numbers, steps) in enumerate(marked(batch)):
        first, second = steps
        assert first < length // 2 <= second < length
        assert batch.targets[-1, lane].item() == pytest.approx(numbers[first] + numbers[second])
    assert batch.mask.nonzero().tolist() == [[length - 1, lane] for lane in range(40)]
    assert batch.resets.nonzero().tolist() == [[0, lane] for lane in range(40)]
    assert not batch.targets[:-1].any()


def test_every_step_of_each_half_is_marked_sometimes():
    firsts, seconds = zip(*(steps for _, steps in marked(Adding(7).batch(300, rng()))), strict=True)
    assert (set(firsts), set(seconds)) == ({0, 1, 2}, {3, 4, 5, 6})


def test_numbers_are_uniform_in_0_to_1():
    numbers = Adding(50).batch(2000, rng()).inputs[..., 0].double()
    assert 0 <= numbers.min() < 1e-3
    assert 1 - 1e-3 < numbers.max() < 1
    error = (1 / 12 / numbers.numel()) ** 0.5  # of the mean
    assert abs(numbers.mean() - 0.5) < 5 * error


VARIANCE = 2 * (1 / 3 - 1 / 4)  # Var(u + v) = 2 Var(u) = 2 (∫u² du − (∫u du)²)


def test_the_baseline_answers_1_and_its_error_is_the_variance():
    batch = Adding(length=4).batch(20_000, rng())
    assert batch.baseline is not None
    assert set(batch.baseline.unique().tolist()) == {1.0}
    columns, sums = Columns(MeanSquaredError(), ()), Sums()
    columns.add(sums, batch.targets, batch.mask, None, batch.baseline)
    # The squared distance of a triangular variable from its middle has the variance 7/180.
    error = (7 / 180 / 20_000) ** 0.5
    assert columns.values(sums)["baseline_mse"] == pytest.approx(VARIANCE, abs=5 * error)


def test_chance_is_the_error_of_an_untrained_network():
    """E[(u + v − 0)²] is the variance and the square of the mean, 1."""
    assert Adding().chance == pytest.approx(VARIANCE + 1)


def test_no_constant_answer_is_better_than_1():
    sums = Adding(length=2).batch(20_000, rng()).targets[-1]
    error = {answer: float((sums - answer).square().mean()) for answer in (0.9, 1.0, 1.1)}
    assert min(error, key=lambda answer: error[answer]) == 1.0


def test_held_out_sequences_are_1024_of_their_own():
    task = Adding(length=9)
    batches = list(task.validation(None))
    assert sum(batch.mask.shape[1] for batch in batches) == 1024
    assert max(batch.mask.shape[1] for batch in batches) <= task.held_out_lanes
    lanes = torch.cat([batch.inputs for batch in batches], 1).unbind(1)
    assert len({tuple(lane.flatten().tolist()) for lane in lanes}) == 1024
    trained_on = task.batch(64, rng()).inputs
    assert not any(torch.equal(batch.inputs, trained_on) for batch in batches)


@pytest.mark.parametrize(("tokens", "sequences"), [(1, 1), (17, 1), (900, 100), (10**9, 1024)])
def test_held_out_tokens_are_as_many_as_asked_for(tokens, sequences):
    batches = Adding(length=9).validation(tokens)
    assert sum(batch.mask.shape[1] for batch in batches) == sequences


def test_the_length_is_a_key():
    assert Adding().steps() == 100
    assert TASKS["adding"] is Adding
    for length in (1, 0, -3):
        with pytest.raises(UserError, match=f"^task.length={length} is not accepted: expected "):
            Adding(length=length)
