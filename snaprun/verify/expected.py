"""Checks the expectation of UORO's gradient as the mean over all signs of ν, on small networks.

A sample says little where the gradient's spread is many times its size, as with cells that spike.
The mean over all signs has no spread.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Generator, Tensor

from snaprun.cells import Cell
from snaprun.rules import UORO
from snaprun.rules.over_steps import gradients
from snaprun.sparsity import Dense
from snaprun.verify import unrolled
from snaprun.verify.check import Check, equal
from snaprun.verify.problem import NO_TARGET, Problem

SIGNS = 16  # at most, of all steps
STEPS = 3  # at most
LANES = 4  # with data of their own
TRIES = 40  # problems that are drawn, until every weight of one has a slope and the past matters
BOUND = 1e-8  # where no unit has a slope ρ1 is near 0, and magnifies rounding: 1e-11 was seen
TOGETHER = 2**12  # patterns of signs in one batch


def checks(rule: UORO, cell: Cell, layers: int, seed: int) -> list[Check]:
    """Compare the mean over all signs with autograd, on two units of the cell and on one.

    With several layers also on two layers of a unit. A network on which even two steps take more
    than SIGNS signs is left out, and a rule whose `step` does not draw ν by `state.draw`, once.
    """
    networks: list[Sequence[int]] = [(2,), (1,)]
    networks += [(1, 1)] * (layers > 1)
    made = (_check(rule, cell, units, seed) for units in networks)
    return [check for check in made if check]


def _check(rule: UORO, cell: Cell, units: Sequence[int], seed: int) -> Check | None:
    drawn_CK = torch.tensor(_has_slopes(cell))[:, None].expand(-1, sum(units))
    free = int(drawn_CK.sum())
    steps = min(STEPS, SIGNS // free)
    if steps < 2:
        return None
    problem, lacks = _telling(cell, units, steps, seed)
    total_P = torch.zeros_like(problem.theta_P)
    # The gradient is the same under -ν, so the first sign of all is +.
    patterns = 2 ** (steps * free - 1)
    for start in range(0, patterns, TOGETHER):
        count = min(TOGETHER, patterns - start)
        nu_TNCK = torch.ones(steps, count, *drawn_CK.shape)
        nu_TNCK[..., drawn_CK] = _signs(start, count, steps * free).unflatten(0, (steps, -1)).mT
        ahead = iter(nu_TNCK.repeat_interleave(LANES, 1))
        try:
            total_P += _sum(rule, problem.repeated(count), ahead)
        except StopIteration:
            return None
        if next(ahead, None) is not None:
            return None
    of = " and ".join(map(str, units)) + " unit" + "s" * (units != (1,))
    what = f"mean over all signs of ν in {steps} steps of {of}, autograd"
    found = equal(what, total_P / patterns, unrolled.gradients(problem)[0], BOUND)
    return replace(found, detail=lacks)


def _has_slopes(cell: Cell) -> list[bool]:
    """Return the components (c,) whose ν has an effect: others have no slope at all."""
    onward = [any(column) for column in zip(*cell.state_pattern, strict=True)]
    return [any(row) or on for row, on in zip(cell.slope_pattern, onward, strict=True)]


def _telling(cell: Cell, units: Sequence[int], steps: int, seed: int) -> tuple[Problem, str]:
    """Return a problem that can refute a rule, and in words what it lacks for that.

    Every weight has a gradient, and one that differs where the past is forgotten.
    """
    best, most = _small(cell, units, steps, seed), (-1, -1)
    for number in range(TRIES):
        problem = _small(cell, units, steps, TRIES * seed + number)
        exact_P = unrolled.gradients(problem)[0]
        always = replace(problem, resets_TB=torch.ones_like(problem.resets_TB))
        past_P = exact_P - unrolled.gradients(always)[0]
        telling = int((exact_P != 0).sum()), int((past_P != 0).sum())
        if telling > most:
            best, most = problem, telling
        if telling == (len(exact_P), len(exact_P)):
            return best, ""
    lacks = most[0] < len(best.theta_P)
    return best, f"{most[0]} of {len(best.theta_P)} weights have a slope" if lacks else ""


def _small(cell: Cell, units: Sequence[int], steps: int, seed: int) -> Problem:
    """Return a problem with a reset in lane 0 alone, and without a target at step 1 of 3."""
    problem = Problem.draw(
        cell, Dense(), units=units, inputs=1, outputs=2, lanes=LANES, steps=steps, seed=seed
    )
    resets_TB, targets_TB = torch.zeros_like(problem.resets_TB), problem.targets_TB.clamp(min=0)
    resets_TB[0] = resets_TB[steps // 2, 0] = True
    targets_TB[1 : steps - 1][:1] = NO_TARGET
    return replace(problem, resets_TB=resets_TB, targets_TB=targets_TB)


def _signs(start: int, count: int, bits: int) -> Tensor:
    """Return the bits of `count` numbers from `start` on as signs, shape (bits, count)."""
    number_N = torch.arange(start, start + count)
    return 1.0 - 2 * (number_N >> torch.arange(bits)[:, None] & 1)


def _sum(rule: UORO, problem: Problem, ahead: Iterator[Tensor]) -> Tensor:
    """Return the rule's gradient, summed over lanes, with given ν (B, C, K) of every step."""
    state = replace(rule.init(problem.setup(Generator())), draw=lambda shape: next(ahead))
    return gradients(rule, state, list(problem.records()), problem.steps)[0]
