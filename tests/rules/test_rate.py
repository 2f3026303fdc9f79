"""Rate-based backpropagation against autograd on rates, and the deep spiking cell in every rule."""

from dataclasses import replace

import pytest
import torch

from snaprun.cells import GRU
from snaprun.cells.deep_lif import DeepLIF
from snaprun.cells.lif import LIF
from snaprun.checks import UserError
from snaprun.core import RecurrentCore
from snaprun.engine.native import NativeEngine
from snaprun.engine.optim import SGD
from snaprun.engine.torch import TorchEngine
from snaprun.model.network import Architecture
from snaprun.rules import BPTT, RFLO, RTRL, UORO, Frozen, Rate, SnAp
from snaprun.rules.over_steps import advance
from snaprun.sparsity import Dense, Uniform
from snaprun.tasks import Batch
from snaprun.verify import biased, unrolled
from snaprun.verify.jacobian import cell_checks, product_checks
from snaprun.verify.problem import NO_TARGET
from tests.cases import close, problem, rng, without_resets
from tests.engine.engines import NEEDS_CORE
from tests.rules import contract
from tests.rules.contract import gradient

CELLS = {
    f"{kind}, {reset}": DeepLIF(kind=kind, reset=reset)
    for kind in ("soft", "hard")
    for reset in ("attached", "detached")
}
STACK = (6, 5, 4)
ENGINES = {"torch": TorchEngine, "native": NativeEngine}


def drawn(cell=None, units=STACK, sparsity=None, steps=12, **others):
    return problem(cell or DeepLIF(), sparsity or Uniform(level=0.3), units, steps=steps, **others)


@pytest.mark.parametrize("cell", CELLS)
def test_the_cell_is_right(cell):
    for check in (*cell_checks(CELLS[cell]), *product_checks(drawn(CELLS[cell]), 0)):
        assert check.passed, check


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_the_cell_does_what_the_equations_say(kind):
    cell, z, m, rates = DeepLIF(leak=0.3, threshold=0.8, kind=kind), 0.0, 0.0, []
    state_BCK = torch.zeros(1, 4, 1, dtype=torch.float64)
    for t, current in enumerate(torch.rand(50, generator=rng(), dtype=torch.float64).tolist()):
        m = 0.3 * (m * (1 - z) if kind == "hard" else m - 0.8 * z) + current
        z = float(m > 0.8)
        rates.append(z)
        current_BMK = torch.full((1, 1, 1), current, dtype=torch.float64)
        state_BCK = cell.transition(current_BMK, state_BCK)
        want = [z, m, t + 1, sum(rates) / len(rates)]
        assert state_BCK[0, :, 0].tolist() == pytest.approx(want, abs=1e-12)
    assert 5 < sum(rates) < 45


@pytest.mark.parametrize("cell", CELLS)
def test_exact_rules_agree(cell):
    exact = drawn(CELLS[cell])
    want_P = unrolled.gradients(exact)[0]
    assert want_P.abs().max() > 0.01
    for rule in (BPTT(), RTRL()):
        close(gradient(rule, exact), want_P)


@pytest.mark.parametrize("units", [6, (5, 4), STACK], ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_it_is_autograd_on_rates(cell, units):
    found = drawn(CELLS[cell], units)
    close(gradient(Rate(), found), biased.of_rates(found))


@pytest.mark.parametrize(
    ("reset", "kind", "factor"),
    [
        ("detached", "soft", lambda z, m, sg: 1.0),
        ("attached", "soft", lambda z, m, sg: 1 - sg),
        ("attached", "hard", lambda z, m, sg: 1 - z - m * sg),
        ("detached", "hard", lambda z, m, sg: 1 - z),
    ],
)
def test_its_slopes_are_the_recursion_of_the_paper(reset, kind, factor):
    """e = mean_t κ_t sg_t, κ_1 = 1, κ ← 1 + λ κ times what the reset leaves."""
    cell, steps = DeepLIF(kind=kind, reset=reset), 15
    core = RecurrentCore.build(cell, Dense(), 5, 3, rng())
    weights_MKJ = core.layout.scatter(core.initial_parameters(rng(1), torch.float64) * 2)
    rule = Rate()
    made = drawn(cell, 5)
    state = rule.init(replace(made.setup(rng()), core=core, lanes=2))
    s_BCK = core.initial_state(2, torch.float64)
    kappa_BK, total_BK = torch.zeros(2, 5).double(), torch.zeros(2, 5).double()
    z_BK = m_BK = sg_BK = torch.zeros(2, 5).double()
    for _ in range(steps):
        x_BA = torch.randn(2, 3, generator=rng(_), dtype=torch.float64)
        s_BCK, linearise = core.step(weights_MKJ, s_BCK, x_BA)
        state = rule.step(state, linearise())
        kappa_BK = 1 + cell.leak * kappa_BK * factor(z_BK, m_BK, sg_BK)
        z_BK, m_BK = s_BCK[:, 0], s_BCK[:, 1]
        s = torch.sigmoid(4 * (m_BK - cell.threshold))
        sg_BK = 4 * s * (1 - s)
        total_BK = total_BK + kappa_BK * sg_BK
    close(state.trace_BCMK[:, cell.read, 0], total_BK / steps)


def test_at_one_step_it_is_exact():
    """After a single step rates are spikes, and there is no time to average over."""
    found = drawn(steps=2)
    found = replace(found, resets_TB=torch.ones_like(found.resets_TB))
    close(gradient(Rate(), found), unrolled.gradients(found)[0])


def test_its_memory_does_not_grow_with_time():
    rule, kept = Rate(), set()
    for steps in (4, 64):
        made = drawn(steps=steps)
        state = advance(rule, contract.start(rule, made)[0], made.records())
        numbers = sum(x.numel() for x in rule.kept(state))
        assert numbers == made.lanes * rule.cost(made.core, steps).state
        kept.add(numbers)
    assert len(kept) == 1


def test_the_contract_of_rules():
    for check in (contract.check_gradient, contract.check_reset):
        check(Rate(), drawn())


def test_at_constant_input_it_points_where_bptt_does():
    made = without_resets(drawn(units=(40, 40, 40), steps=16, sparsity=Dense(), lanes=20))
    targets_TB = made.targets_TB.clone()
    targets_TB[:-1] = NO_TARGET
    constant = made.inputs_TBA[:1].abs().expand_as(made.inputs_TBA)
    made = replace(made, inputs_TBA=constant, targets_TB=targets_TB)
    got_P, want_P = gradient(Rate(), made), gradient(BPTT(), made)
    for units, _ in made.core.layers:
        own_P = (made.core.layout.unit_P >= units.start) & (made.core.layout.unit_P < units.stop)
        assert torch.cosine_similarity(got_P[own_P], want_P[own_P], dim=0) > 0.9


@pytest.mark.parametrize(
    ("cell", "named"), [(GRU(), "mean of its spikes"), (LIF(recurrent=False), "mean of its spikes")]
)
def test_other_cells_are_refused_in_one_line(cell, named):
    network = Architecture(cell, 5, Dense(), 0).build(3, 2, seed=0)
    with pytest.raises(UserError, match=named):
        TorchEngine(network, Rate(), SGD(), lanes=1, update_every=1, noise=rng())


@pytest.mark.parametrize(
    "rule", [BPTT(), RTRL(), SnAp(1), SnAp(2), UORO(), RFLO(), Frozen(), Rate()]
)
def test_every_rule_trains_the_cell(rule):
    network = Architecture(DeepLIF(), [6, 5], Dense(), 0).build(3, 2, 0, torch.float64)
    engine = TorchEngine(network, rule, SGD(lr=0.1), lanes=4, update_every="sequence", noise=rng())
    mask = torch.zeros(8, 4, dtype=torch.bool)
    resets = mask.clone()
    resets[0] = mask[-1] = True
    before = network.theta.clone()
    for seed in range(3):
        inputs = torch.rand(8, 4, 3, generator=rng(seed))
        targets = torch.randint(0, 2, (8, 4), generator=rng(seed)) * mask
        loss_TB = engine.run(Batch(inputs, targets, mask, resets))
        assert loss_TB[-1].isfinite().all()
    assert (network.theta != before).any() == rule.moves


@NEEDS_CORE
@pytest.mark.parametrize("lanes", [1, 3, 9])
@pytest.mark.parametrize("rule", [BPTT(), RTRL(), SnAp(1), UORO(), RFLO(), Frozen(), Rate()])
@pytest.mark.parametrize("cell", CELLS)
def test_both_engines_are_the_same(cell, rule, lanes):
    """Over sequences with a target at the end, or here and there, and a state handed over."""
    sides = [either(kind, CELLS[cell], rule, lanes) for kind in ("torch", "native")]
    for count in range(4):
        x_TBA = 2 * torch.rand(9, lanes, 3, generator=rng(count), dtype=torch.float64)
        mask = torch.rand(9, lanes, generator=rng(count + 10)) < (0.4 if count % 2 else 0.0)
        mask[-1] = True
        resets = torch.zeros_like(mask)
        resets[0] = True
        resets[4, 0] = True
        y_TB = torch.randint(0, 2, (9, lanes), generator=rng(count)) * mask
        losses = [side.run(Batch(x_TBA, y_TB, mask, resets)) for side in sides]
        close(losses[1], losses[0], 1e-10)
        for got, want in zip(*(side.network.parameters for side in sides), strict=True):
            close(got.detach(), want.detach(), 1e-10)
        if count == 1:  # each engine loads the state that the other has saved
            saved = [side.state_dict() for side in sides]
            sides = [either(kind, CELLS[cell], rule, lanes) for kind in ("torch", "native")]
            for side, other in zip(sides, reversed(saved), strict=True):
                side.load_state_dict(other)


def either(kind, cell, rule, lanes):
    network = Architecture(cell, [6, 5, 4], Uniform(level=0.3), 0).build(3, 2, 0, torch.float64)
    network.theta.data *= 1.5
    common = {"lanes": lanes, "update_every": "sequence", "noise": rng(5)}
    return ENGINES[kind](network, rule, SGD(lr=0.1), **common)


@NEEDS_CORE
def test_in_the_middle_of_a_sequence_the_engines_hand_over_what_the_rule_keeps():
    sides = [either(kind, DeepLIF(), Rate(), 3) for kind in ("torch", "native")]
    x_TBA = 2 * torch.rand(9, 3, 3, generator=rng(), dtype=torch.float64)
    mask = torch.zeros(9, 3, dtype=torch.bool)
    resets, targets = mask.clone(), torch.zeros(9, 3, dtype=torch.int64)
    resets[0] = mask[-1] = True
    whole = Batch(x_TBA, targets, mask, resets)
    for side in sides:
        side.run(whole.piece(0, 5))
    saved = [side.state_dict() for side in sides]
    for name in ("trace", "sources", "steps"):
        close(saved[1]["rule"][name], saved[0]["rule"][name])
    for side, other in zip(sides, reversed(saved), strict=True):
        side.load_state_dict(other)
        side.run(whole.piece(5, 4))
    for got, want in zip(*(side.network.parameters for side in sides), strict=True):
        close(got.detach(), want.detach())
