"""The online engine against training loops written out with autograd and torch's optimisers."""

import inspect
import re
from functools import partial

import pytest
import torch
from torch.nn import functional as F
from torch.optim import lr_scheduler

from snaprun.cells import GRU, LSTM, Vanilla
from snaprun.checks import UserError
from snaprun.engine.optim import SGD, Adam, AdamW, RMSprop
from snaprun.engine.torch import TorchEngine
from snaprun.influence import choose
from snaprun.model.network import Architecture
from snaprun.rules import BPTT, RTRL, Frozen, SnAp
from snaprun.sparsity import Uniform
from snaprun.tasks import Batch
from snaprun.verify import onestep
from tests.cases import close, rng

B, A, O = 3, 5, 4
BOUND = 1e-9


def network(cell, hidden=0):
    architecture = Architecture(cell, 6, Uniform(level=0.5), hidden)
    return architecture.build(A, O, seed=4, dtype=torch.float64)


def batches(lengths=(9, 5, 8), lane_resets=True):
    """Sequences with steps without a target, six of them in a row, and lanes that begin anew."""
    generator, made = rng(7), []
    for number, steps in enumerate(lengths):
        resets = torch.zeros(steps, B, dtype=torch.bool)
        if number == 0 or not lane_resets:
            resets[0] = True
        else:
            resets[0, 0] = resets[steps // 2, 1:] = True
        mask = torch.rand(steps, B, generator=generator) < 0.7
        if number == 0:
            mask[2:8] = False
        inputs = torch.randint(0, A, (steps, B), generator=generator)
        targets = torch.randint(0, O, (steps, B), generator=generator) * mask
        made.append(Batch(inputs, targets, mask, resets))
    return made


def engine(built, rule, optimiser, update_every):
    return TorchEngine(
        built,
        rule,
        optimiser,
        lanes=B,
        update_every=update_every,
        noise=rng(),
        backend=choose("auto"),
    )


def scheduled(optimiser, *, half_life=None, warmup=0, cosine=None, floor=0.0):
    """The same schedule from torch's own parts."""
    lr = optimiser.param_groups[0]["lr"]
    parts, at = [lr_scheduler.ConstantLR(optimiser, 1.0)], []
    if half_life:
        parts = [lr_scheduler.ExponentialLR(optimiser, 0.5 ** (1 / half_life))]
    if cosine:  # torch's goes up again
        falls = lr_scheduler.CosineAnnealingLR(optimiser, cosine - warmup, floor * lr)
        parts, at = [falls, lr_scheduler.LambdaLR(optimiser, lambda _: floor)], [cosine]
    if warmup:
        rises = lr_scheduler.LinearLR(optimiser, 1 / warmup, total_iters=max(1, warmup - 1))
        parts, at = [rises, *parts], [warmup, *at]
    return lr_scheduler.SequentialLR(optimiser, parts, at)


class Unrolled:
    """Truncated BPTT of the dense masked network by autograd: training written out."""

    def __init__(self, built, optimiser, update_every, clip=None, **schedule):
        self.cell, self.live_MKJ = built.core.cell, built.core.layout.live_MKJ
        self.weights_MKJ = built.weights().clone().requires_grad_()
        self.readout = [p.detach().clone().requires_grad_() for p in built.readout.parameters]
        self.parameters = [self.weights_MKJ, *self.readout]
        self.optimiser = optimiser(self.parameters)
        self.scheduler = scheduled(self.optimiser, **schedule)
        self.update_every, self.clip, self.updates = update_every, clip, 0
        self.state_BCK = built.core.initial_state(B, torch.float64)
        self.total, self.targets, self.steps = torch.zeros(()), 0, 0

    def run(self, batch):
        nats = []
        for t in range(len(batch.mask)):
            begin_B = batch.resets[t][:, None, None]
            self.state_BCK = torch.where(begin_B, 0.0, self.state_BCK)
            weights_MKJ = self.weights_MKJ * self.live_MKJ
            source_BJ = torch.cat(
                (self.state_BCK[:, 0], torch.eye(A)[batch.inputs[t]], torch.ones(B, 1)), 1
            )
            pre_BMK = torch.einsum("muj,bj->bmu", weights_MKJ, source_BJ.double())
            self.state_BCK = self.cell.transition(pre_BMK, self.state_BCK)
            value = self.state_BCK[:, 0]
            for i in range(0, len(self.readout), 2):
                value = F.linear(value.relu() if i else value, *self.readout[i : i + 2])
            nats_B = F.cross_entropy(value, batch.targets[t], reduction="none") * batch.mask[t]
            nats.append(nats_B.detach())
            self.total = self.total + nats_B.sum()
            self.targets += int(batch.mask[t].sum())
            self.steps += 1
            if self.steps == self.update_every:
                self.update()
        if self.update_every == "sequence":
            self.update()
        return torch.stack(nats)

    def update(self):
        if self.targets:
            self.optimiser.zero_grad()
            (self.total / self.targets).backward()
            if self.clip:
                norm = sum(float(p.grad.square().sum()) for p in self.parameters) ** 0.5
                for parameter in self.parameters:
                    parameter.grad *= min(1.0, self.clip / (norm + 1e-6))
            self.optimiser.step()
            self.scheduler.step()
            self.updates += 1
        self.state_BCK = self.state_BCK.detach()
        self.total, self.targets, self.steps = torch.zeros(()), 0, 0


OPTIMISERS = {
    "sgd": (SGD(lr=0.5, momentum=0.9), partial(torch.optim.SGD, lr=0.5, momentum=0.9)),
    "adam": (Adam(lr=0.05), partial(torch.optim.Adam, lr=0.05)),
    "rmsprop": (RMSprop(lr=0.02), partial(torch.optim.RMSprop, lr=0.02)),
    "adamw": (
        AdamW(lr=0.05, weight_decay=0.2),
        partial(torch.optim.AdamW, lr=0.05, weight_decay=0.2),
    ),
}
SCHEDULES = [
    {"half_life": 0.5},
    {"half_life": 7.3},
    {"half_life": 1e6},
    {"warmup": 1},
    {"warmup": 4},
    {"warmup": 3, "half_life": 5},
    {"cosine": 11},
    {"warmup": 5, "cosine": 9, "floor": 0.1},
]


def compare(rule, built, update_every, data, optimiser="sgd", **more):
    ours, theirs = OPTIMISERS[optimiser]
    own = {key: getattr(ours, key) for key in inspect.signature(type(ours)).parameters}
    ours = type(ours)(**{**own, **more})
    before = built.weights().clone()
    reference = Unrolled(built, theirs, update_every, **more)
    trained = engine(built, rule, ours, update_every)
    for batch in data:
        close(trained.run(batch), reference.run(batch), BOUND)
    close(built.weights(), reference.weights_MKJ.detach() * reference.live_MKJ, BOUND)
    for got, want in zip(built.readout.parameters, reference.readout, strict=True):
        close(got.detach(), want.detach(), BOUND)
    assert trained.updates == reference.updates > 0
    assert float((built.weights() - before).abs().max()) > 0.01
    return trained


@pytest.mark.parametrize("update_every", [1, 3, 7, "sequence"])
@pytest.mark.parametrize(
    "cell", [GRU(), LSTM(), Vanilla(alpha=0.6)], ids=lambda c: type(c).__name__
)
def test_bptt(cell, update_every):
    trained = compare(BPTT(), network(cell), update_every, batches())
    # 22 steps; six in a row have no target, and the last window may be open.
    assert trained.updates == {1: 16, 3: 6, 7: 3, "sequence": 3}[update_every]


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("hidden", [0, 8])
def test_optimisers_and_readouts(optimiser, hidden):
    compare(BPTT(), network(GRU(), hidden), 3, batches(), optimiser)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_a_learning_rate_follows_its_schedule(optimiser, schedule):
    compare(BPTT(), network(GRU()), 3, batches((9, 40)), optimiser, **schedule)


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
@pytest.mark.parametrize("clip", [1e-2, 0.3, 100.0])
def test_clipping_is_of_the_norm_of_all_gradients(clip, optimiser):
    compare(BPTT(), network(GRU()), 3, batches((9, 40)), optimiser, clip=clip)


def test_a_schedule_that_contradicts_itself_is_refused():
    for wrong, said in (
        ({"half_life": 5, "cosine": 9}, "optim.cosine=9 is not accepted: expected null beside"),
        ({"warmup": 9, "cosine": 9}, "optim.cosine=9 is not accepted: expected an integer ≥ 10"),
        ({"floor": 0.1}, "optim.floor=0.1 is not accepted: expected 0"),
    ):
        with pytest.raises(UserError, match=re.escape(said)):
            Adam(**wrong)


@pytest.mark.parametrize("rule", [RTRL(), SnAp(12)], ids=["rtrl", "snap"])
def test_exact_rules_are_bptt_when_updates_end_sequences(rule):
    data = batches(lane_resets=False)
    compare(rule, network(GRU()), "sequence", data)


def test_rtrl_sees_past_its_last_update():
    data = batches(lane_resets=False)
    online, truncated = (engine(network(GRU()), r, SGD(lr=0.5), 3) for r in (RTRL(), BPTT()))
    for batch in data:
        nats_TB, cut_TB = online.run(batch), truncated.run(batch)
    assert not nats_TB.allclose(cut_TB)


@pytest.mark.parametrize("update_every", [1, 4])
@pytest.mark.parametrize("n", [1, 2])
def test_snap_online_keeps_its_stale_influence(n, update_every):
    """Equation (5) with jacrev, J never recomputed and carried over updates and batches."""
    built, rate, data = network(LSTM()), 0.5, batches()
    core = built.core
    M_SP = onestep.mask(core, n)
    theta_P, (W_OK, b_O) = (
        built.theta.detach().clone(),
        [p.clone() for p in built.readout.parameters],
    )
    S, P = M_SP.shape
    state_BS, J_BSP = torch.zeros(B, S).double(), torch.zeros(B, S, P).double()
    sums, targets, steps = [0, 0, 0], 0, 0
    for batch in data:
        for t in range(len(batch.mask)):
            state_BS[batch.resets[t]], J_BSP[batch.resets[t]] = 0, 0
            x_BA = torch.eye(A).double()[batch.inputs[t]]
            for b in range(B):
                D_SS, I_SP = onestep.jacobians(core, state_BS[b], theta_P, x_BA[b])
                J_BSP[b] = M_SP * (I_SP + D_SS @ J_BSP[b])
                state_BS[b] = onestep.next_state(core, state_BS[b], theta_P, x_BA[b])
            leaves = [x.clone().requires_grad_() for x in (state_BS[:, : core.units], W_OK, b_O)]
            nats_B = (
                F.cross_entropy(F.linear(*leaves), batch.targets[t], reduction="none")
                * batch.mask[t]
            )
            credit_BK, W_grad, b_grad = torch.autograd.grad(nats_B.sum(), leaves)
            by_theta_P = torch.einsum("bk,bkp->p", credit_BK, J_BSP[:, : core.units])
            sums = [s + g for s, g in zip(sums, (by_theta_P, W_grad, b_grad), strict=True)]
            targets, steps = targets + int(batch.mask[t].sum()), steps + 1
            if steps == update_every:
                if targets:
                    for value, total in zip((theta_P, W_OK, b_O), sums, strict=True):
                        value -= rate * total / targets
                sums, targets, steps = [0, 0, 0], 0, 0
    trained = engine(built, SnAp(n), SGD(lr=rate), update_every)
    for batch in data:
        trained.run(batch)
    for got, want in zip(built.parameters, (theta_P, W_OK, b_O), strict=True):
        close(got.detach(), want, BOUND)


@pytest.mark.parametrize("optimiser", [SGD(lr=0.5, momentum=0.9), Adam(), AdamW(), RMSprop()])
def test_frozen_moves_the_readout_alone(optimiser):
    built = network(GRU())
    theta_P, W_OK = built.theta.clone(), built.readout.parameters[0].clone()
    trained = engine(built, Frozen(), optimiser, 1)
    for batch in batches():
        trained.run(batch)
    assert built.theta.equal(theta_P)
    assert not built.readout.parameters[0].allclose(W_OK)


def test_one_hot_vectors_train_as_their_indices():
    one, two = network(GRU()), network(GRU())
    by_index, by_vector = (engine(n, SnAp(2), SGD(lr=0.5), 1) for n in (one, two))
    for batch in batches():
        vectors = Batch(torch.eye(A)[batch.inputs], batch.targets, batch.mask, batch.resets)
        assert by_index.run(batch).equal(by_vector.run(vectors))
    assert one.theta.equal(two.theta)


def test_reports_the_memory_of_the_longest_window():
    trained = engine(network(GRU()), BPTT(), SGD(), "sequence")
    for batch in batches((4, 9, 2)):
        trained.run(batch)
    assert trained.longest_window == 9
    record = B * ((6 + A + 1) + 6 * (4 + 1))  # src, slopes by four slots and by h
    assert trained.rule_bytes >= 8 * 9 * record
