"""Modules as torch.nn.Module: arguments, optimisers, state dicts, copies, moves."""

import copy
import io
import subprocess
import sys

import pytest
import torch
from torch import nn

import snaprun
from snaprun.cells import LSTM
from snaprun.rules import BPTT, SnAp
from snaprun.sparsity import Diagonal, Magnitude
from tests.cases import rng
from tests.nn.test_step import graded, refused


def outputs(rnn: snaprun.nn.Recurrent, steps: int = 4) -> torch.Tensor:
    """What a module says to a fixed stream of one lane."""
    state, found = rnn.initial_state(1), []
    for x_BA in torch.randn(steps, 1, rnn.input_size, generator=rng()).to(rnn.theta_l0):
        h, state = rnn(x_BA, state)
        h.sum().backward()
        found.append(h.detach())
    return torch.cat(found)


def test_the_weights_are_those_of_a_run_with_the_same_seed():
    from snaprun.cells import GRU
    from snaprun.model.network import Architecture
    from snaprun.sparsity import Uniform

    rnn = snaprun.nn.GRU(4, [9, 5], sparsity=0.6, seed=2)
    network = Architecture(GRU(), [9, 5], Uniform(0.6), hidden=0).build(4, 2, seed=2)
    assert torch.equal(torch.cat([*rnn.parameters()]), network.theta)
    assert (rnn.num_layers, rnn.hidden_size) == (2, 5)


def test_words_and_objects_choose_the_same():
    words = dict(rule="snap2", sparsity="diagonal")
    args = dict(rule="snap", rule_args={"n": 2}, sparsity="diagonal", sparsity_args={"level": 0})
    made = dict(rule=SnAp(2), sparsity=Diagonal())
    found = [outputs(snaprun.nn.LSTM(3, 5, **given)) for given in (words, args, made)]
    found.append(outputs(snaprun.nn.Recurrent(3, 5, cell=LSTM(), **words)))
    found.append(outputs(snaprun.nn.Recurrent(3, 5, cell="lstm", **words)))
    assert all(torch.equal(one, found[0]) for one in found)


@pytest.mark.parametrize("rule", ["snap1", "rtrl", "uoro", "rflo"])
def test_every_parameter_gets_a_gradient(rule):
    rnn = snaprun.nn.GRU(3, 6, 2, rule=rule, sparsity=0.3)
    outputs(rnn)
    assert all((p.grad != 0).all() for p in rnn.parameters())


def test_frozen_weights_want_no_gradient_and_hand_it_down():
    rnn = snaprun.nn.GRU(3, 6, rule="frozen")
    x = torch.ones(1, 3, requires_grad=True)
    h, _ = rnn(x, rnn.initial_state(1))
    h.sum().backward()
    assert not any(p.requires_grad for p in rnn.parameters())
    assert (x.grad != 0).any()


@pytest.mark.parametrize("kind", ["RNN", "GRU"])
def test_an_encoder_a_module_and_a_head_learn_together(kind):
    """The target is the first input of the step before, which only memory gives."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(2, 6), nn.Tanh())
    rnn, head = getattr(snaprun.nn, kind)(6, 32, rule="snap1", sparsity=0.5), nn.Linear(32, 1)
    model = nn.ModuleDict({"encoder": encoder, "rnn": rnn, "head": head})
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    before = encoder[0].weight.clone()
    state, losses = rnn.initial_state(16), []
    x_TBA = torch.randint(0, 2, (800, 16, 2), generator=rng()).float()
    for t in range(1, len(x_TBA)):
        h, state = rnn(encoder(x_TBA[t]), state)
        loss = (head(h) - x_TBA[t - 1, :, :1]).square().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    assert sum(losses[-50:]) < 0.1 * sum(losses[:50])
    assert not torch.equal(encoder[0].weight, before)


@pytest.mark.parametrize("optimiser", [torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop])
def test_any_optimiser_steps(optimiser):
    rnn = snaprun.nn.GRU(3, 5)
    before = rnn.theta_l0.detach().clone()
    outputs(rnn)
    optimiser(rnn.parameters(), lr=0.1).step()
    assert not torch.equal(rnn.theta_l0, before)


def test_a_state_dict_comes_back_from_a_file():
    rnn, other = snaprun.nn.GRU(3, 5, 2, seed=1), snaprun.nn.GRU(3, 5, 2, seed=2)
    file = io.BytesIO()
    torch.save(nn.Sequential(rnn).state_dict(), file)
    file.seek(0)
    nn.Sequential(other).load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(outputs(rnn), outputs(other))


@pytest.mark.parametrize("assign", [False, True])
def test_a_state_dict_with_another_mask_is_taken(assign):
    rnn, other = snaprun.nn.GRU(3, 5, sparsity=0.75), snaprun.nn.GRU(3, 5, sparsity=0.2)
    state = rnn.initial_state(1)
    outputs(rnn)
    rnn.load_state_dict(other.state_dict(), assign=assign)
    assert rnn.theta_l0.shape == other.theta_l0.shape
    refused("state='State'", rnn, torch.ones(1, 3), state)
    assert torch.equal(outputs(rnn), outputs(other))
    assert torch.equal(graded(rnn), graded(other))


def test_the_same_mask_again_leaves_a_state_in_use():
    rnn = snaprun.nn.GRU(3, 5)
    state = rnn.initial_state(1)
    rnn.load_state_dict(rnn.state_dict())
    rnn(torch.ones(1, 3), state)


@pytest.mark.parametrize("wrong", ["size", "biases", "slots", "theta", "kind", "no tensor"])
def test_a_wrong_state_dict_changes_nothing(wrong):
    rnn = snaprun.nn.GRU(3, 5)
    own = copy.deepcopy(rnn.state_dict())
    other = snaprun.nn.GRU(3, 6 if wrong == "size" else 5, sparsity=0.2).state_dict()
    live_MKJ = other["mask_l0"]
    if wrong == "biases":
        live_MKJ[0, 0, -1] = False
        other["theta_l0"] = other["theta_l0"][:-1]
    if wrong == "slots":  # n_x has no recurrent weights
        live_MKJ[2, 0, 0] = True
        other["theta_l0"] = torch.zeros(int(live_MKJ.sum()))
    if wrong == "theta":
        other["theta_l0"] = other["theta_l0"][:-1]
    if wrong == "kind":
        other["mask_l0"] = live_MKJ.float()
    if wrong == "no tensor":
        other["mask_l0"] = 3
    with pytest.raises(RuntimeError, match="mismatch"):
        rnn.load_state_dict(other)
    assert all(torch.equal(own[name], now) for name, now in rnn.state_dict().items())
    outputs(rnn)


def test_a_copy_goes_its_own_way():
    rnn = snaprun.nn.GRU(3, 5, rule="uoro")
    other = copy.deepcopy(rnn)
    assert torch.equal(outputs(rnn), outputs(other))
    assert torch.equal(graded(rnn), graded(other))  # the noise is copied, too
    with torch.no_grad():
        other.theta_l0.zero_()
    assert rnn.theta_l0.any()


def test_a_module_is_pickled_whole():
    rnn, file = snaprun.nn.LSTM(3, 5, 2, rule="uoro"), io.BytesIO()
    torch.save(rnn, file)
    file.seek(0)
    other = torch.load(file, weights_only=False)
    assert torch.equal(outputs(rnn), outputs(other))
    assert torch.equal(graded(rnn), graded(other))


@pytest.mark.parametrize("cast", [nn.Module.double, lambda rnn: rnn.to(torch.float64)])
def test_a_cast_module_computes_in_float64(cast):
    rnn = snaprun.nn.GRU(3, 5, 2, rule="rtrl")
    before = outputs(rnn)
    after = outputs(cast(rnn))
    assert after.dtype == torch.float64
    torch.testing.assert_close(after.float(), before, rtol=0, atol=1e-5)
    assert rnn.mask_l0.dtype == torch.bool


def test_autocast_does_not_reach_the_step():
    found = []
    for enabled in (False, True):
        rnn = snaprun.nn.GRU(3, 5, rule="snap2")
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            found += [outputs(rnn), graded(rnn)]
    assert torch.equal(found[0], found[2])
    assert torch.equal(found[1], found[3])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("rule", ["snap1", "rtrl", "uoro", "rflo"])
def test_on_a_cuda_device(rule):
    rnn = snaprun.nn.GRU(3, 5, 2, rule=rule, dtype="float64")
    other = copy.deepcopy(rnn).to("cuda")
    torch.testing.assert_close(outputs(other).cpu(), outputs(rnn), rtol=0, atol=1e-12)
    torch.testing.assert_close(graded(other).cpu(), graded(rnn), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("said", "given"),
    [
        ("train a module of torch.nn", dict(rule="bptt")),
        ("train a module of torch.nn", dict(rule="tbptt8")),
        ("train a module of torch.nn", dict(rule=BPTT())),
        ("feedback='random'", dict(rule="rflo_random")),
        ("feedback='random'", dict(rule="rflo", rule_args={"feedback": "random"})),
        ("rule='foo'", dict(rule="foo")),
        ("n=0", dict(rule="snap0")),
        ("m is not a key", dict(rule="snap", rule_args={"m": 2})),
        ("sparsity=1.5", dict(sparsity=1.5)),
        ("sparsity='magnitude'", dict(sparsity="magnitude")),
        ("stays as it is drawn", dict(sparsity=Magnitude())),
        ("stays as it is drawn", dict(sparsity="deepr")),
        ("input_size=0", dict(input_size=0)),
        ("hidden_size=[4, 0]", dict(hidden_size=[4, 0])),
        ("hidden_size=[]", dict(hidden_size=[])),
        ("hidden_size=2.5", dict(hidden_size=2.5)),
        ("hidden_size=True", dict(hidden_size=True)),
        ("num_layers=65", dict(num_layers=65)),
        ("hidden_size=abc", dict(hidden_size="abc")),
        ("num_layers=3", dict(hidden_size=[4, 4], num_layers=3)),
        ("the number of hidden_size=[4, 5]", dict(hidden_size=[4, 5], num_layers=3)),
        ("num_layers=0", dict(num_layers=0)),
        ("dtype='float16'", dict(dtype="float16")),
        ("dtype='bfloat16'", dict(dtype=torch.bfloat16)),
        ("device='nowhere'", dict(device="nowhere")),
        ("influence='foo'", dict(influence="foo")),
        ("seed=-1", dict(seed=-1)),
    ],
)
def test_a_mistake_is_told_in_a_line(said, given):
    call = {"input_size": 3, "hidden_size": 4, **given}
    refused(said.replace("=abc", "='abc'"), lambda: snaprun.nn.GRU(**call))


def test_a_wrong_batch_or_dtype_is_told_in_a_line():
    rnn = snaprun.nn.GRU(3, 4)
    refused("batch=0", rnn.initial_state, 0)
    refused("batch=2.5", rnn.initial_state, 2.5)
    refused("dtype=torch.bfloat16", rnn.bfloat16().initial_state, 1)
    refused("alpha", lambda: snaprun.nn.RNN(3, 4, alpha=0.0))


def test_torch_is_imported_when_a_module_is_asked_for():
    code = "import sys, snaprun; a = 'torch' in sys.modules; snaprun.nn.GRU; sys.exit(a)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_program_that_ends_before_backward_says_nothing():
    program = """
import snaprun, torch
rnn = snaprun.nn.GRU(3, 4)
h, state = rnn(torch.ones(2, 3), rnn.initial_state(2))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_cost_of_rates_is_refused():
    with pytest.raises(ValueError, match="rate_cost"):
        snaprun.nn.Recurrent(3, 4, cell="alif", cell_args={"rate_cost": 1.0})
