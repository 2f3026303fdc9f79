"""Modules of torch.nn become ours and back, with the same outputs."""

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import snaprun
from tests.cases import close, rng
from tests.nn.test_step import KINDS, refused

CASES = [(kind, layers) for kind in KINDS for layers in (1, 2, 3)]


def made(kind: str, layers: int) -> nn.RNNBase:
    torch.manual_seed(1)
    return KINDS[kind](4, 9, layers, dtype=torch.float64)


def summed(module: nn.RNNBase) -> dict[str, torch.Tensor]:
    """The weights of a module; of its biases, the sums that alone matter."""
    found = {k: x for k, x in module.state_dict().items() if "bias" not in k}
    for layer in range(module.num_layers):
        bias, more = (getattr(module, f"{name}_l{layer}") for name in ("bias_ih", "bias_hh"))
        found[f"bias_l{layer}"] = bias + more
        if isinstance(module, nn.GRU):
            found[f"n_l{layer}"] = torch.stack((bias[18:], more[18:]))
    return found


@pytest.mark.parametrize(("kind", "layers"), CASES)
def test_there_and_back_is_equal_to_the_bit(kind, layers):
    theirs = made(kind, layers)
    ours = snaprun.nn.from_torch(theirs)
    back = ours.to_torch()
    assert type(back) is type(theirs)
    want, got = summed(theirs), summed(back)
    assert want.keys() == got.keys()
    assert all(torch.equal(want[name], got[name]) for name in want)
    again = snaprun.nn.from_torch(back).state_dict()
    assert again.keys() == ours.state_dict().keys()
    assert all(torch.equal(again[name], own) for name, own in ours.state_dict().items())


@pytest.mark.parametrize(("kind", "layers"), CASES)
@pytest.mark.parametrize("sparsity", [0, 0.75])
def test_the_outputs_are_those_of_torch(kind, layers, sparsity):
    ours = getattr(snaprun.nn, kind)(4, 9, layers, sparsity=sparsity, dtype=torch.float64, seed=3)
    x_TBA = torch.randn(50, 5, 4, generator=rng(), dtype=torch.float64)
    state, found = ours.initial_state(5), []
    with torch.no_grad():
        for x_BA in x_TBA:
            h, state = ours(x_BA, state)
            found.append(h)
        want = ours.to_torch()(x_TBA)[0]
    close(torch.stack(found), want, 1e-12)


@pytest.mark.parametrize("permanent", [False, True])
def test_the_zeros_of_a_pruned_module_stay_zero(permanent):
    theirs = made("GRU", 2)
    for name in ("weight_ih_l0", "weight_hh_l0", "weight_hh_l1"):
        prune.l1_unstructured(theirs, name, amount=0.6)
        if permanent:
            prune.remove(theirs, name)
    zeros = {name: getattr(theirs, name) == 0 for name in ("weight_ih_l0", "weight_hh_l1")}
    ours = snaprun.nn.from_torch(theirs, rule="snap2")
    dead = round(0.6 * 27 * 4) + round(0.6 * 27 * 9)
    assert len(ours.theta_l0) == 27 * 4 + 27 * 9 + 9 * 4 - dead

    optimiser = torch.optim.Adam(ours.parameters(), weight_decay=0.1)
    state = ours.initial_state(2)
    for _ in range(3):
        h, state = ours(torch.ones(2, 4, dtype=torch.float64), state)
        h.square().sum().backward()
        optimiser.step()
        optimiser.zero_grad()
    back = ours.to_torch()
    for name, own in zeros.items():
        assert torch.equal(getattr(back, name) == 0, own)
        assert own.any()


def test_a_pruned_module_that_has_learned_since_counts_as_it_is():
    theirs = made("RNN", 1)
    prune.l1_unstructured(theirs, "weight_hh_l0", amount=0.5)
    with torch.no_grad():
        theirs.weight_hh_l0_orig.mul_(2)
    back = snaprun.nn.from_torch(theirs).to_torch()
    assert torch.equal(back.weight_hh_l0, theirs.weight_hh_l0_orig * theirs.weight_hh_l0_mask)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (nn.GRU(3, 4, bias=False), "bias=False"),
        (nn.GRU(3, 4, bidirectional=True), "bidirectional=True"),
        (nn.LSTM(3, 4, proj_size=2), "proj_size=2"),
        (nn.GRU(3, 4, 2, dropout=0.5), "dropout=0.5"),
        (nn.RNN(3, 4, nonlinearity="relu"), "nonlinearity='relu'"),
        (nn.GRU(3, 4).half(), "dtype"),
        (nn.Linear(3, 4), "module='Linear'"),
        (nn.GRUCell(3, 4), "module='GRUCell'"),
    ],
)
def test_what_cannot_become_ours_is_refused(module, said):
    refused(said, snaprun.nn.from_torch, module)


def test_what_cannot_become_torchs_is_refused():
    refused("alpha=0.5", snaprun.nn.RNN(3, 4, alpha=0.5).to_torch)
    refused("units=[5, 4]", snaprun.nn.GRU(3, [5, 4]).to_torch)
