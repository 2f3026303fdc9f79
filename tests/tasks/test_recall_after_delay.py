"""Recall after a delay, each step compared with the definition."""

import math

import pytest
import torch

from snaprun.checks import UserError
from snaprun.losses import Columns, Sums
from snaprun.tasks import TASKS, Batch
from snaprun.tasks.recall_after_delay import RecallAfterDelay
from tests.cases import rng

BLANK, CUE = 8, 9
scopes = pytest.mark.parametrize("scope", ["all", "recall"])


def measured(task: RecallAfterDelay, batch: Batch, outputs_TBO=None, held_out=False):
    columns, sums = Columns(task.loss, task.measures, held_out), Sums()
    columns.add(sums, batch.targets, batch.mask, outputs_TBO, batch.baseline)
    return columns.values(sums)


@scopes
@pytest.mark.parametrize(("delay", "n"), [(1, 10), (2, 10), (13, 10), (4, 1), (2, 5)])
def test_symbols_silence_cue_recall(delay, n, scope):
    task = RecallAfterDelay(delay=delay, scope=scope, symbols=n)
    batch = task.batch(30, rng())
    assert len(batch.mask) == task.steps() == delay + 2 * n
    seen = set()
    for inputs, targets, mask in zip(batch.inputs.T, batch.targets.T, batch.mask.T, strict=True):
        symbols = inputs[:n].tolist()
        seen |= set(symbols)
        assert inputs[n:].tolist() == [BLANK] * (delay - 1) + [CUE] + [BLANK] * n
        silent = BLANK if scope == "all" else 0  # a step without a target has the target 0
        assert targets.tolist() == [silent] * (delay + n) + symbols
        assert mask.tolist() == [scope == "all"] * (delay + n) + [True] * n
    assert seen == set(range(8))
    assert batch.resets.nonzero().tolist() == [[0, lane] for lane in range(30)]


def test_a_scalar_is_the_class_over_9():
    one_hot, scalar = (RecallAfterDelay(5, code=code) for code in ("onehot", "scalar"))
    a, b = one_hot.batch(7, rng()), scalar.batch(7, rng())
    assert (one_hot.inputs, scalar.inputs, RecallAfterDelay.inputs) == (10, 1, 10)
    assert b.inputs.shape == (25, 7, 1)
    assert torch.equal(b.inputs[..., 0], a.inputs / 9)
    assert torch.equal(b.targets, a.targets)


@scopes
@pytest.mark.parametrize("delay", [1, 30])
def test_the_baseline_has_no_memory(delay, scope):
    task = RecallAfterDelay(delay, scope)
    batch = task.batch(50, rng())
    found = measured(task, batch)
    steps = delay + 20 if scope == "all" else 10
    assert found["baseline_cross_entropy"] == pytest.approx(10 * math.log(8) / steps)
    assert found["baseline_recall_cross_entropy"] == pytest.approx(math.log(8))
    zeros = float(
        (batch.targets[-10:] == 0).double().mean()
    )  # all symbols are equally likely to it
    assert found["baseline_accuracy"] == pytest.approx(zeros)
    assert 0.05 < zeros < 0.2


@scopes
def test_accuracy_and_cross_entropy_are_those_of_the_recall(scope):
    """They are counted step by step, for outputs that are silent at every fifth step."""
    task = RecallAfterDelay(3, scope)
    batch = task.batch(4, rng())
    outputs = torch.randn(23, 4, 10, generator=rng(1), dtype=torch.float64)
    outputs[::5, :, BLANK] = 9
    right, nats = [], []
    for t in range(13, 23):
        for lane in range(4):
            symbol, logits = int(batch.inputs[t - 13, lane]), outputs[t, lane].tolist()
            right.append(logits.index(max(logits)) == symbol)
            nats.append(math.log(sum(map(math.exp, logits))) - logits[symbol])
    found = measured(task, batch, outputs)
    assert found["accuracy"] == pytest.approx(sum(right) / 40)
    assert found["recall_cross_entropy"] == pytest.approx(sum(nats) / 40)
    whole = task.loss.value(outputs.flatten(0, 1), batch.targets.flatten(), batch.mask.flatten())
    mean = float(whole.sum() / batch.mask.sum())
    assert (mean == pytest.approx(sum(nats) / 40)) == (scope == "recall")
    assert measured(task, batch, outputs, True)["validation_accuracy"] == found["accuracy"]


def test_silence_alone_has_no_accuracy():
    task = RecallAfterDelay(3)
    batch = task.batch(2, rng()).piece(0, 5)
    assert measured(task, batch, torch.zeros(5, 2, 10))["accuracy"] is None


def test_chance_is_what_an_untrained_network_loses():
    assert RecallAfterDelay(100, "all").chance == pytest.approx(math.log(10))
    assert RecallAfterDelay(100, "recall").chance == pytest.approx(math.log(8))


def test_held_out_sequences_are_1024_of_their_own():
    task = RecallAfterDelay(2)
    batches = list(task.validation(None))
    symbols = torch.cat([batch.inputs[:10] for batch in batches], 1).T
    assert len(symbols) == 1024
    assert len(set(map(tuple, symbols.tolist()))) == 1024  # of 8^10: that two are equal is rare
    assert not any(torch.equal(task.batch(64, rng()).inputs, batch.inputs) for batch in batches)
    assert sum(batch.mask.shape[1] for batch in task.validation(220)) == 10


def test_what_runs_are_compared_by_is_the_recall():
    declared = [metric.key for metric in TASKS["recall_after_delay"].declared]
    assert declared[:4] == [
        "validation_accuracy",
        "accuracy",
        "validation_recall_cross_entropy",
        "recall_cross_entropy",
    ]


@pytest.mark.parametrize(
    ("key", "value"),
    [("delay", 0), ("delay", -1), ("scope", "recal"), ("code", "one_hot"), ("code", None)],
)
def test_a_value_out_of_range_is_refused(key, value):
    with pytest.raises(UserError, match=f"^task.{key}={value!r} is not accepted: expected "):
        RecallAfterDelay(**{key: value})
