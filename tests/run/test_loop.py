"""The training loop: rows, curriculum, validation, divergence, equal starts for all rules."""

import json
import math

import pytest
import torch

from snaprun.cells import GRU, LSTM, Vanilla
from snaprun.engine.evaluate import mean_loss
from snaprun.engine.native import NativeEngine
from snaprun.engine.optim import SGD, Adam
from snaprun.engine.torch import TorchEngine
from snaprun.influence import choose
from snaprun.model.network import Architecture
from snaprun.rules import BPTT, RULES, Frozen, SnAp
from snaprun.rules.bptt import stored_numbers
from snaprun.run.loop import Training
from snaprun.run.options import TrainOptions
from snaprun.run.progress import Progress
from snaprun.run.setting import Segments
from snaprun.run.signals import StopSignals
from snaprun.seeding import stream
from snaprun.sparsity import Magnitude, Uniform
from snaprun.store import RunWriter
from snaprun.tasks import Batch, CharLM, Copy, Task
from tests.cases import APART

FIXED = Uniform(0.5)


def network(inputs=4, outputs=4, seed=0, dtype=torch.float64, sparsity=FIXED):
    return Architecture(GRU(), 5, sparsity, 7).build(inputs, outputs, seed, dtype)


def launch(folder, task, rule, options, optimiser=None, net=None, sparsity=FIXED, kind=TorchEngine):
    net = net or network(task.inputs, task.outputs, sparsity=sparsity)
    engine = kind(
        net,
        rule,
        optimiser or Adam(),
        lanes=options.lanes,
        update_every=options.update_every,
        noise=stream(0, "noise"),
        backend=choose("torch"),
        average=options.average,
    )
    with (
        RunWriter(folder, {}) as writer,
        Progress("test", options.tokens, bar=False) as progress,
        StopSignals() as stop,
    ):
        writer.begin()
        summary = Training(
            task,
            sparsity,
            engine,
            options,
            seed=0,
            writer=writer,
            progress=progress,
            stop=stop,
            extras={"a": 1},
            segments=Segments({"threads": 1}),
        ).run()
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return summary, rows, net


class Losses(Task):
    """Constant inputs, and a note of every bpc that the loop tells."""

    inputs = outputs = 4

    def __init__(self, targets=True):
        self.told = []
        self.targets = targets

    def batch(self, lanes, generator):
        ones = torch.ones(5, lanes, dtype=torch.int64)
        resets = torch.zeros(5, lanes, dtype=torch.bool)
        resets[0] = True
        return Batch(ones, ones, (ones * self.targets).bool(), resets)

    def observe(self, loss):
        self.told.append(loss)


def test_rows_average_the_batches_since_the_last_one(tmp_path):
    task = Losses()
    options = TrainOptions(tokens=100, lanes=2, log_every=20)
    _, rows, _ = launch(tmp_path, task, SnAp(1), options)
    assert [row["tokens"] for row in rows] == [20, 40, 60, 80, 100]
    assert len(task.told) == 10
    for row, pair in zip(rows, zip(task.told[::2], task.told[1::2], strict=True), strict=True):
        assert row["bpc"] == pytest.approx(sum(pair) / 2, rel=1e-12)
    assert [row["updates"] for row in rows] == [10, 20, 30, 40, 50]


def test_the_first_bpc_is_that_of_the_untrained_network(tmp_path):
    """Losses are taken before the update, here one a sequence."""
    task, net = Losses(), network()
    batch = task.batch(2, stream(0, "data"))
    expected = mean_loss(net, [batch])
    launch(tmp_path, task, BPTT(), TrainOptions(10, 2, "sequence"), net=net)
    assert task.told[0] == pytest.approx(expected, rel=1e-12)


def test_a_run_ends_with_the_first_batch_that_reaches_its_tokens(tmp_path):
    summary, rows, _ = launch(tmp_path, Losses(), SnAp(1), TrainOptions(tokens=31, lanes=3))
    assert summary.tokens == rows[-1]["tokens"] == 45
    assert summary.status == "finished"
    assert json.loads((tmp_path / "summary.json").read_text())["a"] == 1


def test_the_mask_follows_its_schedule_and_the_summary_the_last_mask(tmp_path, caplog):
    sparsity = Magnitude(level=0.8, begin=12, end=52, every=20)
    halfway = 0.8 * (1 - 0.5**3)
    for tokens, level in ((30, 0.0), (40, halfway), (50, halfway), (60, 0.8), (90, 0.8)):
        folder, options = tmp_path / str(tokens), TrainOptions(tokens, 2, log_every=10)
        caplog.clear()
        summary, rows, net = launch(folder, Losses(), SnAp(2), options, sparsity=sparsity)
        assert ("less than sparsity.end" in caplog.text) == (level < 0.8)
        assert rows[-1]["sparsity"] == pytest.approx(level, abs=1e-15)
        live_MKJ = net.core.layout.live_MKJ
        for slot, has in enumerate(((1, 1), (1, 1), (0, 1), (1, 0))):
            for part, there in zip((slice(0, 5), slice(5, -1)), has, strict=True):
                entries = live_MKJ[slot, :, part]
                assert entries.sum() == there * round((1 - level) * entries.numel())
        cost = SnAp(2).cost(net.core, 1)
        assert summary.cost["macs_per_token"] == cost.macs
        assert summary.cost["state_bytes_analytic"] == cost.state * 2 * 8
        assert summary.extras["parameters"]["recurrent"] == net.core.layout.size == live_MKJ.sum()
    assert {row["sparsity"] for row in rows[:3]} == {0.0}
    assert "sparsity" not in launch(tmp_path / "fixed", Losses(), SnAp(1), options)[1][0]
    assert "sparsity.end" not in caplog.text


def test_batches_without_a_target_make_no_update(tmp_path):
    summary, rows, net = launch(tmp_path, Losses(targets=False), SnAp(1), TrainOptions(20, 2))
    assert summary.updates == 0
    assert rows[-1]["bpc"] is None
    assert torch.equal(net.theta, network().theta)


def test_validation_leaves_the_run_as_it_was(tmp_path):
    text = tmp_path / "text"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 40)
    bpcs = []
    for every in (200, 10_000):
        task = CharLM(str(text), crop=10)
        options = TrainOptions(tokens=600, lanes=4, eval_every=every, log_every=40)
        _, rows, _ = launch(tmp_path / str(every), task, SnAp(1), options, net=network(256, 256))
        bpcs.append([row["bpc"] for row in rows if "bpc" in row])
        validations = [row["tokens"] for row in rows if "validation_bpc" in row]
        assert validations == ([200, 400, 600] if every == 200 else [600])
    assert bpcs[0] == bpcs[1]


def test_mastery_of_the_copy_task_is_looked_at_while_training_and_at_the_end(tmp_path):
    found = []
    for average, every in ((None, 10_000), (None, 140), (0.9, 140)):
        options = TrainOptions(500, 4, eval_every=every, log_every=100, average=average)
        folder = tmp_path / f"{average}-{every}"
        summary, rows, net = launch(folder, Copy(threshold=2.05), SnAp(1), options)
        looks = [row["tokens"] for row in rows if "mastered" in row]
        assert looks[-1] == summary.tokens
        assert len(looks) == (1 if every == 10_000 else 4)
        found.append((looks[-1], summary.metrics["mastered"], summary.metrics["level"]))
        assert ("mastered_average" in summary.metrics) == (average is not None)
        # Anew, from the definition.
        task = Copy(fixed_length=summary.metrics["level"], threshold=2.05)
        good = [
            length
            for length in range(1, 2 * task.level + 2)
            if mean_loss(net, task._held_out_batches(length)) < 2.05
        ]
        assert summary.metrics["mastered"] == max(good, default=0) > 0
    assert found[0] == found[1] == found[2]


def test_bits_per_character_of_a_uniform_model_is_the_logarithm(tmp_path):
    text = tmp_path / "text"
    text.write_bytes(bytes(range(256)) * 20)
    net = network(256, 256)
    for parameter in net.readout.parameters:
        parameter.zero_()
    batches = CharLM(str(text), crop=16, valid_fraction=0.5).validation(None)
    assert mean_loss(net, batches) == pytest.approx(8.0, rel=1e-12)


@pytest.mark.parametrize("readout", [0, 7])
@pytest.mark.parametrize("cell", [GRU(), LSTM(), Vanilla(alpha=0.4)])
def test_the_core_computes_the_same_mean_loss(tmp_path, cell, readout):
    pytest.importorskip("snaprun._native")
    text = tmp_path / "text"
    text.write_bytes(bytes(range(256)) * 20)
    net = Architecture(cell, 9, FIXED, readout).build(256, 256, 1, torch.float64)
    before = [p.clone() for p in net.parameters]
    for mode in ("crops", "stream"):
        batches = list(CharLM(str(text), mode=mode, crop=13).validation(900))
        pieces = [batch.piece(t, 5) for batch in batches for t in (0, 5, 10)]
        expected = mean_loss(net, batches)
        assert mean_loss(net, pieces, in_core=True) == pytest.approx(expected, rel=1e-12)
    assert all(map(torch.equal, before, net.parameters))


def test_a_non_finite_loss_ends_the_run(tmp_path):
    options = TrainOptions(tokens=10_000, lanes=2, log_every=10)
    summary, rows, _ = launch(tmp_path, Losses(), SnAp(1), options, SGD(lr=1e200))
    assert summary.status == "diverged"
    at = summary.extras["diverged_at_token"]
    assert summary.tokens - 10 <= at < summary.tokens == rows[-1]["tokens"] < 10_000
    assert rows[-1]["bpc"] is None


@pytest.mark.parametrize("memory", [0.3, "2kB"])
def test_the_summary_tells_how_often_steps_are_repeated(memory, tmp_path):
    options = TrainOptions(tokens=19 * 4, lanes=4, update_every="sequence")
    summary, _, net = launch(tmp_path, Copy(fixed_length=9), BPTT(memory), options)
    hidden, internal = (4 * 8 * n for n in stored_numbers(net.core))
    schedule = BPTT(memory).schedule(19, hidden, internal)
    repeated = schedule.forwards(19) / 19
    assert repeated > 1
    assert summary.cost["forwards"] == pytest.approx(repeated, rel=1e-12)
    assert summary.cost["forwards_analytic"] == summary.cost["forwards"]
    assert summary.cost["state_bytes"] == summary.cost["state_bytes_analytic"] <= schedule.budget
    other, _, _ = launch(tmp_path / "full", Copy(fixed_length=9), BPTT(), options)
    assert "forwards" not in other.cost
    assert other.cost["macs_per_token"] < summary.cost["macs_per_token"]


def test_the_summary_counts_the_lanes_that_the_core_pads(tmp_path):
    pytest.importorskip("snaprun._native")
    options = TrainOptions(tokens=19 * 3, lanes=3, update_every="sequence")
    summary, _, _ = launch(tmp_path, Copy(fixed_length=9), BPTT("9kB"), options, kind=NativeEngine)
    assert 1 < summary.cost["forwards"] == summary.cost["forwards_analytic"]
    assert summary.cost["state_bytes"] == summary.cost["state_bytes_analytic"] <= 9000


def test_every_rule_starts_with_the_same_network_and_data(tmp_path):
    """Up to the first update nothing depends on the rule, if it does not add to the network."""
    first = set()
    for name, rule in RULES.items():
        if rule().reminder is not None or name in APART:
            continue
        task = Copy(fixed_length=3)
        options = TrainOptions(tokens=7 * 4, lanes=4, update_every="sequence")
        _, rows, _ = launch(tmp_path / name, task, rule(), options)
        first.add(rows[0]["bpc"])
    assert len(first) == 1
    assert math.isfinite(first.pop())


def test_frozen_learns_with_the_readout_alone(tmp_path):
    before = network()
    task = Losses()
    _, _, net = launch(tmp_path, task, Frozen(), TrainOptions(tokens=2000, lanes=2))
    assert torch.equal(net.theta, before.theta)
    assert task.told[-1] < 0.5 * task.told[0]


def test_the_measured_state_is_the_analytic_one_where_nothing_is_padded(tmp_path):
    options = TrainOptions(tokens=140, lanes=4, update_every="sequence")
    for name in ("bptt", "uoro", "rflo", "frozen"):
        summary, _, _ = launch(tmp_path / name, Copy(fixed_length=3), RULES[name](), options)
        measured, analytic = (summary.cost[key] for key in ("state_bytes", "state_bytes_analytic"))
        # BPTT keeps a credit only for the steps with a target: 3 of the 7.
        missing = 4 * 4 * 5 * 8 if name == "bptt" else 0
        assert measured == analytic - missing
