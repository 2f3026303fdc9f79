"""Checks sparse attentive backtracking against autograd with the cut edges detached.

Only the `transition` of the cell and the definition of the attention are used. Shape suffixes as in
core/reminder.py and verify/unrolled.py.
"""

import torch
from torch import Generator, Tensor

from snaprun.core import Attention
from snaprun.rules import SAB
from snaprun.rules.over_steps import advance
from snaprun.verify import unrolled
from snaprun.verify.check import Check, equal
from snaprun.verify.problem import Problem


def checks(rule: SAB, problem: Problem) -> list[Check]:
    """Check the gradients of θ and of the attention over the whole sequence."""
    state = rule.init(problem.setup(Generator()))
    got_P, state = rule.gradient(advance(rule, state, problem.records()))
    wanted = gradients(rule, problem)
    # Together, because some may be zero: no weight depends on the length of w₃, or on one memory.
    both = [(got_P, *rule.attention(state)), wanted]
    got, want = (torch.cat([x.flatten() for x in parts]) for parts in both)
    return [
        equal("gradient, autograd with cuts", got_P, wanted[0]),
        equal("the same with those of W₁, W₂ and w₃", got, want),
    ]


def gradients(rule: SAB, problem: Problem) -> list[Tensor]:
    """Return ∂(Σ loss) by θ, W₁, W₂ and w₃."""
    assert problem.attention is not None
    core, loss = problem.core, unrolled.cross_entropy(problem)
    leaves = [x.clone().requires_grad_() for x in (problem.theta_P, *problem.attention)]
    theta_P, attention = leaves[0], Attention(*leaves[1:])
    state_BCK = core.initial_state(problem.lanes, torch.float64)
    top = core.layers[-1].units
    zero_BK = torch.zeros_like(state_BCK[:, 0, top])
    banks = [[zero_BK[b]] for b in range(problem.lanes)]
    total = torch.stack([x.sum() for x in leaves]).sum() * 0  # that all have a gradient
    for t in range(problem.steps):
        if (t + 1) % rule.k_trunc == 0:
            state_BCK = state_BCK.detach()
        begin_B = problem.resets_TB[t]
        state_BCK = state_BCK * (~begin_B).to(state_BCK)[:, None, None]
        banks = [bank[:1] if new else bank for bank, new in zip(banks, begin_B, strict=True)]
        point = core, theta_P, state_BCK, problem.inputs_TBA[t], unrolled.attached
        state_BCK = unrolled.next_state(*point)
        proposed_BK = state_BCK[:, 0, top]
        summary_BK = torch.stack(
            [
                summary(torch.stack(bank), h_K, attention, rule.k_top)
                for bank, h_K in zip(banks, proposed_BK, strict=True)
            ]
        )
        h_BK = proposed_BK + summary_BK
        state_BCK = state_BCK.clone()
        state_BCK[:, 0, top] = h_BK
        if (t + 1) % rule.k_att == 0:
            kept_BK = h_BK.detach() if rule.detach else h_BK
            banks = [[*bank, m_K] for bank, m_K in zip(banks, kept_BK, strict=True)]
        total = total + loss(torch.cat((h_BK, summary_BK), 1), problem.targets_TB[t], slice(None))
    return list(torch.autograd.grad(total, leaves))


def summary(bank_NK: Tensor, h_K: Tensor, attention: Attention, k_top: int) -> Tensor:
    """Return s of one lane, from its memories and the query ĥ."""
    query_K = attention.query_KK @ h_K
    scores_N = torch.tanh(bank_NK @ attention.memory_KK.T + query_K) @ attention.score_K
    best_N, order_N = scores_N.sort(descending=True, stable=True)
    few = len(scores_N) <= k_top
    above_N = (best_N - (best_N[-1] - 1 if few else best_N[k_top]))[:k_top].relu()
    if not above_N.any():  # all of those kept equal the threshold
        above_N = torch.ones_like(above_N)
    return above_N / above_N.sum() @ bank_NK[order_N[:k_top]]
