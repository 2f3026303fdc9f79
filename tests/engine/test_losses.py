"""Every loss in both engines: the same numbers, and the outputs that they come from."""

import itertools
from dataclasses import replace

import pytest
import torch

from snaprun.cells import GRU
from snaprun.engine.native import supports
from snaprun.engine.optim import SGD, Adam
from snaprun.engine.torch import TorchEngine
from snaprun.influence import choose
from snaprun.losses import LOSSES
from snaprun.model.network import Architecture
from snaprun.rules import Frozen, SnAp
from snaprun.sparsity import Uniform
from tests.cases import close, each_once, rng
from tests.engine import test_native_engine as of_softmax
from tests.engine.engines import EITHER, build, hidden_units
from tests.engine.test_native_engine import RULES, O, compare, engines

KNOWN = [name for name in LOSSES if name in of_softmax.KNOWN["losses"]]


def network(loss, hidden=9, dtype=torch.float64):
    built = Architecture(GRU(), 7, Uniform(level=0.5), hidden)
    return built.build(of_softmax.A, O, seed=4, dtype=dtype, loss=LOSSES[loss]())


def batches(loss, lanes, updates, every=1, one_hot=False):
    """Those of the test of softmax, with numbers as targets where the loss wants them."""
    generator, made = rng(8), of_softmax.batches(lanes, updates, every, one_hot)
    if LOSSES[loss].classes:
        return made
    shape = (*made[0].mask.shape, O)
    drawn = [torch.rand(shape, generator=generator, dtype=torch.float64) for _ in made]
    if loss == "sigmoid":
        drawn = [y.round() for y in drawn]
    pairs = zip(made, drawn, strict=True)
    return [replace(batch, targets=y * batch.mask[..., None]) for batch, y in pairs]


LANES, HIDDEN = itertools.cycle((3, 1, 17)), itertools.cycle((9, 0))


@pytest.mark.parametrize(("loss", "rule"), each_once(itertools.product(KNOWN, RULES)))
def test_the_core_agrees_after_two_hundred_updates(loss, rule):
    hidden, lanes = next(HIDDEN), next(LANES)
    hidden = hidden_units(RULES[rule], hidden)
    ours, theirs = engines(lambda: network(loss, hidden), RULES[rule], Adam(lr=3e-3), 1, lanes)
    compare(ours, theirs, batches(loss, lanes, 320, one_hot=hidden == 0))
    assert ours.updates >= 200


@pytest.mark.parametrize("loss", KNOWN)
@pytest.mark.parametrize("every", [7, "sequence"])
def test_the_core_agrees_over_windows_with_clipping(loss, every):
    ours, theirs = engines(
        lambda: network(loss), RULES["snap 1"], SGD(0.2, momentum=0.9, clip=0.1), every, 3
    )
    compare(ours, theirs, batches(loss, 3, 20, every))


@pytest.mark.parametrize("loss", KNOWN)
@pytest.mark.parametrize("lanes", [1, 3, 8])
def test_both_engines_hand_out_the_outputs_that_the_loss_is_of(loss, lanes):
    ours, theirs = engines(lambda: network(loss), SnAp(1), Adam(lr=0.01), 1, lanes)
    for batch in batches(loss, lanes, 40):
        given = torch.full((*batch.mask.shape, O), 7.0, dtype=torch.float64)
        wanted = given.clone()
        losses_TB = ours.run(batch, given)
        theirs.run(batch, wanted)
        close(given, wanted, of_softmax.BOUND)
        for t, mask_B in enumerate(batch.mask):
            again_B = LOSSES[loss]().value(given[t], batch.targets[t], mask_B)
            if mask_B.any():
                close(again_B, losses_TB[t], 1e-12)
            else:
                assert (given[t] == 7.0).all()


@pytest.mark.parametrize("engine", EITHER)
def test_asking_for_outputs_changes_nothing_and_pieces_give_the_same(engine):
    made = [build(engine, "snap 2", 1, "gru", "adam", 3, torch.float64, "copy") for _ in range(3)]
    plain, whole, pieces = made
    for batch in of_softmax.batches(3, 20, 1, inputs=4):
        outputs = [torch.zeros(*batch.mask.shape, 4, dtype=torch.float64) for _ in range(2)]
        losses_TB = plain.run(batch)
        assert torch.equal(whole.run(batch, outputs[0]), losses_TB)
        for first in range(0, len(batch.mask), 4):
            pieces.run(batch.piece(first, 4), outputs[1][first : first + 4])
        assert torch.equal(*outputs)
    assert torch.equal(plain.network.theta, pieces.network.theta)


@pytest.mark.parametrize("loss", ["mse", "sigmoid"])
def test_single_precision_takes_numbers_of_any_precision(loss):
    ours, theirs = engines(lambda: network(loss, dtype=torch.float32), SnAp(1), SGD(lr=0.05), 1, 3)
    compare(ours, theirs, batches(loss, 3, 40), 2e-4)


def test_an_array_for_outputs_has_to_be_of_their_shape_and_their_own():
    ours, _ = engines(lambda: network("mse"), SnAp(1), Adam(), 1, 3)
    (batch, *_) = batches("mse", 3, 5)
    with pytest.raises(ValueError, match="outputs"):
        ours.run(batch, torch.zeros(*batch.mask.shape, O + 1, dtype=torch.float64))
    with pytest.raises(TypeError):
        ours.run(batch, torch.zeros(*batch.mask.shape, O))
    with pytest.raises(ValueError, match="outputs and values share memory"):
        ours.run(batch, batch.targets)


def test_a_loss_that_the_core_does_not_know_is_left_to_torch():
    class Mine(LOSSES["mse"]):
        pass

    net = network("mse")
    net.readout.loss = Mine()
    assert supports(net, SnAp(1), Adam()) == "it does not know the loss Mine"
    engine = TorchEngine(
        net, Frozen(), SGD(), lanes=3, update_every=1, noise=rng(), backend=choose("torch")
    )
    assert engine.run(batches("mse", 3, 5)[0]).any()
