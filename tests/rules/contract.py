"""What holds for every learning rule, whatever it claims."""

import copy

import torch

from snaprun.influence import choose
from snaprun.rules import LearningRule
from snaprun.rules.over_steps import advance
from snaprun.verify.problem import Problem
from tests.cases import close, lane, rng, without_resets


def start(rule: LearningRule, problem: Problem, seed: int = 0):
    """The initial state and the generator of its noise."""
    noise = rng(seed)
    return rule.init(problem.setup(noise, choose("auto"))), noise


def gradient(rule: LearningRule, problem: Problem) -> torch.Tensor:
    state, _ = start(rule, problem)
    return rule.gradient(advance(rule, state, problem.records()))[0]


def check_gradient(rule: LearningRule, problem: Problem) -> None:
    """Shape and dtype; nothing before credit; nothing twice; what was returned stays as it is."""
    state, _ = start(rule, problem)
    steps = list(problem.records())
    gradient_P, state = rule.gradient(state)
    assert gradient_P.shape == problem.theta_P.shape
    assert gradient_P.dtype == torch.float64
    assert not gradient_P.any()
    without = next(step for step in steps if step[1].credit_BCK is None)
    gradient_P, state = rule.gradient(advance(rule, state, [without]))
    assert not gradient_P.any()

    first_P, state = rule.gradient(advance(rule, state, steps))
    kept_P = first_P.clone()
    assert first_P.isfinite().all()
    again_P, state = rule.gradient(state)
    assert again_P.shape == first_P.shape
    assert not again_P.any()
    rule.gradient(advance(rule, state, steps))
    assert first_P.equal(kept_P)


def check_reset(rule: LearningRule, problem: Problem) -> None:
    """A reset of all lanes, at once or one after another, forgets all that went before."""
    steps = list(problem.records())
    wanted = {}
    for how in ("fresh", "at once", "lane by lane"):
        state, noise = start(rule, problem)
        if how != "fresh":
            _, state = rule.gradient(advance(rule, state, steps[:-1]))
        lanes = torch.arange(problem.lanes)
        for b in lanes if how == "lane by lane" else [lanes]:
            state = rule.reset(state, torch.isin(lanes, b))
        noise.manual_seed(5)
        wanted[how] = rule.gradient(advance(rule, state, steps))[0]
    close(wanted["at once"], wanted["fresh"])
    close(wanted["lane by lane"], wanted["fresh"])


def check_reset_within_a_window(rule: LearningRule, problem: Problem) -> None:
    """Lanes that begin one after another at the same step begin as if at once."""
    steps = list(without_resets(problem).records())
    half = problem.steps // 2
    found = []
    for lanes in ([[0, 1]], [[0], [1]], [[1], [0], [0]]):
        state, _ = start(rule, problem)
        state = advance(rule, state, steps[:half])
        for chosen in lanes:
            state = rule.reset(state, torch.isin(torch.arange(problem.lanes), torch.tensor(chosen)))
        found.append(rule.gradient(advance(rule, state, steps[half:]))[0])
    close(found[1], found[0])
    close(found[2], found[0])


def check_lanes(rule: LearningRule, problem: Problem) -> None:
    """The gradient of a batch is the sum over its lanes run singly; noise apart."""
    singly = [gradient(rule, lane(problem, b)) for b in range(problem.lanes)]
    close(gradient(rule, problem), torch.stack(singly).sum(0))


def check_memory(rule: LearningRule, problem: Problem) -> None:
    """What is kept is tensors of the problem's kind, and a cost is counted for it."""
    state, _ = start(rule, problem)
    state = advance(rule, state, problem.records())
    cost = rule.cost(problem.core, problem.steps)
    kept = list(rule.kept(state))
    assert all(x.dtype == torch.float64 for x in kept)
    assert bool(sum(x.numel() for x in kept)) == bool(cost.state)
    weights = int(problem.core.layout.live_MKJ[:, :, :-1].sum())
    assert cost.macs >= weights
    assert cost.touched <= 2 * cost.state
    assert cost.memory_order
    assert cost.time_order


def check_saved(rule: LearningRule, problem: Problem) -> None:
    """A saved state goes on elsewhere bit by bit, wherever it was taken, and stays as it is."""
    steps = list(problem.records())
    for taken in range(problem.steps + 1):
        state, noise = start(rule, problem)
        _, state = rule.gradient(advance(rule, state, steps[:2]))
        state = advance(rule, state, steps[:taken])
        saved, noise_then = rule.state_dict(state), noise.get_state()
        kept = copy.deepcopy(saved)
        other, noise_there = start(rule, problem, seed=1)
        noise_there.set_state(noise_then)
        if taken and (recall := steps[taken - 1][1].recall):
            other = rule.with_bank(other, recall.bank)
        other = rule.load_state_dict(other, saved, steps[0][1].weights_MKJ)
        wanted_P, state = rule.gradient(advance(rule, state, steps[taken:]))
        found_P, other = rule.gradient(advance(rule, other, steps[taken:]))
        assert found_P.equal(wanted_P)
        # What was handed out may be changed: no state may share its memory.
        wanted_P.zero_(), found_P.zero_()
        torch.testing.assert_close(rule.state_dict(other), rule.state_dict(state), rtol=0, atol=0)
        torch.testing.assert_close(saved, kept, rtol=0, atol=0)


def check_labels(rule: LearningRule, problem: Problem) -> None:
    """What is saved of every parameter says so, or a change of the mask would not find it."""
    saved, labels = rule.state_dict(start(rule, problem)[0]), rule.labels(problem.core)
    of_each = {k for k in saved.keys() - {"tape"} if saved[k].shape[-1:] == problem.theta_P.shape}
    assert of_each <= labels.keys() <= saved.keys()
    for name, label in labels.items():
        assert label.dtype == torch.int64
        assert len(label) == len(label.unique()) == saved[name].shape[-1]


def check(rule: LearningRule, problem: Problem) -> None:
    """All of the contract."""
    check_gradient(rule, problem)
    check_saved(rule, problem)
    check_labels(rule, problem)
    check_reset(rule, problem)
    check_memory(rule, problem)
    if rule.claim != "unbiased":
        check_reset_within_a_window(rule, problem)
        check_lanes(rule, problem)
