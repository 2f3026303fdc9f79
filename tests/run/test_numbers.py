"""Runs of numbers: rows, resuming, damage, and batches that do not fit."""

import math
from dataclasses import replace

import pytest
import torch

from snaprun.align import AlignOptions, Probe, candidates
from snaprun.cells import GRU
from snaprun.checks import UserError
from snaprun.config import rule as rule_of
from snaprun.engine.evaluate import HeldOut, mean_loss
from snaprun.engine.optim import SGD, Adam
from snaprun.losses import LOSSES, Accuracy, SigmoidCrossEntropy
from snaprun.model.network import Architecture
from snaprun.rules import SnAp
from snaprun.run import checkpoint
from snaprun.run import launch as running
from snaprun.run.divergence import Watch
from snaprun.run.dry import rehearse
from snaprun.run.options import TrainOptions
from snaprun.run.validate import validate
from snaprun.sparsity import Uniform
from snaprun.store import read_run
from snaprun.tasks import Copy, checked
from tests.cases import in_pairs, rng
from tests.engine.engines import EITHER, crossed
from tests.of_numbers import Bits, Echo, Sign
from tests.run import test_resume as resume
from tests.run.test_loop import launch as in_torch
from tests.run.test_resume import assert_equal, broken, launch, rows, stopped

TASKS = {"echo": Echo, "bits": Bits, "sign": Sign}


@pytest.mark.parametrize(
    ("engine", "rule", "task"),
    in_pairs(
        ((*case, task) for case in crossed(rule=resume.RULES)[1] for task in ("echo", "bits")), of=3
    ),
)
def test_a_broken_run_equals_the_whole_one(rule, engine, task, tmp_path, monkeypatch):
    choices = {"rule": rule, "engine": engine, "task": task, "every": 2, "average": 0.9}
    choices["dtype"] = "float32"
    launch(tmp_path / "whole", **choices)
    count, _ = broken(tmp_path / "broken", monkeypatch, 9, **choices)
    assert count > 3
    assert_equal(tmp_path / "whole", tmp_path / "broken")


@pytest.mark.parametrize("engine", EITHER)
def test_a_run_learns_and_its_rows_are_what_its_task_names(engine, tmp_path):
    parts = resume.parts(task="echo", rule="snap 2", engine=engine, tokens=6000, log_every=900)
    parts = replace(parts, optimiser=Adam(0.02))
    summary = running.run(parts, tmp_path, {}, bar=False)
    found = rows(tmp_path)
    train = [row for row in found if "mse" in row]
    held_out = [row for row in found if "validation_mse" in row]
    assert set(train[0]) - {"tokens", "updates"} == {
        "mse",
        "nrmse",
        "baseline_mse",
        "baseline_nrmse",
    }
    assert {key for key in held_out[0] if "validation" in key} == {
        "validation_mse",
        "validation_nrmse",
        "baseline_validation_mse",
        "baseline_validation_nrmse",
    }
    for row in (train[-1], held_out[-1]):
        key = "mse" if "mse" in row else "validation_mse"
        assert row[key] < 0.8 * row[f"baseline_{key}"] < 1.2  # whose mean is the variance, 1
        ratio = row[key] / row[f"baseline_{key}"]
        nrmse = key.replace("mse", "nrmse")
        assert row[nrmse] ** 2 / row[f"baseline_{nrmse}"] ** 2 == pytest.approx(ratio, rel=1e-6)
    assert summary.status == "finished"
    run = read_run(tmp_path)
    assert run.summary is not None
    assert {metric.key for metric in run.summary.declared} == set(summary.metrics)


def test_a_measure_sees_a_held_out_batch_as_a_whole():
    """Though the network runs it in pieces of 16 steps."""

    class Steps(Accuracy):
        def sums(self, outputs_TBO, targets, mask_TB):
            return [float(len(mask_TB)), 1.0]

    class Long(Sign):
        measures = (Steps(),)

        def validation(self, tokens):
            return (Sign(length).batch(3, rng()) for length in (40, 7))

    task = Long(40)
    net = Architecture(GRU(), 5, Uniform(0.4), 0).build(task.inputs, task.outputs, 0)
    for in_core in (True, False):
        found = validate(task, net, None, in_core, pause=lambda: None)
        assert found["validation_accuracy"] == (40 + 7) / 2


def test_rows_are_of_the_batches_since_the_last_one(tmp_path):
    """Against the outputs of a network that does not learn, batch by batch."""
    task, net = (
        Echo(),
        Architecture(GRU(), 5, Uniform(0.5), 0).build(3, 2, 0, torch.float64, loss=Echo.loss),
    )
    options = TrainOptions(tokens=56, lanes=2, log_every=28, eval_every=56)
    _, found, _ = in_torch(tmp_path, task, SnAp(1), options, SGD(lr=1e-30), net)
    from snaprun.seeding import stream

    data = stream(0, "data")
    for row in [row for row in found if "mse" in row]:
        batches = [task.batch(2, data) for _ in range(2)]
        own = HeldOut(net, task.measures, False).metrics(batches)
        assert row["mse"] == pytest.approx(own["validation_mse"], rel=1e-6)
        assert row["nrmse"] == pytest.approx(own["validation_nrmse"], rel=1e-6)
        assert row["baseline_nrmse"] == pytest.approx(own["baseline_validation_nrmse"], rel=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_both_engines_evaluate_alike(task):
    made = TASKS[task]()
    net = Architecture(GRU(), 5, Uniform(0.5), 6).build(3, 2, 0, torch.float64, loss=made.loss)
    native, torchs = (HeldOut(net, made.measures, core) for core in (True, False))
    batches = list(made.validation(None))
    assert native.metrics(batches) == pytest.approx(torchs.metrics(batches), rel=1e-10)
    assert native(batches) == pytest.approx(mean_loss(net, batches), rel=1e-12)
    pieces = [batch.piece(first, 3) for batch in batches for first in range(0, 7, 3)]
    assert native.metrics(pieces) == pytest.approx(native.metrics(batches), rel=1e-10)
    if task == "sign":
        out = [Accuracy().sums(_outputs(net, b), b.targets, b.mask) for b in batches]
        right, all_of_them = map(sum, zip(*out, strict=True))
        assert native.metrics(batches)["validation_accuracy"] == right / all_of_them


def _outputs(net, batch):
    state_BCK, found = net.core.initial_state(batch.mask.shape[1], net.dtype), []
    for x_BA in batch.inputs:
        state_BCK, _ = net.core.step(net.weights(), state_BCK, x_BA)
        found.append(net.readout.outputs(state_BCK[:, 0]))
    return torch.stack(found)


@pytest.mark.parametrize("engine", EITHER)
def test_a_run_that_diverges_has_no_measure_that_is_no_number(engine, tmp_path):
    summary = launch(
        tmp_path, task="echo", rule="snap 1", engine=engine, optimiser="infinite", dtype="float32"
    )
    assert summary.status == "diverged"
    text = (tmp_path / "metrics.jsonl").read_text() + (tmp_path / "summary.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    run = read_run(tmp_path)
    assert run.summary is not None
    assert all(math.isfinite(metric.worst) for metric in run.summary.declared)


def test_a_run_far_above_the_best_constant_guess_has_blown_up():
    watch, task = Watch(), Echo()
    watch.count(10.0, 1, chance=task.chance, tokens=7, updates=1)
    found = watch.verdict(1, task.chance, task.loss)
    assert found is not None
    assert found.because == "mse stayed above 4, 4 times chance, from"
    assert Bits().chance == pytest.approx(2 * math.log(2))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda c: c["begun"].pop("outputs_TBO"), "course.begun.outputs_TBO"),
        (lambda c: c["begun"]["batch"]["targets"].fill_(math.nan), "course.begun.batch.targets"),
        (lambda c: c["begun"]["batch"].update(baseline=torch.zeros(3)), "batch.baseline"),
        (lambda c: c.update(measured={"nrmse": [1.0, 2.0]}), "course.measured"),
        (lambda c: c.update(measured={"nrmse": 3}), "course.measured"),
        (lambda c: c.update(measured={"bpc": [1.0]}), "course.measured"),
        (lambda c: c.update(measured=3), "course.measured"),
    ],
)
def test_a_damaged_checkpoint_is_refused_in_one_line(damage, said, tmp_path, monkeypatch):
    stopped(tmp_path / "run", monkeypatch, task="echo")
    saved = checkpoint.load(tmp_path / "run")
    assert saved is not None
    assert saved["course"]["begun"]["steps"] > 0
    damage(saved["course"])
    resume.reseal(tmp_path / "run", saved)
    with pytest.raises(UserError, match=said) as refused:
        launch(tmp_path / "run", task="echo")
    assert "\n" not in str(refused.value)


def test_checkpoints_of_other_tasks_are_as_they_were(tmp_path, monkeypatch):
    stopped(tmp_path / "run", monkeypatch)
    saved = checkpoint.load(tmp_path / "run")
    assert saved is not None
    course = saved["course"]
    assert {"bits", "targets", "begun"} < course.keys()
    assert not {"measured", "loss"} & course.keys()
    assert course["begun"].keys() == {"batch", "nats_TB", "steps"}
    assert course["begun"]["batch"].keys() == {"inputs", "targets", "mask", "resets", "ends"}


@pytest.mark.parametrize("rule", ["snap 1", "bptt"])
@pytest.mark.parametrize("task", ["echo", "bits"])
def test_align_and_a_dry_run_take_numbers(task, rule, tmp_path):
    parts = resume.parts(task=task, rule=rule, dtype="float32", engine="auto")
    assert "parameters: " in rehearse(parts)
    options = AlignOptions(["rtrl", "uoro"], points=3, draws=8)
    probe = Probe(options, parts, candidates(options.rules, rule_of), "own")
    running.run(parts, tmp_path, {}, bar=False, probe=probe)
    looks = [row for row in rows(tmp_path) if any(key.startswith("align") for key in row)]
    assert len(looks) == 3
    exact = [value for row in looks for key, value in row.items() if "rtrl" in key and "cos" in key]
    assert exact
    assert all(value == pytest.approx(1.0, abs=1e-5) for value in exact)


# A wrong batch -------------------------------------------------------------------------------


class Wrong(Echo):
    """Echo's batches with some tensors changed."""

    def __init__(self, **changed):
        super().__init__()
        self.changed = changed

    def batch(self, lanes, generator):
        batch = super().batch(lanes, generator)
        return replace(batch, **{k: of(getattr(batch, k)) for k, of in self.changed.items()})


def spoiled(x):
    x[4, 0, 1] = math.nan
    return x


class Softmax(Wrong):
    loss = LOSSES["softmax"]()
    measures = ()


class Sigmoid(Wrong):
    loss = SigmoidCrossEntropy()
    measures = ()


MISTAKES = [
    (Softmax(), r"targets of Softmax='torch.float32 \(7, 3, 2\)' .* expected torch.int64 \(7, 3\)"),
    (Softmax(targets=lambda y: y[..., 0].long() * 0 + 2), r"classes in \[0, 2\)"),
    (Softmax(targets=lambda y: y[..., 0].long() * 0 - 1), r"classes in \[0, 2\)"),
    (Sigmoid(), r"targets of Sigmoid=.* … .* expected numbers in \[0, 1\]"),
    (Wrong(targets=lambda y: y[..., 0]), r"expected floats \(7, 3, 2\), as MeanSquaredError"),
    (Wrong(targets=lambda y: y.long()), "torch.int64"),
    (Wrong(targets=spoiled), r"targets of Wrong=nan .* finite numbers .*\[4, 0, 1\]"),
    (Wrong(inputs=spoiled), "inputs of Wrong=nan"),
    (Wrong(inputs=lambda x: x[..., :2]), "inputs of Wrong="),
    (Wrong(inputs=lambda x: x[..., 0].long()), "one_hot=False and inputs=3 say"),
    (Wrong(baseline=spoiled), "baseline of Wrong=nan"),
    (Wrong(baseline=lambda y: y[:3]), "baseline of Wrong="),
    (Wrong(mask=lambda m: m.long()), "mask of Wrong="),
    (Wrong(mask=lambda m: m[:, :2]), r"expected a shape \(T, 3\)"),
    (Wrong(resets=lambda m: m[:4]), "resets of Wrong="),
]


@pytest.mark.parametrize(("task", "said"), MISTAKES)
def test_a_batch_that_does_not_fit_is_refused_in_one_line(task, said, tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "Echo", lambda: task)
    for start in (
        lambda: launch(tmp_path, task="echo"),
        lambda: rehearse(resume.parts(task="echo")),
    ):
        with pytest.raises(UserError, match=said) as refused:
            start()
        assert "\n" not in str(refused.value)


def test_a_held_out_batch_is_checked_too(tmp_path, monkeypatch):
    class Late(Echo):
        def validation(self, tokens):
            return iter([replace(Wrong(targets=spoiled).batch(2, torch.Generator()))])

    monkeypatch.setattr(resume, "Echo", Late)
    with pytest.raises(UserError, match="targets of Late=nan"):
        launch(tmp_path, task="echo")


def test_indices_out_of_range_are_refused():
    batch = Copy().batch(2, torch.Generator())
    batch.inputs[0] = 4
    with pytest.raises(UserError, match=r"inputs of Copy='. … 4' .* indices in \[0, 4\)"):
        checked(Copy(), batch)


def test_a_number_that_goes_missing_late_is_refused_too(tmp_path, monkeypatch):
    class Late(Echo):
        drawn = 0

        def batch(self, lanes, generator):
            batch, self.drawn = super().batch(lanes, generator), self.drawn + 1
            if self.drawn == 4:
                spoiled(batch.inputs)
            return batch

    monkeypatch.setattr(resume, "Echo", Late)
    with pytest.raises(UserError, match="inputs of Late=nan"):
        launch(tmp_path, task="echo")
