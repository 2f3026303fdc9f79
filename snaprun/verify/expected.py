"""Checks the expectation of UORO's gradient as the mean over all signs of ν, on a small network.

A sample says little where the gradient's spread is many times its size, as with cells that spike.
The mean over all signs has no spread.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Generator, Tensor

from snaprun.cells import Cell
from snaprun.rules import UORO
from snaprun.rules.over_steps import gradients
from snaprun.sparsity import Dense
from snaprun.verify import unrolled
from snaprun.verify.check import Check, equal
from snaprun.verify.problem import Problem

BITS = 15  # at most 2^15 patterns of signs
STEPS = 3  # at most
LANES = 4  # with data of their own, so that some unit of a network that spikes has a slope
BOUND = 1e-8  # where no unit has a slope ρ1 is near 0, and magnifies rounding: 1e-11 was seen
TOGETHER = 2**12  # patterns in one batch


def checks(rule: UORO, like: Problem, seed: int) -> list[Check]:
    """Compare the mean over all signs with autograd, on two units of the cell of `like`.

    Two layers of one unit if `like` has layers. None if two steps have too many signs.
    """
    problem = _small(like, seed)
    drawn_CK = torch.tensor(_has_slopes(like.core.cell))[:, None].expand(-1, problem.core.units)
    free = int(drawn_CK.sum())
    steps = min(STEPS, (BITS + 1) // free)
    if steps < 2:
        return []
    problem = problem.part(slice(steps))
    total_P = torch.zeros_like(problem.theta_P)
    # The gradient is the same under -ν, so the first sign of all is +.
    patterns = 2 ** (steps * free - 1)
    for start in range(0, patterns, TOGETHER):
        count = min(TOGETHER, patterns - start)
        nu_TNCK = torch.ones(steps, count, *drawn_CK.shape)
        nu_TNCK[..., drawn_CK] = _signs(start, count, steps * free).unflatten(0, (steps, -1)).mT
        total_P += _sum(rule, problem.repeated(count), nu_TNCK.repeat_interleave(LANES, 1))
    what = f"mean over all signs of ν in {steps} steps, autograd"
    return [equal(what, total_P / patterns, unrolled.gradients(problem)[0], BOUND)]


def _has_slopes(cell: Cell) -> list[bool]:
    """Return the components (c,) whose ν has an effect: others have no slope at all."""
    onward = [any(column) for column in zip(*cell.state_pattern, strict=True)]
    return [any(row) or on for row, on in zip(cell.slope_pattern, onward, strict=True)]


def _small(like: Problem, seed: int) -> Problem:
    """Return a problem of two units, without gaps, of which all lanes begin at step 0 alone."""
    units = 2 if len(like.core.layout.layers) == 1 else (1, 1)
    problem = Problem.draw(
        like.core.cell,
        Dense(),
        units=units,
        inputs=1,
        outputs=2,
        lanes=LANES,
        steps=STEPS,
        seed=seed,
    )
    resets_TB = torch.zeros_like(problem.resets_TB)
    resets_TB[0] = True
    return replace(problem, resets_TB=resets_TB, targets_TB=problem.targets_TB.clamp(min=0))


def _signs(start: int, count: int, bits: int) -> Tensor:
    """Return the bits of `count` numbers from `start` on as signs, shape (bits, count)."""
    number_N = torch.arange(start, start + count)
    return 1.0 - 2 * (number_N >> torch.arange(bits)[:, None] & 1)


def _sum(rule: UORO, problem: Problem, nu_TBCK: Tensor) -> Tensor:
    """Return the rule's gradient, summed over lanes, with given signs."""
    ahead: Iterator[Tensor] = iter(nu_TBCK)
    state = replace(rule.init(problem.setup(Generator())), draw=lambda shape: next(ahead))
    return gradients(rule, state, list(problem.records()), problem.steps)[0]
