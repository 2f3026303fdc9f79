"""BPTT within a budget of memory in the C++ engine: the gradient and losses of the full tape."""

import itertools
from dataclasses import replace

import pytest
import torch

from snaprun.engine.native import NativeEngine
from snaprun.engine.optim import SGD
from snaprun.engine.torch import TorchEngine
from snaprun.influence import choose
from snaprun.losses import LOSSES
from snaprun.model.network import Architecture
from snaprun.rules import BPTT
from snaprun.rules.schedule import peak
from snaprun.sparsity import Uniform
from snaprun.tasks import Batch
from tests.cases import close, rng
from tests.engine.test_native_engine import CELLS
from tests.engine.test_state import assert_equal

native = pytest.importorskip("snaprun._native")
A, O = 5, 4
STACK = (7, 4, 5)
POLICIES = ("mixed", "hidden", "internal")
LEAST = "2B"  # which is taken for the least possible
ENGINES = {"native": NativeEngine, "torch": TorchEngine}
# The weights stay as they are, bit by bit, and the momentum is a sum of the gradients.
STILL = SGD(lr=1e-300, momentum=0.9)
STILL32 = SGD(lr=1e-30, momentum=0.9)


def engine(
    rule,
    kind="native",
    *,
    cell="gru",
    units=7,
    lanes=3,
    every="sequence",
    hidden=6,
    loss="softmax",
    optimiser=STILL,
    dtype=torch.float64,
    lift=0.0,
):
    built = Architecture(CELLS[cell], units, Uniform(level=0.4), hidden)
    network = built.build(A, O, seed=4, dtype=dtype, loss=LOSSES[loss]())
    for parameter in network.parameters:
        parameter += lift
    network.theta *= 3 if CELLS[cell].spikes else 1  # so that units spike
    common = {"lanes": lanes, "update_every": every, "noise": rng(3)}
    if kind == "torch":
        common["backend"] = choose("torch")
    return ENGINES[kind](network, rule, optimiser, **common)


def batches(lanes, steps=13, count=2, *, one_hot=True, loss="softmax", dtype=torch.float64):
    """Sequences in which lanes begin anywhere, and steps without a target, the last two as well."""
    generator, made = rng(7), []
    for _ in range(count):
        resets = torch.rand(steps, lanes, generator=generator) < 0.08
        mask = torch.rand(steps, lanes, generator=generator) < 0.6
        mask[-2:] = mask[3:5] = False
        x = torch.randint(0, A, (steps, lanes), generator=generator)
        if not one_hot:
            x = torch.randn(steps, lanes, A, generator=generator, dtype=dtype)
        y = torch.randint(0, O, (steps, lanes), generator=generator) * mask
        if not LOSSES[loss].classes:
            y = (
                torch.rand(steps, lanes, O, generator=generator, dtype=dtype).round()
                * mask[..., None]
            )
        made.append(Batch(x, y, mask, resets))
    return made


def gradients(engine):
    """A weighted sum of the gradients of all updates: θ's, then those of the readout."""
    return engine.state_dict()["optimiser"]["momentum_buffer"]


def assert_same_gradients(got, want, bound=1e-12):
    for one, other in zip(gradients(got), gradients(want), strict=True):
        assert other.abs().max() > 0
        close(one, other, bound)


LANES, ONE_HOT = itertools.cycle((1, 3, 16)), itertools.cycle((True, False, True, True, False))
MEMORY = itertools.cycle((LEAST, 0.25, 0.4, 0.6, 1.0))
TRUNCATE, HIDDEN = itertools.cycle((None, None, None, 4)), itertools.cycle((0, 6, 6))
LOSS = itertools.cycle(LOSSES)
GRID = [
    (*case, next(LANES), next(ONE_HOT), next(MEMORY), next(TRUNCATE), next(HIDDEN), next(LOSS))
    for case in itertools.product(
        CELLS, POLICIES, ("sequence", 5), (7, STACK), (torch.float64, torch.float32)
    )
]
NAMES = (
    "cell", "policy", "every", "units", "dtype", "lanes", "one_hot", "memory", "truncate", "hidden",
    "loss",
)  # fmt: skip


@pytest.mark.parametrize(NAMES, GRID)
def test_losses_are_those_of_the_full_tape_and_gradients_nearly(
    cell, policy, every, units, dtype, lanes, one_hot, memory, truncate, hidden, loss
):
    double = dtype == torch.float64
    parts = {"cell": cell, "units": units, "lanes": lanes, "every": every, "hidden": hidden}
    parts |= {"loss": loss, "dtype": dtype, "optimiser": STILL if double else STILL32}
    whole = engine(BPTT(truncate=truncate), **parts)
    ours = engine(BPTT(memory, policy, truncate), **parts)
    for batch in batches(lanes, one_hot=one_hot, loss=loss, dtype=dtype):
        outputs = [torch.full((*batch.mask.shape, O), 7.0, dtype=dtype) for _ in range(2)]
        assert ours.run(batch, outputs[0]).equal(whole.run(batch, outputs[1]))
        assert outputs[0].equal(outputs[1])
    ours.update()
    whole.update()
    assert ours.state_dict()["state"].equal(whole.state_dict()["state"])
    assert_same_gradients(ours, whole, 1e-12 if double else 1e-5)
    assert (ours.updates, ours.longest_window) == (whole.updates, whole.longest_window)


@pytest.mark.parametrize("truncate", [None, 1, 5])
@pytest.mark.parametrize("memory", [None, LEAST, 0.3])
@pytest.mark.parametrize(
    ("cell", "units", "lanes", "every", "one_hot"),
    [("gru", 7, 3, "sequence", True), ("lstm", STACK, 9, 8, False), ("leaky", STACK, 1, 7, True)],
)
def test_trains_as_the_torch_engine(cell, units, lanes, every, one_hot, memory, truncate):
    parts = {"cell": cell, "units": units, "lanes": lanes, "every": every}
    parts["optimiser"] = SGD(lr=0.3, momentum=0.5)
    ours = engine(BPTT(memory, truncate=truncate), **parts)
    theirs = engine(BPTT(memory, truncate=truncate), "torch", **parts)
    for batch in batches(lanes, count=3, one_hot=one_hot):
        close(ours.run(batch), theirs.run(batch), 1e-12)
    for got, want in zip(ours.network.parameters, theirs.network.parameters, strict=True):
        close(got.detach(), want.detach(), 1e-12)
    assert ours.forwards == theirs.forwards
    assert ours.updates == theirs.updates > 0


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("memory", [LEAST, 0.1, 0.3, 1.0])
@pytest.mark.parametrize(("lanes", "dtype"), [(3, torch.float64), (16, torch.float32)])
def test_counts_its_forwards_and_keeps_within_its_budget(policy, memory, lanes, dtype):
    rule = BPTT(memory, policy)
    ours = engine(rule, cell="lstm", lanes=lanes, dtype=dtype, optimiser=STILL32)
    schedule = rule.schedule(29, *ours.state_bytes)
    for batch in batches(lanes, 29, 2):
        ours.run(batch)
    assert ours.forwards == 2 * schedule.forwards(29)
    assert ours.rule_bytes == peak(schedule.plan(29), *ours.state_bytes) <= schedule.budget
    if memory == 1.0 and policy != "hidden":
        assert ours.forwards == 2 * 29


def test_a_window_without_targets_repeats_nothing():
    ours = engine(BPTT(LEAST))
    batch = batches(3)[0]
    before = [p.clone() for p in ours.network.parameters]
    losses_TB = ours.run(replace(batch, mask=torch.zeros_like(batch.mask)))
    assert not losses_TB.any()
    assert (ours.forwards, ours.updates, ours.steps) == (13, 0, 0)
    assert all(x.equal(y) for x, y in zip(before, ours.network.parameters, strict=True))


STOPS = [
    ("gru", 7, 3, "sequence", LEAST, None, True),
    ("lstm", STACK, 1, 5, 0.5, None, False),
    ("leaky", 7, 16, 8, 0.35, 3, True),
]
STOP_NAMES = ("cell", "units", "lanes", "every", "memory", "truncate", "one_hot")


def worked(start, data, other=None):
    """The losses of an engine that stops after every unit of work, and the engine that ends.

    After every unit the state goes to an engine that `other` gives, which goes on.
    """
    losses, at, work = [], start, 0
    for batch in data:
        begun = at.begun(batch)
        while not at.done(begun):
            assert at.advance(begun, 1) == 1
            work += 1
            if other is not None:
                saved = at.state_dict()
                at = other(work)
                at.load_state_dict(saved)
                if type(at) is NativeEngine and other(0) is None:
                    assert_equal(at.state_dict(), saved)
        losses.append(begun.losses_TB)
    return losses, at, work


@pytest.mark.parametrize(STOP_NAMES, STOPS)
def test_goes_on_bit_by_bit_after_every_unit_of_work(
    cell, units, lanes, every, memory, truncate, one_hot
):
    rule, parts = BPTT(memory, truncate=truncate), {"cell": cell, "units": units, "lanes": lanes}
    parts |= {"every": every, "optimiser": SGD(lr=0.3, momentum=0.5)}
    data = batches(lanes, 11, 2, one_hot=one_hot)
    whole = engine(rule, **parts)
    want = [whole.run(batch) for batch in data]
    losses, ended, work = worked(
        engine(rule, **parts), data, lambda n: engine(rule, **parts, lift=0.1) if n else None
    )
    assert all(x.equal(y) for x, y in zip(losses, want, strict=True))
    assert_equal(ended.state_dict(), whole.state_dict())
    ends = 22 // (every if isinstance(every, int) else 11)
    reversed_steps = ends * (every if isinstance(every, int) else 11)
    assert work == whole.forwards + reversed_steps


@pytest.mark.parametrize(STOP_NAMES, STOPS)
def test_the_engines_go_on_from_each_other(cell, units, lanes, every, memory, truncate, one_hot):
    rule, parts = BPTT(memory, truncate=truncate), {"cell": cell, "units": units, "lanes": lanes}
    parts |= {"every": every, "optimiser": SGD(lr=0.3, momentum=0.5)}
    data = batches(lanes, 11, 2, one_hot=one_hot)
    whole = engine(rule, **parts)
    want = [whole.run(batch) for batch in data]
    kinds = itertools.cycle(("torch", "native", "native", "native", "native", "native"))
    losses, ended, _ = worked(
        engine(rule, **parts), data, lambda n: engine(rule, next(kinds) if n else "torch", **parts)
    )
    for got_TB, want_TB in zip(losses, want, strict=True):
        close(got_TB, want_TB, 1e-12)
    for got, other in zip(ended.network.parameters, whole.network.parameters, strict=True):
        close(got.detach(), other.detach(), 1e-12)
    assert ended.forwards == whole.forwards


FOREIGN = BPTT("9kB"), BPTT("9kB", "internal")


@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize("work", [1, 8, 13, 16, 20, 24])
def test_an_open_window_keeps_its_plan_in_an_engine_that_plans_otherwise(kind, work):
    """Another version may plan otherwise, as another engine does, whose states are padded."""
    parts, data = {"cell": "lstm", "every": 13, "optimiser": SGD(lr=0.3)}, batches(3, 13, 2)
    whole = engine(FOREIGN[0], "torch", **parts)
    want = [whole.run(batch) for batch in data]
    first, after = engine(FOREIGN[0], "torch", **parts), engine(FOREIGN[1], kind, **parts)
    plans = [
        x.schedule(13, *e.state_bytes).plan(13).tolist()
        for x, e in zip(FOREIGN, (first, after), strict=True)
    ]
    assert plans[0] != plans[1]
    begun = first.begun(data[0])
    first.advance(begun, work)
    after.load_state_dict(first.state_dict())
    while not after.done(begun):
        after.advance(begun, 1)
    assert after.forwards == FOREIGN[0].schedule(13, *first.state_bytes).forwards(13)
    close(begun.losses_TB, want[0], 1e-12)
    close(after.run(data[1]), want[1], 1e-12)
    one, two = (
        x.schedule(13, *e.state_bytes) for x, e in zip(FOREIGN, (first, after), strict=True)
    )
    assert after.forwards == one.forwards(13) + two.forwards(13)
    for got, other in zip(after.network.parameters, whole.network.parameters, strict=True):
        close(got.detach(), other.detach(), 1e-12)


@pytest.mark.parametrize("kind", ENGINES)
def test_an_open_window_with_the_plan_of_another_engine_may_end_early(kind):
    parts, (batch, _) = {"cell": "lstm", "every": 30, "optimiser": SGD(lr=0.3)}, batches(3)
    first, after = engine(FOREIGN[0], "torch", **parts), engine(FOREIGN[1], kind, **parts)
    first.run(batch)
    after.load_state_dict(first.state_dict())
    for one in (first, after):
        one.update()
    for got, other in zip(after.network.parameters, first.network.parameters, strict=True):
        close(got.detach(), other.detach(), 1e-12)
