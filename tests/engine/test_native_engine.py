"""The native engine against the torch engine, its specification."""

import itertools
import sys
from functools import partial

import pytest
import torch

from snaprun.cells import GRU, LSTM, Vanilla
from snaprun.engine.adapters import adapter
from snaprun.engine.native import NativeEngine
from snaprun.engine.optim import OPTIMISERS as OPTIMISER_TYPES
from snaprun.engine.optim import SGD, Adam, AdamW
from snaprun.engine.torch import TorchEngine
from snaprun.influence import choose
from snaprun.model.network import Architecture
from snaprun.rules import BPTT, RFLO, RTRL, Frozen, SnAp
from snaprun.sparsity import Dense, Uniform
from snaprun.tasks import Batch
from tests import cases
from tests.cases import close, each_once, in_pairs, rng
from tests.engine.engines import hidden_units
from tests.engine.test_engine import SCHEDULES

native = pytest.importorskip("snaprun._native")
KNOWN = native.capabilities()

A, O = 5, 4
BOUND = 1e-9
CELLS = {name: cases.CELLS[name] for name in KNOWN["cells"] if name in cases.CELLS} | {
    "leaky": Vanilla(alpha=0.6)
}
OTHERS = ("snap 3", "bptt 0.3", "bptt 4")  # which is kept as SnAp-2 is, or not in C++
RULES = {  # those that take every window; SAB is tested apart
    name: rule
    for name, rule in cases.RULES.items()
    if adapter(rule) and name not in OTHERS and not rule.once_a_sequence
}
OPTIMISERS = {"adam": Adam(lr=0.01), "sgd": SGD(lr=0.05, momentum=0.9)}
OPTIMISERS |= {n: OPTIMISER_TYPES[n]() for n in KNOWN["optimisers"] if n not in OPTIMISERS}
EVERY = (1, 3, "sequence")


def network(cell, hidden=0, units=7, dtype=torch.float64, inputs=A, sparsity=None):
    built = Architecture(cell, units, sparsity or Uniform(level=0.5), hidden)
    return built.build(inputs, O, seed=4, dtype=dtype)


def batches(lanes, updates, every, one_hot=True, inputs=A):
    """Enough sequences for `updates` updates: missing targets, and lanes that begin anew."""
    generator, made = rng(7), []
    steps = 11 if every == "sequence" or updates * every < 60 else 50
    wanted = updates if every == "sequence" else updates * every // steps + 1
    for number in range(wanted):
        resets = torch.zeros(steps, lanes, dtype=torch.bool)
        if number % 4 == 0:
            resets[0] = True
        resets |= torch.rand(steps, lanes, generator=generator) < 0.03
        mask = torch.rand(steps, lanes, generator=generator) < 0.7
        if number % 3 == 0:
            mask[2:8] = False
        x = torch.randint(0, inputs, (steps, lanes), generator=generator)
        if not one_hot:
            x = torch.randn(steps, lanes, inputs, generator=generator)
        targets = torch.randint(0, O, (steps, lanes), generator=generator) * mask
        made.append(Batch(x, targets, mask, resets))
    return made


def engines(build, rule, optimiser, every, lanes, threads=1):
    ours = NativeEngine(
        build(), rule, optimiser, lanes=lanes, update_every=every, noise=rng(3), threads=threads
    )
    theirs = TorchEngine(
        build(),
        rule,
        optimiser,
        lanes=lanes,
        update_every=every,
        noise=rng(3),
        backend=choose("torch"),
    )
    return ours, theirs


def compare(ours, theirs, data, bound=BOUND):
    for batch in data:
        close(ours.run(batch), theirs.run(batch), bound)
    for got, want in zip(ours.network.parameters, theirs.network.parameters, strict=True):
        close(got.detach(), want.detach(), bound)
    close(ours.state_dict()["state"], theirs.state_BCK, bound)
    assert ours.updates == theirs.updates > 0
    assert ours.longest_window == theirs.longest_window


LANES, HIDDEN = itertools.cycle((1, 3, 16, 17)), itertools.cycle((0, 9, 0, 9, 9))
ONE_HOT = itertools.cycle((True, False, False, True, False, True, True))
GRID = [
    (cell, rule, optimiser, every, next(LANES), next(HIDDEN), next(ONE_HOT))
    for cell, rule, optimiser, every in itertools.product(CELLS, RULES, OPTIMISERS, EVERY)
]


@pytest.mark.parametrize(
    ("cell", "rule", "optimiser", "every", "lanes", "hidden", "one_hot"), in_pairs(GRID, of=4)
)
def test_trains_as_the_torch_engine(cell, rule, optimiser, every, lanes, hidden, one_hot):
    ours, theirs = engines(
        lambda: network(CELLS[cell], hidden_units(RULES[rule], hidden)),
        RULES[rule],
        OPTIMISERS[optimiser],
        every,
        lanes,
    )
    compare(ours, theirs, batches(lanes, 25, every, one_hot))


@pytest.mark.parametrize(("cell", "rule"), each_once(itertools.product(["gru", "lstm"], RULES)))
def test_agrees_after_two_hundred_updates(cell, rule):
    ours, theirs = engines(
        partial(network, CELLS[cell], hidden_units(RULES[rule], 9)),
        RULES[rule],
        Adam(lr=3e-3),
        1,
        3,
    )
    compare(ours, theirs, batches(3, 240, 1))
    assert ours.updates >= 200


@pytest.mark.parametrize("hidden", [0, 9])
def test_without_a_leak_rflo_is_bptt_through_one_step(hidden):
    """In both engines, so that in panels their differences are the noise of rounding."""

    def build():
        return network(CELLS["vanilla"], hidden)

    ends = []
    for rule in (RFLO(), BPTT()):
        pair = engines(build, rule, Adam(lr=3e-3), 1, 3)
        for engine in pair:
            for batch in batches(3, 60, 1):
                engine.run(batch)
        ends += [engine.network.parameters for engine in pair]
    for other in ends[1:]:
        for got, want in zip(other, ends[0], strict=True):
            close(got.detach(), want.detach(), BOUND)
    start = zip(build().parameters, ends[0], strict=True)
    assert all(float((a - b).abs().max()) > 1e-3 for a, b in start)


@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize("clip", [1e-2, 0.3, 100.0])
@pytest.mark.parametrize("rule", ["snap 1", "bptt", "frozen"])
def test_clipping(rule, clip, every):
    optimiser = SGD(lr=0.2, momentum=0.9, clip=clip)
    ours, theirs = engines(lambda: network(GRU(), 9), RULES[rule], optimiser, every, 3)
    compare(ours, theirs, batches(3, 20, every))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@pytest.mark.parametrize("kind", [Adam, AdamW, SGD, partial(SGD, momentum=0.9)])
def test_a_learning_rate_follows_its_schedule(kind, schedule):
    ours, theirs = engines(
        lambda: network(GRU(), 9), RULES["snap 1"], kind(lr=0.05, **schedule), 1, 3
    )
    compare(ours, theirs, batches(3, 20, 1))


@pytest.mark.parametrize("lanes", [1, 3, 8, 16, 17, 24, 32])
@pytest.mark.parametrize(
    "sparsity",
    [Uniform(level=0.95), Dense(), Uniform(level=0.8)],
    ids=["sparse", "dense", "uniform"],
)
def test_sizes(lanes, sparsity):
    """Units without a live weight, many inputs taken by index, widths that fill no vector."""

    def build():
        return network(GRU(), 30, units=33, inputs=40, sparsity=sparsity)

    for rule in (SnAp(1), BPTT()):
        ours, theirs = engines(build, rule, Adam(), 2, lanes)
        compare(ours, theirs, batches(lanes, 10, 2, inputs=40))


@pytest.mark.parametrize("units", [7, (6, 5)], ids=str)
@pytest.mark.parametrize("rule", RULES)
def test_single_precision_stays_close(rule, units):
    ours, theirs = engines(
        lambda: network(LSTM(), hidden_units(RULES[rule], 9), units, torch.float32),
        RULES[rule],
        SGD(lr=0.05),
        1,
        5,
    )
    compare(ours, theirs, batches(5, 60, 1), 2e-4)


def test_windows_go_on_over_batches():
    for rule in (BPTT(), SnAp(2)):
        ours, theirs = engines(lambda: network(LSTM()), rule, Adam(), 17, 3)
        compare(ours, theirs, batches(3, 9, 17))


@pytest.mark.parametrize("rule", ["snap 1", "bptt", "rflo"])
def test_losses_that_are_not_finite_come_through(rule):
    ours, _ = engines(lambda: network(GRU(), 9), RULES[rule], SGD(lr=1e200), 1, 3)
    nats = torch.cat([ours.run(batch) for batch in batches(3, 60, 1)])
    assert not nats.isfinite().all()


def test_parameters_and_moments_are_those_of_pytorch():
    ours, theirs = engines(lambda: network(GRU(), 9), SnAp(1), Adam(), 1, 3)
    before = ours.network.theta.clone()
    (batch, *_) = batches(3, 20, 1)
    ours.run(batch), theirs.run(batch)
    assert not ours.network.theta.equal(before)
    for name, moments in ours.state_dict()["optimiser"].items():
        for parameter, moment in zip(theirs.network.parameters, moments, strict=True):
            close(moment, theirs.stepper.state[parameter][name], BOUND)


@pytest.mark.parametrize("units", [33, (20, 18)], ids=str)
def test_two_threads_train_as_one(units):
    def build():
        return network(LSTM(), units=units, sparsity=Uniform(level=0.3))

    one, _ = engines(build, RTRL(), Adam(), 1, 3)
    two, _ = engines(build, RTRL(), Adam(), 1, 3, threads=2)
    assert (one._engine.threads, two._engine.threads) == (1, 2)
    for batch in batches(3, 40, 1):
        assert torch.equal(two.run(batch), one.run(batch))
    assert engines(lambda: network(LSTM()), RTRL(), Adam(), 1, 3, threads=9)[0]._engine.threads == 1


def test_denormals_are_zero_in_the_core_alone():
    """The average of a weight that an update does not move is that weight."""
    tiny, half = sys.float_info.min, 0.5
    averages = []
    for kind in (NativeEngine, partial(TorchEngine, backend=choose("torch"))):
        net = network(GRU())
        net.theta.fill_(tiny * half)
        common = {"lanes": 3, "update_every": 1, "noise": rng(), "average": 0.9}
        engine = kind(net, Frozen(), SGD(), **common)
        engine.run(batches(3, 3, 1)[0])
        averages.append(engine.average()[0].unique().tolist())
        assert tiny * half > 0  # here they are what they were
    assert averages == [[0.0], [tiny * half]]
