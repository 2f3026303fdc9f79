"""Each loss and measure against torch.nn.functional, scikit-free numpy and what they mean."""

import math
from functools import reduce

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from snaprun.losses import (
    LOSSES,
    Accuracy,
    Columns,
    NormalisedRootMeanSquaredError,
    SoftmaxCrossEntropy,
)
from snaprun.losses.measures import declared
from tests.cases import close, rng

B, O = 9, 5


def outputs():
    return 3 * torch.randn(B, O, generator=rng(), dtype=torch.float64)


def of_torch(name, outputs_BO):
    """Targets for the loss, and its value as torch computes it."""
    if name == "softmax":
        y_B = torch.randint(0, O, (B,), generator=rng(1))
        return y_B, F.cross_entropy(outputs_BO, y_B, reduction="none")
    y_BO = torch.rand(B, O, generator=rng(1), dtype=torch.float64)
    if name == "sigmoid":
        y_BO = torch.where(y_BO < 0.8, y_BO.round(), y_BO)  # bits, and a few probabilities
        return y_BO, F.binary_cross_entropy(outputs_BO.sigmoid(), y_BO, reduction="none").sum(1)
    assert name == "mse"
    return y_BO, F.mse_loss(outputs_BO, y_BO, reduction="none").mean(1)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_that_of_torch(name):
    outputs_BO = outputs().requires_grad_()
    targets, want_B = of_torch(name, outputs_BO)
    (want_BO,) = torch.autograd.grad(want_B.sum(), outputs_BO)
    loss, mask_B = LOSSES[name](), torch.ones(B, dtype=torch.bool)
    got_B, error_BO = loss.value_and_error(outputs_BO.detach(), targets, mask_B)
    close(got_B, want_B.detach())
    close(error_BO, want_BO)
    close(loss.value(outputs_BO.detach(), targets, mask_B), got_B)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logits_far_from_zero_cost_what_they_are(dtype):
    logits_BO = torch.tensor([[1e4, -1e4], [1e4, -1e4]], dtype=dtype)
    bits_BO = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    loss, mask_B = LOSSES["sigmoid"](), torch.ones(2, dtype=torch.bool)
    value_B, error_BO = loss.value_and_error(logits_BO, bits_BO, mask_B)
    assert value_B.tolist() == [0.0, 2e4]
    assert error_BO.tolist() == [[0.0, 0.0], [1.0, -1.0]]


@pytest.mark.parametrize("name", ["mse", "sigmoid"])
def test_a_lane_without_a_target_adds_nothing_whatever_its_outputs(name):
    loss, mask_B = LOSSES[name](), torch.tensor([False, False, True])
    outputs_BO = torch.tensor([[math.nan, 1.0], [math.inf, -math.inf], [2.0, 1.0]])
    value_B, error_BO = loss.value_and_error(outputs_BO, torch.zeros(3, 2), mask_B)
    assert value_B[:2].tolist() == [0, 0]
    assert error_BO[:2].tolist() == [[0, 0], [0, 0]]
    assert torch.equal(loss.value(outputs_BO, torch.zeros(3, 2), mask_B), value_B)


def test_chance_is_the_loss_of_a_guess_that_knows_nothing():
    zero_BO, mask_B = torch.zeros(1, O, dtype=torch.float64), torch.tensor([True])
    y_B, y_BO = torch.tensor([3]), torch.ones(1, O)
    for name, y in (("softmax", y_B), ("sigmoid", y_BO)):
        loss = LOSSES[name]()
        assert loss.chance(O) == pytest.approx(float(loss.value(zero_BO, y, mask_B)), rel=1e-12)
    assert LOSSES["mse"]().chance(O) == math.inf


def test_nats_are_reported_if_bits_are_not_asked_for():
    bits, nats = SoftmaxCrossEntropy(), SoftmaxCrossEntropy(bits=False)
    assert bits.reported(1.0) == pytest.approx(1 / math.log(2))
    assert (nats.reported(1.0), nats.unit) == (1.0, "nats")
    assert [nats.training.key, nats.held_out.key] == ["cross_entropy", "validation_cross_entropy"]
    assert [bits.training.key, bits.held_out.key] == ["bpc", "validation_bpc"]


def drawn(parts=3):
    """Outputs, classes and numbers of a few batches with gaps."""
    for seed in range(parts):
        generator, shape = rng(seed), (4 + seed, 3)
        outputs_TBO = torch.randn(*shape, O, generator=generator)
        mask_TB = torch.rand(shape, generator=generator) < 0.6
        numbers_TBO = 5 + torch.randn(*shape, O, generator=generator)
        classes_TB = torch.randint(0, O, shape, generator=generator)
        yield outputs_TBO, mask_TB, numbers_TBO, classes_TB


def added_up(measure, which):
    sums = [measure.sums(batch[0], batch[which], batch[1]) for batch in drawn()]
    return measure.value(reduce(measure.merged, sums))


def pooled(which):
    batches = [[x.double().numpy() for x in batch] for batch in drawn()]
    kept = [(x[0][x[1] > 0], x[which][x[1] > 0]) for x in batches]
    return tuple(np.concatenate(column) for column in zip(*kept, strict=True))


def test_measures_of_batches_add_up_to_those_of_all_targets():
    out, y = pooled(3)
    assert added_up(Accuracy(), 3) == pytest.approx(np.mean(out.argmax(1) == y), rel=1e-12)
    out, y = pooled(2)
    want = np.sqrt(np.mean((out - y) ** 2)) / np.std(y)
    assert added_up(NormalisedRootMeanSquaredError(), 2) == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("offset", [0.0, 1e-8, 1e8, -1e8])
def test_nrmse_keeps_its_digits_far_from_zero(offset):
    measure, drawn, batches = nrmse(), np.random.default_rng(0), []
    for steps in (1, 40, 0, 7, 1000, 2, 300):
        y = offset + drawn.standard_normal((steps, 3, 2)) + (10 if steps == 1 else 0)
        mask = drawn.random((steps, 3)) < (0.5 if steps > 1 else 2)
        batches.append((y + drawn.standard_normal(y.shape), y, mask))
    sums = [measure.sums(*map(torch.from_numpy, batch)) for batch in batches]
    assert all(type(x) is float for batch in sums for x in batch)
    found = measure.value(reduce(measure.merged, sums))
    out, y = (np.concatenate([b[i][b[2]] for b in batches]).ravel() for i in (0, 1))
    spread = np.var(y.astype(np.longdouble))
    want = np.sqrt(np.mean((out - y).astype(np.longdouble) ** 2) / spread)
    assert found == pytest.approx(float(want), rel=1e-12)
    assert measure.value(reduce(measure.merged, sums[::-1])) == pytest.approx(found, rel=1e-12)


def test_targets_that_do_not_vary_have_no_nrmse_however_they_are_cut():
    y_TBO, mask_TB = torch.full((7, 1, 1), 0.1).double(), torch.ones(7, 1, dtype=torch.bool)
    parts = [
        nrmse().sums(y + 1, y, mask)
        for y, mask in zip(y_TBO.split(2), mask_TB.split(2), strict=True)
    ]
    assert math.isnan(nrmse().value(reduce(nrmse().merged, parts)))


def test_without_a_target_or_without_a_spread_there_is_no_value():
    nothing, one = torch.zeros(2, 1, dtype=torch.bool), torch.tensor([[True], [False]])
    zeros = torch.zeros(2, 1, 3)
    for measure, y in ((Accuracy(), torch.zeros(2, 1).long()), (nrmse(), torch.ones(2, 1, 3))):
        assert math.isnan(measure.value(measure.sums(zeros, y, nothing)))
    assert math.isnan(nrmse().value(nrmse().sums(zeros, torch.ones(2, 1, 3), one)))


def nrmse():
    return NormalisedRootMeanSquaredError()


def test_columns_name_a_measure_its_baseline_and_those_of_held_out_data():
    loss, sums = LOSSES["mse"](), {}
    columns, held_out = Columns(loss, [nrmse()]), Columns(loss, [nrmse()], held_out=True)
    for outputs_TBO, mask_TB, y_TBO, _ in drawn():
        columns.add(sums, y_TBO, mask_TB, outputs_TBO, torch.full_like(y_TBO, 5.0))
    values = columns.values(sums)
    assert list(values) == ["nrmse", "baseline_mse", "baseline_nrmse"]
    out, y = pooled(2)
    assert values["nrmse"] == pytest.approx(np.sqrt(np.mean((out - y) ** 2)) / np.std(y), rel=1e-9)
    assert values["baseline_mse"] == pytest.approx(np.mean((y - 5) ** 2), rel=1e-6)
    every = [*held_out.outputs, *held_out.baseline]
    assert every == ["validation_nrmse", "baseline_validation_mse", "baseline_validation_nrmse"]
    assert columns.values({}) == {}
    metrics = declared(loss, [nrmse()])
    assert {*columns.outputs, *columns.baseline, *every} < {metric.key for metric in metrics}
    assert len({metric.key for metric in metrics}) == len(metrics) == 8


def test_a_value_that_is_no_number_is_none():
    columns, sums = Columns(LOSSES["mse"](), [nrmse()]), {}
    nothing = torch.zeros(2, 1, dtype=torch.bool)
    columns.add(sums, torch.ones(2, 1, 3), nothing, torch.ones(2, 1, 3), None)
    assert columns.values(sums) == {"nrmse": None}
