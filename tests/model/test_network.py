"""What a seed decides of a network, and its parameters on disk."""

import pytest
import torch

from snaprun.cells import GRU, LSTM
from snaprun.model.network import Architecture
from snaprun.sparsity import Dense, Diagonal, Uniform
from tests.cases import close


def network(sparsity=None, seed=0, dtype=torch.float64, cell=None, hidden=5):
    architecture = Architecture(cell or GRU(), 7, sparsity or Uniform(level=0.6), hidden)
    return architecture.build(3, 4, seed, dtype)


def test_a_seed_decides_all():
    one, same, other = network(seed=1), network(seed=1), network(seed=2)
    for a, b, c in zip(one.parameters, same.parameters, other.parameters, strict=True):
        assert a.equal(b)
        assert not a.equal(c)
    assert one.core.layout.live_MKJ.equal(same.core.layout.live_MKJ)
    assert not one.core.layout.live_MKJ.equal(other.core.layout.live_MKJ)


@pytest.mark.parametrize(
    "sparsity", [Uniform(level=0.3), Uniform(level=0.9), Uniform(share_slots=True), Diagonal()]
)
def test_the_initial_draw_is_the_same_for_every_mask(sparsity):
    dense, sparse = network(Dense()), network(sparsity)
    for a, b in zip(dense.readout.parameters, sparse.readout.parameters, strict=True):
        assert a.equal(b)
    live_MKJ = sparse.core.layout.live_MKJ
    full_MKJ, kept_MKJ = dense.weights(), sparse.weights()
    for part, fan_in in ((slice(0, 7), 7), (slice(7, 10), 3)):
        live = live_MKJ[:, :, part]
        root = live.sum(2, keepdim=True).double().sqrt()
        close((kept_MKJ[:, :, part] * root)[live], full_MKJ[:, :, part][live] * fan_in**0.5)


def test_float32_is_the_rounded_float64():
    single, double = network(dtype=torch.float32), network()
    assert single.dtype == torch.float32
    for a, b in zip(single.parameters, double.parameters, strict=True):
        assert a.equal(b.float())


def test_weights_are_theta_at_the_live_entries():
    built = network(cell=LSTM())
    layout = built.core.layout
    assert layout.gather(built.weights()).equal(built.theta)
    assert not built.weights()[~layout.live_MKJ].any()
    assert built.theta.numel() == layout.size


@pytest.mark.parametrize("hidden", [0, 5])
def test_state_goes_there_and_back(hidden):
    saved, loaded = network(seed=1, hidden=hidden), network(seed=1, hidden=hidden)
    for parameter in saved.parameters:
        parameter += 1.5
    loaded.load_state_dict({name: x.clone() for name, x in saved.state_dict().items()})
    for a, b in zip(saved.parameters, loaded.parameters, strict=True):
        assert a.equal(b)


def test_another_mask_is_not_loaded():
    with pytest.raises(ValueError, match="mask"):
        network(seed=1).load_state_dict(network(seed=2).state_dict())
