"""A step of a module: the gradient of its rule, the exact derivative by x, and its states."""

import copy
import gc
import pickle
import re
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import snaprun
from snaprun.checks import UserError
from snaprun.engine.optim import Adam
from snaprun.engine.torch import TorchEngine
from snaprun.influence import choose
from snaprun.model.network import Network
from snaprun.nn.forms import live_weights
from snaprun.rules import LearningRule
from snaprun.seeding import stream
from snaprun.tasks import Batch
from tests.cases import FAST_BACKENDS, close, rng

KINDS = {"RNN": nn.RNN, "GRU": nn.GRU, "LSTM": nn.LSTM}
B, A, K, O = 3, 4, 7, 2  # lanes, inputs, units, outputs


def inputs(steps: int) -> torch.Tensor:
    return torch.randn(steps, B, A, generator=rng(1), dtype=torch.float64)


def torch_module(kind: str, layers: int) -> nn.RNNBase:
    torch.manual_seed(0)
    return KINDS[kind](A, K, layers, dtype=torch.float64)


def as_packed(ours: snaprun.nn.Recurrent, theirs: nn.RNNBase) -> dict[str, torch.Tensor]:
    """The gradient of a module of torch.nn in the order of our live weights; biases not summed."""
    graded = copy.deepcopy(theirs)
    with torch.no_grad():
        for own, from_ in zip(graded.parameters(), theirs.parameters(), strict=True):
            own.copy_(from_.grad)
        for name, own in graded.named_parameters():
            gates = own.chunk({"RNN": 1, "GRU": 3, "LSTM": 4}[type(theirs).__name__])
            for gate, part in enumerate(gates):
                # ∂L/∂b_ih = ∂L/∂b_hh where both are added to the same slot.
                if name.startswith("bias_hh") and not (len(gates) == 3 and gate == 2):
                    part.zero_()
    found = live_weights(ours.cell, graded)
    return {name: found[name] for name in found if name.startswith("theta")}


def graded(rnn: nn.Module) -> torch.Tensor:
    """The gradients of all parameters in one vector, none missing."""
    return torch.cat([p.grad.flatten() for p in rnn.parameters()])


@pytest.mark.parametrize("influence", FAST_BACKENDS)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_rtrl_sums_up_to_the_gradient_through_time(kind, layers, influence):
    theirs, x_TBA = torch_module(kind, layers), inputs(50)
    head = torch.randn(K, O, generator=rng(2), dtype=torch.float64)

    def loss(h):
        return (h @ head).square().mean()

    h_TBK, _ = theirs(x_TBA)
    sum(loss(h_TBK[t]) for t in range(50) if t % 3).backward()

    ours = snaprun.nn.from_torch(theirs, rule="rtrl", influence=influence)
    state = ours.initial_state(B)
    for t in range(50):
        h, state = ours(x_TBA[t], state)
        close(h.detach(), h_TBK[t].detach())
        if t % 3:
            loss(h).backward()
    want = as_packed(ours, theirs)
    for name, theta in ours.named_parameters():
        close(theta.grad, want[name], 1e-10)


@pytest.mark.parametrize("rule", ["snap1", "snap2", "uoro", "rflo", "rtrl"])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_rule_gives_the_gradient_of_the_engine(rule, layers):
    """The window of the engine is the whole sequence; its loss is a mean over targets."""
    rnn = snaprun.nn.GRU(A, K, layers, rule=rule, sparsity=0.6, dtype="float64", seed=5)
    theta = nn.Parameter(torch.cat([p.detach() for p in rnn.parameters()]), False)
    readout = engines_readout()
    network = Network(rnn._core, theta, readout)
    seen: list[torch.Tensor] = []
    engine = TorchEngine(
        network,
        watched(copy.deepcopy(rnn.rule), seen),
        Adam(),
        lanes=B,
        update_every=9,
        noise=stream(5, "noise"),
        backend=choose("auto"),
    )
    x_TBA, y_TBO = inputs(9), torch.randn(9, B, O, generator=rng(3), dtype=torch.float64)
    mask_TB = torch.rand(9, B, generator=rng(4)) < 0.7
    mask_TB[4] = False
    resets_TB = torch.zeros(9, B, dtype=torch.bool)
    resets_TB[0], resets_TB[6, 1] = True, True
    weights = [p.detach().clone() for p in readout.parameters]
    engine.run(Batch(x_TBA, y_TBO, mask_TB, resets_TB))

    state = rnn.initial_state(B)
    for t in range(9):
        if t == 6:
            state = rnn.reset(state, [False, True, False])
        h, state = rnn(x_TBA[t], state)
        if mask_TB[t].any():
            outputs_BO = F.linear(h, *weights)
            # The engine's own loss: over the outputs of a lane a mean, over lanes a sum.
            (outputs_BO - y_TBO[t])[mask_TB[t]].square().mean(1).sum().backward()
    close(graded(rnn), seen[0])


def engines_readout():
    from snaprun.losses import LOSSES
    from snaprun.model.readout import Readout

    return Readout(K, O, 0, rng(6), torch.float64, LOSSES["mse"]())


def watched(rule: LearningRule, seen: list[torch.Tensor]) -> LearningRule:
    """The rule, which also lists the gradients that it gives."""
    own = rule.gradient

    def gradient(state):
        found, state = own(state)
        seen.append(found.clone())
        return found, state

    rule.gradient = gradient
    return rule


@pytest.mark.parametrize(("kind", "layers"), [("RNN", 1), ("GRU", 1), ("LSTM", 1), ("GRU", 3)])
def test_the_gradient_of_x_is_exact_for_the_step(kind, layers):
    theirs, x_TBA = torch_module(kind, layers), inputs(6)
    ours = snaprun.nn.from_torch(theirs, rule="snap1")
    state = ours.initial_state(B)
    memory = None
    with torch.no_grad():
        for t in range(5):
            _, state = ours(x_TBA[t], state)
            _, memory = theirs(x_TBA[t : t + 1], memory)
    credit = torch.randn(B, K, generator=rng(7), dtype=torch.float64)
    x, x_theirs = (x_TBA[5].clone().requires_grad_() for _ in range(2))
    (ours(x, state)[0] * credit).sum().backward()
    (theirs(x_theirs[None], memory)[0][0] * credit).sum().backward()
    close(x.grad, x_theirs.grad)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("rule", ["snap1", "frozen"])
def test_gradcheck_of_x(kind, rule):
    rnn = getattr(snaprun.nn, kind)(A, [5, K], rule=rule, sparsity=0.5, dtype="float64")

    def step(x):
        state = rnn.initial_state(B)
        with torch.no_grad():
            for x_BA in inputs(3):
                _, state = rnn(x_BA, state)
        return rnn(x, state)[0]

    assert torch.autograd.gradcheck(step, inputs(4)[3].clone().requires_grad_())


def test_no_backward_is_a_step_without_a_target():
    """So is a step under no_grad or inference_mode, or one whose loss leaves h out."""
    x_TBA = inputs(4)
    found = []
    for context in (torch.no_grad, torch.inference_mode, torch.enable_grad):
        rnn = snaprun.nn.GRU(A, K, rule="snap2", dtype=torch.float64)
        state = rnn.initial_state(B)
        for t in range(4):
            with context() if t != 3 else torch.enable_grad():
                h, state = rnn(x_TBA[t], state)
        h.sum().backward()
        found.append(graded(rnn))
    assert found[0].abs().max() > 0
    assert all(torch.equal(one, found[0]) for one in found)


def test_a_reset_of_all_lanes_begins_anew():
    x_TBA, found = inputs(5), []
    for begins in (False, True):
        rnn = snaprun.nn.LSTM(A, K, rule="rtrl", dtype=torch.float64)
        state = rnn.initial_state(B)
        if begins:
            for t in range(3):
                h, state = rnn(x_TBA[t], state)
            state = rnn.reset(state)
        for t in (3, 4):
            h, state = rnn(x_TBA[t], state)
            h.square().sum().backward()
        found.append(graded(rnn))
    close(found[1], found[0])


def test_lanes_begin_by_number_or_by_mask():
    x_TBA, found = inputs(4), []
    for lanes in ([0, 2], torch.tensor([0, 2]), [True, False, True], torch.arange(B) != 1, [], 1):
        rnn = snaprun.nn.GRU(A, K, rule="rtrl", dtype=torch.float64)
        state = rnn.initial_state(B)
        for t in range(3):
            h, state = rnn(x_TBA[t], state)
        before = state.s_BCK
        state = rnn.reset(state, lanes)
        found.append([lane for lane in range(B) if not state.s_BCK[lane].equal(before[lane])])
        h, state = rnn(x_TBA[3], state)
        h.square().sum().backward()
        found[-1].append(graded(rnn))
    *same, none, other = found
    assert all(one[:2] == [0, 2] and one[2].equal(same[0][2]) for one in same)
    assert len(none) == 1
    assert other[0] == 1


def test_the_weights_of_a_step_are_those_of_its_time():
    """An optimiser's step between two steps acts on the next, and the influence is carried on."""
    rnn = snaprun.nn.GRU(A, K, rule="rtrl", sparsity=0, dtype="float64")
    x_TBA = inputs(2)
    h, state = rnn(x_TBA[0], rnn.initial_state(B))
    before = rnn.to_torch()
    with torch.no_grad():
        rnn.theta_l0.mul_(0.5)
    h, state = rnn(x_TBA[1], state)
    _, memory = before(x_TBA[:1])
    close(h.detach(), rnn.to_torch()(x_TBA[1:], memory)[0][0].detach())


def refused(what: str, call, *args) -> None:
    with pytest.raises(UserError) as error:
        call(*args)
    said = str(error.value)
    assert what in said
    assert not re.match(r"(cell|rule|sparsity)\.\w", said)  # keys of the command line
    assert "\n" not in said
    assert len(said) < 300


def test_backward_after_the_next_step_or_twice_is_refused():
    rnn, x = snaprun.nn.GRU(A, K), torch.ones(B, A)
    h, state = rnn(x, rnn.initial_state(B))
    rnn(x, state)
    refused("after the next step", h.sum().backward)
    h, state = rnn(x, rnn.initial_state(B))
    h.sum().backward(retain_graph=True)
    refused("twice", h.sum().backward)
    h, state = rnn(x, state)
    state = rnn.reset(state)
    refused("or a reset", h.sum().backward)


def test_a_state_serves_once_and_its_own_module_alone():
    rnn, x = snaprun.nn.GRU(A, K), torch.ones(B, A)
    state = rnn.initial_state(B)
    rnn(x, state)
    refused("was used before", rnn, x, state)
    refused("was used before", rnn.reset, state)
    refused("state='State'", copy.deepcopy(rnn), x, rnn.initial_state(B))
    state = rnn.initial_state(B)
    rnn.double()
    refused("state='State'", rnn, x.double(), state)
    refused("state='Tensor'", rnn, x, torch.zeros(B, K))


def test_a_wrong_input_leaves_the_state_as_it_was():
    rnn, x = snaprun.nn.GRU(A, K), torch.ones(B, A)
    state = rnn.initial_state(B)
    refused("x.shape=(3, 5)", rnn, torch.ones(B, A + 1), state)
    refused("x.shape=(2, 4)", rnn, x[:2], state)
    refused("x.dtype=torch.float64", rnn, x.double(), state)
    refused("x.dtype=torch.int64", rnn, x.long(), state)
    refused("x.device=meta", rnn, x.to("meta"), state)
    refused("x='ndarray'", rnn, x.numpy(), state)
    refused("lanes", rnn.reset, state, [True])
    refused("lanes", rnn.reset, state, [0, 1, 3])
    refused("lanes='all'", rnn.reset, state, "all")
    refused("lanes=-1 is not accepted: expected integers in [0, 3)", rnn.reset, state, -1)
    refused("booleans of the shape (3,)", rnn.reset, state, [0.5])
    rnn(x, state)


def test_nothing_of_the_past_is_kept_alive():
    """The graph of a step goes with its loss, so memory does not grow with time."""
    rnn, x = snaprun.nn.GRU(A, K), torch.ones(B, A)
    state, seen = rnn.initial_state(B), []
    for _ in range(4):
        h, state = rnn(x, state)
        h.sum().backward()
        seen.append(weakref.ref(h))
    del h
    gc.collect()
    assert not any(one() is not None for one in seen)


def test_a_state_is_not_copied():
    state = snaprun.nn.GRU(3, 4).initial_state(2)
    for take in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(ValueError, match="neither copied nor pickled"):
            take(state)
