"""The exponential average of the weights against its closed form."""

import pytest
import torch

from snaprun.engine.prune import prune
from snaprun.tasks import Copy
from tests.cases import close, rng
from tests.engine.engines import EITHER, build

DECAY = 0.9  # of tests.engine.engines.build
CASES = [
    # Rule, update_every, optimiser: those that take the readout along layer by layer, or clip.
    ("snap 1", 1, "adam"),
    ("snap 2", 1, "momentum"),
    ("bptt", 7, "sgd"),
    ("frozen", 1, "adam"),
]


def pieces(lanes, steps):
    """One step at a time, the first one without a target, the third one, too."""
    batch = Copy(fixed_length=steps // 2, bpc_scope="all").batch(lanes, rng(2))
    batch.mask[0] = batch.mask[2] = False
    batch.targets[0] = batch.targets[2] = 0
    return [batch.piece(t, 1) for t in range(len(batch.mask))]


def values(engine):
    return [p.detach().clone() for p in engine.network.parameters]


@pytest.mark.parametrize(("rule", "every", "optimiser"), CASES)
@pytest.mark.parametrize("engine", EITHER)
def test_it_is_the_weighted_mean_of_the_weights_after_every_update(engine, rule, every, optimiser):
    ours = build(engine, rule, every, "gru", optimiser, 3, torch.float64, "copy")
    assert ours.average() is None
    seen = []
    for piece in pieces(3, 42):
        before = ours.updates
        ours.run(piece)
        if ours.updates > before:
            seen.append(values(ours))
        else:
            assert (ours.average() is None) == (not seen)
    assert len(seen) >= 6
    ages = torch.arange(len(seen) - 1, -1, -1, dtype=torch.float64)
    weights = DECAY**ages
    for got, *history in zip(ours.average(), *seen, strict=True):
        want = torch.tensordot(weights, torch.stack(history), 1) / weights.sum()
        close(got, want, 1e-12)


@pytest.mark.parametrize("engine", EITHER)
def test_training_is_the_same_with_and_without(engine):
    averaged = build(engine, "snap 1", 1, "lstm", "adam", 3, torch.float32, "copy")
    plain = build(engine, "snap 1", 1, "lstm", "adam", 3, torch.float32, "copy", average=None)
    for piece in pieces(3, 20):
        assert torch.equal(averaged.run(piece), plain.run(piece))
    assert all(map(torch.equal, values(averaged), values(plain)))
    assert plain.average() is None
    assert "average" not in plain.state_dict()


@pytest.mark.parametrize("engine", EITHER)
def test_what_is_kept_does_not_move_with_the_engine(engine):
    ours = build(engine, "snap 1", 1, "gru", "adam", 3, torch.float64, "copy")
    first, *rest = pieces(3, 20)[3:]
    ours.run(first)
    kept = ours.average()
    frozen = [x.clone() for x in kept]
    for piece in rest:
        ours.run(piece)
    assert all(map(torch.equal, kept, frozen))
    assert not torch.equal(kept[0], ours.average()[0])
    # The network of the average computes with it.
    network = ours.network.at(ours.average())
    assert torch.equal(network.core.layout.gather(network.weights()), ours.average()[0])
    assert all(map(torch.equal, network.readout.parameters, ours.average()[1:]))


@pytest.mark.parametrize("engine", EITHER)
def test_pruning_keeps_the_average_of_live_weights(engine):
    ours = build(engine, "snap 1", 1, "gru", "adam", 3, torch.float64, "copy")
    for piece in pieces(3, 20):
        ours.run(piece)
    before, core = ours.average(), ours.network.core
    live_MKJ = core.layout.live_MKJ.clone()
    live_MKJ[0, :, :3] = False
    prune(ours, live_MKJ)
    kept_P = core.layout.gather(live_MKJ)
    assert 0 < kept_P.sum() < len(kept_P)
    after = ours.average()
    assert torch.equal(after[0], before[0][kept_P])
    assert all(map(torch.equal, after[1:], before[1:]))
