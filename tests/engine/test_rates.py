"""The cost of firing rates against autograd, in every rule that is exact, and across engines."""

import pytest
import torch
from torch.nn import functional as F

from snaprun.cells import CELLS
from snaprun.engine.native import NativeEngine
from snaprun.engine.optim import SGD
from snaprun.engine.torch import TorchEngine
from snaprun.influence import choose
from snaprun.model.network import Architecture
from snaprun.rules import BPTT, RFLO, RTRL, UORO, EProp, SnAp
from snaprun.sparsity import Dense, Uniform
from tests.cases import LIVELY, close, rng
from tests.engine.engines import EITHER, NEEDS_CORE
from tests.engine.test_engine import A, B, O, batches

COST, TARGET = 3.0, 0.05


def network(units=6, **keys):
    cell = CELLS["alif"](**LIVELY, tau_a=5.0, rate_cost=COST, rate_target=TARGET, **keys)
    return Architecture(cell, units, Uniform(level=0.3), 0).build(A, O, 4, torch.float64)


def engine(kind, built, rule, every, lr=1e-300):
    common = {"lanes": B, "update_every": every, "noise": rng(2)}
    if kind == "native":
        return NativeEngine(built, rule, SGD(lr=lr), **common)
    return TorchEngine(built, rule, SGD(lr=lr), **common, backend=choose("torch"))


class Unrolled:
    """The loss and the cost of whole sequences by autograd, with fixed weights."""

    def __init__(self, built):
        self.built, self.mean_K = (
            built,
            torch.full((built.core.units,), TARGET, dtype=torch.float64),
        )

    def gradient(self, batch):
        core, layout = self.built.core, self.built.core.layout
        theta_P = self.built.theta.detach().clone().requires_grad_()
        state_BCK = core.initial_state(B, torch.float64)
        total, spikes_K = torch.zeros(()).double(), torch.zeros(core.units).double()
        weights_MKJ = layout.scatter(theta_P)
        for t in range(len(batch.mask)):
            state_BCK = state_BCK.masked_fill(batch.resets[t][:, None, None], 0)
            x_BA = torch.eye(A).double()[batch.inputs[t]]
            pre_BMK = torch.einsum("muj,bj->bmu", weights_MKJ, core.sources(state_BCK, x_BA))
            state_BCK = core.cell.transition(pre_BMK, state_BCK)
            outputs_BO = F.linear(state_BCK[:, core.cell.read], *self.built.readout.parameters)
            nats_B = F.cross_entropy(outputs_BO, batch.targets[t], reduction="none")
            total = total + (nats_B * batch.mask[t]).sum()
            # ∂/∂z of Σ_u c (m_u − f0)², once for every pair: 2 c (m_u − f0).
            total = total + (2 * COST * (self.mean_K - TARGET) * state_BCK[:, 0]).sum()
            spikes_K += state_BCK[:, 0].detach().sum(0)
        pairs = batch.mask.numel()
        self.mean_K += pairs / (pairs + 1000) * (spikes_K / pairs - self.mean_K)
        return torch.autograd.grad(total, theta_P)[0]


@pytest.mark.parametrize("rule", [BPTT(), BPTT(memory=0.4), RTRL()], ids=["bptt", "budget", "rtrl"])
@pytest.mark.parametrize("kind", EITHER)
def test_exact_rules_have_its_gradient(kind, rule):
    built = network()
    trained, wanted, costs = engine(kind, built, rule, "sequence"), Unrolled(built), []
    for batch in batches((9, 8, 10), lane_resets=False):
        want_P = wanted.gradient(batch)
        if not rule.replays:
            trained.run(batch.piece(0, len(batch.mask) - 1))
            steps = batch.piece(len(batch.mask) - 1, 1)
            trained.predict(steps.inputs[0].numpy(), steps.resets[0].numpy())
            trained.learn(steps.targets[0].numpy(), steps.mask[0].numpy())
            if isinstance(rule, RTRL):
                close(trained.state_dict()["rule"]["gradient"], want_P, 1e-9)
            trained.update()
        else:
            trained.run(batch)
        costs.append(trained.state_dict()["rates"]["mean"])
        close(costs[-1], wanted.mean_K)
    assert (costs[-1] - TARGET).abs().max() > 0.001


@NEEDS_CORE
@pytest.mark.parametrize("units", [6, (4, 5)], ids=str)
@pytest.mark.parametrize("every", [1, 3, "sequence"])
@pytest.mark.parametrize(
    "rule",
    [
        BPTT(),
        BPTT(memory=0.4),
        BPTT(truncate=3),
        RTRL(),
        SnAp(1),
        SnAp(2),
        RFLO(),
        RFLO("random"),
        EProp(),
        EProp("random"),
        EProp("adaptive"),
        UORO(),
    ],
    ids=lambda rule: type(rule).__name__,
)
def test_both_engines_train_with_it(rule, every, units):
    if rule.replays and every == 1:
        pytest.skip("a window of one step keeps no less")
    ours, theirs = (engine(kind, network(units), rule, every, 0.1) for kind in ("native", "torch"))
    for batch in batches((9, 8, 9), lane_resets=every != "sequence"):
        close(ours.run(batch), theirs.run(batch), 1e-9)
    for got, want in zip(ours.network.parameters, theirs.network.parameters, strict=True):
        close(got.detach(), want.detach(), 1e-9)
    for name, want in theirs.state_dict()["rates"].items():
        close(ours.state_dict()["rates"][name], want, 1e-9)


@pytest.mark.parametrize("kind", EITHER)
def test_it_goes_on_where_it_stopped(kind):
    data = batches((9, 8, 9))
    through, other = (engine(kind, network(), SnAp(1), 4, 0.1) for _ in range(2))
    through.run(data[0])
    through.run(data[1].piece(0, 3))
    other.load_state_dict(through.state_dict())
    for piece in (data[1].piece(3, 9), data[2]):
        assert other.run(piece).equal(through.run(piece))
    assert other.state_dict()["rates"]["mean"].equal(through.state_dict()["rates"]["mean"])


def test_it_pulls_rates_to_the_target():
    """Without a task, mean rates of silent and of busy networks approach the target."""
    cell = CELLS["lif"](tau_m=5, v_th=0.5, refractory=1, rate_cost=5.0, rate_target=0.1)
    built = Architecture(cell, 20, Dense(), 0).build(10, 2, 0, torch.float64)
    trained = TorchEngine(built, SnAp(1), SGD(lr=0.02), lanes=8, update_every=20, noise=rng())
    generator, rates = rng(1), []
    for _ in range(3000):
        x_BA = torch.rand(8, 10, generator=generator, dtype=torch.float64)
        trained.predict(x_BA.numpy())
        trained.learn(torch.zeros(8, dtype=torch.int64).numpy())
        rates.append(trained.state_BCK[:, 0].mean(0))
    early_K, late_K = torch.stack(rates[:200]).mean(0), torch.stack(rates[-400:]).mean(0)
    assert (late_K - 0.1).abs().mean() < 0.5 * (early_K - 0.1).abs().mean()
