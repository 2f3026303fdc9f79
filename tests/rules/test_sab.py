"""Sparse attentive backtracking beside autograd of a plain network with exactly its edges cut."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from snaprun.core import Attention
from snaprun.core.reminder import sparsify, sparsify_vjp
from snaprun.engine.optim import SGD
from snaprun.engine.torch import TorchEngine
from snaprun.losses import LOSSES
from snaprun.model.network import Architecture
from snaprun.rules import SAB
from snaprun.sparsity import Dense, Uniform
from snaprun.tasks import Batch
from snaprun.verify.unrolled import by_layer
from tests.cases import CELLS, close, rng

A, O, B = 4, 3, 3
BOUND = 1e-12


def built(rule, cell="gru", units=5, level=0.0, hidden=0, loss="softmax", seed=1):
    """A network whose scores differ much, and whose biases are not zero."""
    sparsity = Uniform(level) if level else Dense()
    made = Architecture(CELLS[cell], units, sparsity, hidden, rule.reminder)
    network = made.build(A, O, seed, torch.float64, loss=LOSSES[loss]())
    generator = rng(3)
    network.theta += 0.3 * torch.randn(len(network.theta), generator=generator).double()
    for parameter in network.attention:
        parameter *= 1.5
    return network


def drawn(steps=13, lanes=B, loss="softmax", begins=(), seed=0):
    """A batch with gaps in its targets, in which lanes may begin within it: pairs (step, lane)."""
    generator = rng(seed)
    mask = torch.rand(steps, lanes, generator=generator) < 0.7
    mask[2], mask[-1] = False, True
    resets = torch.zeros(steps, lanes, dtype=torch.bool)
    resets[0] = True
    for step, lane in begins:
        resets[step, lane] = True
    inputs = torch.randint(0, A, (steps, lanes), generator=generator)
    if loss == "softmax":
        targets = torch.randint(0, O, (steps, lanes), generator=generator) * mask
    else:
        targets = torch.rand(steps, lanes, O, generator=generator).double() * mask[..., None]
    return Batch(inputs, targets, mask, resets)


def engine(network, rule, lanes=B):
    """An engine that moves nothing, and writes down the gradients of its updates."""
    made: Any = TorchEngine(network, rule, SGD(), lanes=lanes, update_every="sequence", noise=rng())
    made.found = []
    parameters = network.parameters

    def step():
        made.found.append([p.grad.clone() for p in parameters])

    made.stepper.step = step
    return made


def gradients(network, rule, *batches):
    """Of θ, of the readout and of W₁, W₂ and w₃, of the last of some batches."""
    trained = engine(network, rule, batches[0].mask.shape[1])
    for batch in batches:
        trained.run(batch)
    return trained.found[-1]


def transition(cell, pre_M, h, rest):
    if cell == "vanilla":
        return torch.tanh(pre_M[0]), rest
    if cell == "gru":
        z, r, nx, nh = pre_M
        n = torch.tanh(nx + torch.sigmoid(r) * nh)
        return (1 - torch.sigmoid(z)) * n + torch.sigmoid(z) * h, rest
    i, f, g, o = pre_M
    c = torch.sigmoid(f) * rest + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def recalled(memories, query, attention, k_top):
    """s of one lane by the definition, with nothing but a list of memories."""
    W1, W2, w3 = attention
    scores = [w3 @ torch.tanh(W1 @ m + W2 @ query) for m in memories]
    ranked = sorted(range(len(scores)), key=lambda i: -float(scores[i].detach()))
    threshold = scores[ranked[-1]] - 1 if len(scores) <= k_top else scores[ranked[k_top]]
    above = [(scores[i] - threshold).relu() for i in ranked[:k_top]]
    if all(float(x.detach()) == 0 for x in above):
        return torch.stack([memories[i] for i in ranked[:k_top]]).mean(0)
    return sum(x / sum(above) * memories[i] for x, i in zip(above, ranked[:k_top], strict=True))


def autograd(network, rule, *windows, cell="gru", cuts=True, recalls=True):
    """The gradients of the last window, every edge that is cut detached; lane by lane."""
    leaves = [p.detach().clone().requires_grad_() for p in network.parameters]
    theta, readout, attention = leaves[0], leaves[1:-3], leaves[-3:]
    layers = [(units, W) for units, W in by_layer(network.core, theta)]
    sizes, top = [W.shape[1] for _, W in layers], layers[-1][1].shape[1]
    lanes, loss = windows[0].mask.shape[1], network.readout.loss
    h = [[torch.zeros(k).double() for k in sizes] for _ in range(lanes)]
    rest = [[torch.zeros(k).double() for k in sizes] for _ in range(lanes)]
    memories = [[torch.zeros(top).double()] for _ in range(lanes)]
    total = torch.zeros(()).double()
    for number, batch in enumerate(windows):
        h, rest, memories = (
            [[x.detach() for x in lane] for lane in every] for every in (h, rest, memories)
        )
        for t in range(len(batch.mask)):
            outputs = []
            for b in range(lanes):
                if batch.resets[t, b]:
                    h[b], rest[b] = ([torch.zeros(k).double() for k in sizes] for _ in range(2))
                    memories[b] = memories[b][:1]
                if cuts and (t + 1) % rule.k_trunc == 0:
                    h[b], rest[b] = ([x.detach() for x in y] for y in (h[b], rest[b]))
                x = torch.eye(A).double()[batch.inputs[t, b]]
                for layer, (_, W) in enumerate(layers):
                    source = torch.cat((h[b][layer], x, torch.ones(1).double()))
                    after = transition(cell, W @ source, h[b][layer], rest[b][layer])
                    h[b][layer], rest[b][layer] = after
                    x = h[b][layer]
                s = torch.zeros(top).double()
                if recalls:
                    s = recalled(memories[b], x, attention, rule.k_top)
                h[b][-1] = x + s
                if (t + 1) % rule.k_att == 0:
                    memories[b].append(h[b][-1].detach() if rule.detach else h[b][-1])
                y = torch.cat((h[b][-1], s))
                for at in range(0, len(readout), 2):
                    y = readout[at] @ (y.relu() if at else y) + readout[at + 1]
                outputs.append(y)
            if number == len(windows) - 1 and batch.mask[t].any():
                y_BO = torch.stack(outputs)
                total = total + loss.value(y_BO, batch.targets[t], batch.mask[t]).sum()
    mean = total / windows[-1].mask.sum()
    found = torch.autograd.grad(mean, leaves, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(found, leaves, strict=True)]


def same(got, want, bound=BOUND):
    assert len(got) == len(want) >= 3
    for one, other in zip(got, want, strict=True):
        if other.abs().max() > bound:
            close(one, other, bound)
        else:
            assert one.abs().max() <= bound


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("chosen", [(2, 2, 3), (1, 3, 4), (3, 1, 5), (1, 2, 1), (2, 5, 5)], ids=str)
@pytest.mark.parametrize("cell", ["vanilla", "gru", "lstm"])
def test_the_whole_gradient_is_that_of_autograd_with_its_edges_cut(cell, chosen, detach):
    rule = SAB(*chosen, detach=detach)
    network, batch = built(rule, cell), drawn()
    found, want = gradients(network, rule, batch), autograd(network, rule, batch, cell=cell)
    if rule.k_top == 1:  # the one weight is 1, whatever the scores; autograd rounds the zero
        assert not any(x.any() for x in found[-3:])
        found, want = found[:-3], want[:-3]
    same(found, want)
    assert all(x.abs().max() > 1e-6 for x in found)


@pytest.mark.parametrize("hidden", [0, 6])
@pytest.mark.parametrize("loss", ["softmax", "mse"])
@pytest.mark.parametrize(
    ("cell", "units", "seed"),  # no scores almost tie, which would magnify rounding
    [("gru", (4, 5), 4), ("lstm", (5, 3), 1), ("vanilla", (3, 2, 4), 1)],
    ids=str,
)
def test_the_same_of_sparse_stacks_and_lanes_that_begin_within(cell, units, seed, loss, hidden):
    rule = SAB(k_att=1, k_top=2, k_trunc=4)
    network = built(rule, cell, units, level=0.5, hidden=hidden, loss=loss, seed=seed)
    batch = drawn(loss=loss, begins=[(5, 1), (6, 0), (7, 0), (11, 1)])
    same(gradients(network, rule, batch), autograd(network, rule, batch, cell=cell))


def test_without_cuts_it_is_bptt_of_the_model():
    batch = drawn()
    for k_trunc in (13, 14, 1000):  # a cut before step 12 would be one
        rule = SAB(k_att=2, k_top=2, k_trunc=k_trunc)
        network = built(rule)
        whole = autograd(network, rule, batch, cuts=False)
        if k_trunc == 13:
            assert not torch.allclose(gradients(network, rule, batch)[0], whole[0], rtol=1e-9)
        else:
            same(gradients(network, rule, batch), whole)


def test_the_first_cut_lies_before_step_k_trunc_less_one():
    """Of a loss at the last step alone, the inputs before the last cut get no gradient."""
    rule = SAB(k_att=99, k_top=1, k_trunc=5)
    network = built(rule, "vanilla")
    for steps, since in ((4, 0), (5, 4), (9, 4), (10, 9)):
        batch = drawn(steps, lanes=1)
        mask = torch.zeros_like(batch.mask)
        mask[-1] = True
        inputs = torch.arange(steps)[:, None] % A
        inputs[since:] = A - 1
        inputs[:since] = inputs[:since] % (A - 1)
        batch = replace(batch, inputs=inputs, mask=mask, targets=batch.targets * mask)
        dense = network.core.layout.scatter(gradients(network, rule, batch)[0])
        moved = dense[0, :, 5 : 5 + A].abs().sum(0) > 0
        assert moved.tolist() == [False] * (A - 1) + [True] or not since


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_without_memories_it_is_truncated_bptt_of_the_plain_cell(cell):
    rule = SAB(k_att=14, k_top=2, k_trunc=4)
    network, batch = built(rule, cell), drawn(begins=[(6, 1)])
    found = gradients(network, rule, batch)
    same(found, autograd(network, rule, batch, cell=cell, recalls=False))
    assert not any(x.any() for x in found[-3:])


def test_a_detached_bank_leaves_the_outputs_and_changes_the_gradient():
    batch, losses, found = drawn(), [], []
    for detach in (False, True):
        rule = SAB(k_att=1, k_top=3, k_trunc=2, detach=detach)
        trained = engine(built(rule), rule)
        losses.append(trained.run(batch))
        found.append(trained.found[-1])
    assert losses[0].equal(losses[1])
    assert (found[0][0] - found[1][0]).norm() > 0.01 * found[0][0].norm()


def test_weights_sum_to_one_and_depend_on_the_query():
    rule = SAB(k_att=1, k_top=3)
    network = built(rule)
    bank, generator = network.bank(2), rng(5)
    for count in range(1, 9):
        h_BK = torch.randn(2, 5, generator=generator).double()
        _, after, _ = rule.reminder.step(bank, h_BK)
        seen = []
        for query_BK in (h_BK, h_BK + 1, -h_BK):
            sparse = rule.reminder.sparse(bank, query_BK)
            close(sparse.weights_RB.sum(0), torch.ones(2).double())
            alive = (sparse.weights_RB > 0).sum(0)
            assert (alive == min(count, 3)).all()
            seen.append(sparse.weights_RB[:, 0])
        # A shift that the threshold cancels would leave them equal.
        assert count == 1 or float((seen[0] - seen[1]).abs().max()) > 1e-3
        bank = after


def test_ties_keep_the_earliest():
    scores_NB = torch.tensor([[1.0, 2.0], [1.0, 3.0], [1.0, 2.0], [1.0, 2.0]]).double()
    all_equal, one_above = sparsify(scores_NB, 2), sparsify(scores_NB[:, 1:], 2)
    assert all_equal.index_RB.T.tolist() == [[2, 0, 1], [2, 1, 0]]
    assert all_equal.weights_RB.T.tolist() == [[0.0, 0.5, 0.5], [0.0, 1.0, 0.0]]
    assert all_equal.slope_B.tolist() == [0.0, 1.0]
    assert one_above.weights_RB.T.tolist() == [[0.0, 1.0, 0.0]]
    credit_RB = torch.randn(3, 2, generator=rng()).double()
    assert not sparsify_vjp(all_equal, credit_RB)[:, 0].any()  # uniform, whatever the scores
    assert not sparsify_vjp(one_above, credit_RB[:, :1]).any()


def test_ties_through_a_whole_network():
    rule = SAB(k_att=1, k_top=2, k_trunc=4)
    network, batch = built(rule), drawn()
    network.attention[2].zero_()  # all scores are 0
    found = gradients(network, rule, batch)
    same(found, autograd(network, rule, batch))
    assert not any(x.any() for x in found[-3:-1])
    assert found[0].any()


@pytest.mark.parametrize("absent", [(), (1, 3), (1, 2, 3, 4)])
@pytest.mark.parametrize("k_top", [1, 2, 3, 5])
def test_the_derivative_of_the_sparsification(k_top, absent):
    scores_N = torch.randn(6, generator=rng(2)).double()
    credit_N = torch.randn(6, generator=rng(4)).double()
    there = [i for i in range(6) if i not in absent]
    leaf_N = scores_N.clone().requires_grad_()
    best, order = leaf_N[there].sort(descending=True)
    threshold = best[k_top] if len(there) > k_top else best[-1] - 1
    above = (best[:k_top] - threshold).relu()
    rows = torch.tensor(there)[order[:k_top]]
    (want_N,) = torch.autograd.grad((above / above.sum() * credit_N[rows]).sum(), leaf_N)
    absent_NB = torch.tensor([[i in absent] for i in range(6)])
    sparse = sparsify(scores_N[:, None], k_top, absent_NB if absent else None)
    of_scores_RB = sparsify_vjp(sparse, credit_N[sparse.index_RB])
    got_N = torch.zeros(6).double().index_add_(0, sparse.index_RB[:, 0], of_scores_RB[:, 0])
    close(got_N, want_N)


def lane_of(batch, b):
    parts = {name: getattr(batch, name)[:, b : b + 1] for name in ("inputs", "targets", "mask")}
    return replace(batch, **parts, resets=batch.resets[:, b : b + 1])


def test_a_lane_does_not_depend_on_the_others():
    rule = SAB(k_att=1, k_top=2, k_trunc=4)
    network, batch = built(rule), drawn(begins=[(4, 0), (7, 2)])
    loss_TB = engine(network, rule).run(batch)
    summed = [torch.zeros_like(p) for p in network.parameters]
    for b in range(B):
        alone = lane_of(batch, b)
        close(engine(network, rule, 1).run(alone)[:, 0], loss_TB[:, b])
        for total, found in zip(summed, gradients(network, rule, alone), strict=True):
            total += found * alone.mask.sum() / batch.mask.sum()
    same(gradients(network, rule, batch), summed)


def test_a_lane_that_begins_within_sees_none_of_its_old_memories():
    rule = SAB(k_att=2, k_top=2, k_trunc=4)
    network, batch = built(rule), drawn(16, begins=[(8, 1)])
    other = replace(batch, inputs=batch.inputs.clone())
    other.inputs[:8, 1] = (batch.inputs[:8, 1] + 1) % A
    whole, changed = (engine(network, rule).run(x) for x in (batch, other))
    assert not whole[:8, 1].equal(changed[:8, 1])
    assert whole[8:, 1].equal(changed[8:, 1])
    close(whole[8:, 1], engine(network, rule, 1).run(lane_of(batch.piece(8, 8), 1))[:, 0])


def test_credit_stops_at_a_window_and_memories_go_on():
    """Where one lane begins anew, the other goes on: the windows of a learner."""
    rule = SAB(k_att=2, k_top=3, k_trunc=3)
    network = built(rule)
    first, second, third = (drawn(7, seed=seed) for seed in range(3))
    second.resets[0] = torch.tensor([True, False, False])
    third.resets[0] = torch.tensor([False, True, False])
    trained = engine(network, rule)
    windows = [first, second, third]
    for batch in windows:
        stepped(trained, batch)
    assert trained.bank.count == 1 + 3 * 3
    for count, found in enumerate(trained.found, start=1):
        same(found, autograd(network, rule, *windows[:count]))


def stepped(trained, batch):
    """Makes a window of the steps of a batch, as a learner does."""
    for t in range(len(batch.mask)):
        trained.predict(batch.inputs[t].numpy(), batch.resets[t].numpy())
        y, mask_B = batch.targets[t].numpy(), batch.mask[t].numpy()
        trained.learn(y, mask_B) if mask_B.any() else trained.learn()
    trained.update()


def staggered(windows, steps=7):
    """Batches of two lanes; the first lane begins in even ones, the second in odd ones."""
    batches = [drawn(steps, lanes=2, seed=seed) for seed in range(windows)]
    for number, batch in enumerate(batches[1:], start=1):
        batch.resets[0] = torch.tensor([number % 2 == 0, number % 2 == 1])
    return batches


def test_memories_that_no_lane_has_any_more_are_dropped():
    rule = SAB(k_att=2, k_top=3, k_trunc=3)
    network, windows = built(rule), staggered(5)
    trained, counts = engine(network, rule, 2), []
    for batch in windows:
        stepped(trained, batch)
        counts.append(trained.bank.count)
    assert counts == [4, 7, 7, 7, 7]  # m_0, and three of each of the last two windows
    for count, found in enumerate(trained.found, start=1):
        same(found, autograd(network, rule, *windows[:count]))


def test_the_window_after_a_reset_of_all_lanes_begins_with_an_empty_bank():
    rule = SAB(k_att=1, k_top=2)
    network = built(rule)
    trained = engine(network, rule)
    for batch in (drawn(), drawn(9, seed=1)):
        trained.run(batch)
    assert trained.bank.count == 10
    (alone,) = (gradients(network, rule, drawn(9, seed=1)),)
    assert all(map(torch.equal, trained.found[-1], alone))


def test_parameters_of_the_attention_are_drawn_last():
    rule = SAB()
    with_it, without = built(rule, seed=4), None
    made = Architecture(CELLS["gru"], 5, Dense(), 0)
    without = made.build(A, O, 4, torch.float64)
    again = Architecture(CELLS["gru"], 5, Dense(), 0, rule.reminder).build(A, O, 4, torch.float64)
    assert again.theta.equal(without.theta)
    assert with_it.readout.parameters[0].shape == (O, 10)
    W1, W2, w3 = Attention(*again.attention)
    assert W1.shape == W2.shape == (5, 5)
    assert w3.shape == (5,)
    assert all(0 < x.abs().max() <= 5**-0.5 for x in (W1, W2, w3))
    names = list(again.state_dict())
    assert names[-3:] == ["attention.0", "attention.1", "attention.2"]
    assert np.array_equal(again.parameters[-1], w3)
