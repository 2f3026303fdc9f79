"""What the bindings of the native engine refuse, and what they hand out."""

import threading

import pytest
import torch

from snaprun.cells import GRU, LSTM
from snaprun.checks import UserError
from snaprun.engine.native import NativeEngine, supports
from snaprun.engine.optim import SGD, Adam, RMSprop
from snaprun.rules import BPTT, UORO, Frozen, SnAp
from snaprun.tasks import Batch
from tests.cases import LeakyReLU, rng
from tests.engine.test_native_engine import A, O, batches, engines, native, network


def test_arrays_that_share_memory_are_refused():
    ours, _ = engines(lambda: network(GRU(), 9), SnAp(1), Adam(), 1, 3)
    (batch, *_) = batches(3, 5, 1)
    theta, readout = ours._parameters()
    shared = torch.zeros(theta.numel() + 40, dtype=torch.float64)
    shared[: theta.numel()] = theta
    rest = (batch.inputs, None, batch.targets, None, batch.mask, batch.resets, None)
    nats = shared[theta.numel() - 1 :][: batch.mask.numel()].view_as(batch.mask)
    with pytest.raises(ValueError, match="theta and losses share memory"):
        ours._engine.run(shared[: theta.numel()], readout, *rest, nats, True)
    bias = readout[1]
    with pytest.raises(ValueError, match="a readout parameter and a readout parameter share"):
        ours._engine.update(theta, [readout[0], bias, readout[2], readout[1][: len(readout[3])]])


def test_indices_that_change_while_it_runs_are_those_of_the_start():
    """Another thread writes rubbish over inputs and targets all the time."""
    (batch, *_) = batches(3, 60, "sequence")
    steps = 2000
    long = Batch(
        *(x.repeat(steps // 10, 1) for x in (batch.inputs, batch.targets)),
        batch.mask.repeat(steps // 10, 1),
        batch.resets.repeat(steps // 10, 1),
    )
    expected = engines(lambda: network(GRU(), 9), SnAp(1), SGD(lr=1e-3), 1, 3)[0].run(long)
    ours, _ = engines(lambda: network(GRU(), 9), SnAp(1), SGD(lr=1e-3), 1, 3)
    begun, done = threading.Event(), threading.Event()
    inputs, targets = long.inputs.clone(), long.targets.clone()

    def spoil():
        begun.wait()
        while not done.is_set():
            inputs.fill_(2**40)
            targets.fill_(-(2**40))

    thread = threading.Thread(target=spoil)
    thread.start()
    # The run begins before the other thread can: it needs the GIL, which the core lets go of.
    begun.set()
    try:
        got = ours.run(Batch(inputs, targets, long.mask, long.resets))
    except ValueError:  # it came first: refused, as any bad index
        got = expected
    finally:
        done.set()
        thread.join()
    assert torch.equal(got, expected)


def test_what_it_hands_out_are_copies():
    ours, _ = engines(lambda: network(LSTM(), 9), BPTT(), Adam(), "sequence", 3)
    (first, *more) = batches(3, 5, "sequence")
    ours.run(first.piece(0, 4))
    seen = ours._engine.buffers()
    kept = {name: tensor.clone() for name, tensor in seen.items()}
    ours.run(first.piece(4, 99))
    for batch in more:
        ours.run(batch)
    assert all(torch.equal(seen[name], kept[name]) for name in kept)
    with pytest.raises(ValueError, match="state is missing"):
        ours._engine.fill({})
    wrong = ours._engine.buffers()
    wrong["state"] = wrong["state"][:1].clone()
    with pytest.raises(ValueError, match="state has another shape or type"):
        ours._engine.fill(wrong)


def test_a_size_beyond_the_indices_is_told_as_such():
    with pytest.raises(UserError, match=r"lanes times units, inputs or outputs are 2\^30 or more"):
        NativeEngine(
            network(GRU(), units=64),
            Frozen(),
            Adam(),
            lanes=1 << 24,
            update_every=1,
            noise=rng(),
        )


def test_says_what_it_cannot_train():
    class Mine(SnAp):
        pass

    gru = network(GRU())
    assert supports(gru, SnAp(1), Adam()) is None
    assert "LeakyReLU" in (supports(network(LeakyReLU()), SnAp(1), Adam()) or "")
    assert "Mine" in (supports(gru, Mine(1), Adam()) or "")
    assert "RMSprop" in (supports(gru, SnAp(1), RMSprop()) or "")
    with pytest.raises(ValueError, match="RMSprop"):
        NativeEngine(gru, SnAp(1), RMSprop(), lanes=3, update_every=1, noise=rng())


def test_refuses_bad_batches():
    ours, _ = engines(lambda: network(GRU()), UORO(), Adam(), 1, 3)
    (good, *_) = batches(3, 5, 1)

    def refused(error, **changed):
        with pytest.raises(error):
            ours.run(Batch(**(vars(good) | changed)))

    refused(ValueError, inputs=good.inputs + A)
    refused(ValueError, inputs=good.inputs - 9)
    refused(ValueError, targets=good.targets + O)
    refused(ValueError, targets=good.targets[:, :2])
    refused(ValueError, mask=good.mask[:4])
    refused(ValueError, inputs=torch.zeros(11, 3, A + 1))
    refused(TypeError, mask=good.mask.long())
    refused(TypeError, targets=good.targets.int())
    refused(TypeError, inputs=good.inputs.int())
    theta = ours.network.theta
    wrong = (theta.detach()[:-1], theta.detach().float(), theta.detach().repeat(2)[::2], None)
    for bad, error in zip(wrong, (ValueError, TypeError, TypeError, TypeError), strict=True):
        readout = [p.detach() for p in ours.network.readout.parameters]
        noise = torch.ones(11, 3, 1, 7, dtype=torch.int8)
        rest = (good.inputs, None, good.targets, None, good.mask, good.resets, noise)
        with pytest.raises(error):
            ours._engine.run(bad, readout, *rest, torch.zeros(11, 3).double(), True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("unit", [99]),
        ("source", [-1]),
        ("slot", [0]),
        ("rows", [0]),
        ("columns", [10**6]),
        ("units", 0),
        ("sources", 3),
        ("row_begin", [0, 5]),
        ("entry_row", [9999]),
    ],
)
def test_refuses_bad_patterns(name, value):
    from snaprun.influence.native import block_fields, layout_fields

    core = network(GRU()).core
    pattern = layout_fields(core) | block_fields(core.pattern(1))
    config = {
        "pattern": pattern,
        "cell": "gru",
        "rule": "influence",
        "loss": "softmax",
        "outputs": O,
        "hidden": 0,
        "lanes": 3,
        "threads": 1,
        "update_every": 1,
        "optimiser": "sgd",
        "momentum": 0.0,
    }
    native.Engine64(config)
    with pytest.raises((ValueError, TypeError)):
        native.Engine64(config | {"pattern": pattern | {name: value}})
