"""What online updates do to a rule that carries its influence matrix J through them.

Three gradients are compared at an update, for the same data and the same credit δ_t:
stale, the δ_t J_t of the update itself, where J_t was built up under earlier weights;
fresh, the same rule with J_t recomputed from the beginning of the sequence under the weights of
step t; and exact, the exact gradient under the weights of step t.
Shape suffix: P live recurrent parameters.
"""

import copy
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from snaprun.align import still
from snaprun.align.replay import Replay
from snaprun.core import Record
from snaprun.engine.base import Engine
from snaprun.rules import BPTT, Frozen, LearningRule
from snaprun.rules.over_steps import advance
from snaprun.tasks import Batch


class Gradients(NamedTuple):
    """The three gradients of the steps since the previous update."""

    stale_P: Tensor
    fresh_P: Tensor
    exact_P: Tensor


class Update(NamedTuple):
    """One update, made while an engine trains on a batch."""

    end: int  # the number of steps before it
    theta_P: Tensor  # the parameters before it
    gradient_P: Tensor  # the gradient that it followed


Credit = dict[str, Tensor | None]  # δ_t and the output error of one step, by Record's names


def carries(rule: LearningRule) -> bool:
    """Return whether the rule carries any state through an update."""
    return not (rule.taped or isinstance(rule, Frozen))


def at_updates(
    replay: Replay, rule: LearningRule, engine: Engine, batch: Batch, updates: int, noise: int
) -> list[Gradients]:
    """Train `engine` on the batch and return the gradients at `updates` of its updates.

    These are evenly spread and include the last one. Every lane must begin a sequence at the
    first step of the batch.
    """
    credits, made = online(replay, rule, engine, batch, noise)
    found: list[Gradients] = []
    for chosen in evenly(len(made), updates):
        end, theta_P, stale_P = made[chosen]
        begin = made[chosen - 1].end if chosen else 0

        def again(t: int, record: Record, state_BCK: Tensor, begin: int = begin) -> Record:
            del state_BCK
            return replace(record, **credits[t]) if t >= begin else record

        weights_MKJ = replay.core.layout.scatter(theta_P)
        steps = still.steps(replay.core, weights_MKJ, batch, end, again)
        fresh_P = replay.whole(rule, steps, noise)
        found.append(Gradients(stale_P, fresh_P, replay.whole(BPTT(), steps)))
    return found


def online(
    replay: Replay, rule: LearningRule, engine: Engine, batch: Batch, noise: int
) -> tuple[list[Credit], list[Update]]:
    """Train `engine` on the batch; return the credit of every step and all updates."""
    core, network = engine.network.core, engine.network
    credits, made = list[Credit](), list[Update]()
    state, state_BCK = replay.begin(rule, noise), core.initial_state(replay.lanes, replay.dtype)
    for t in range(len(batch.mask)):
        replay.pause()
        piece, updates, theta_P = batch.piece(t, 1), engine.updates, network.theta.clone()
        # A copy: the engine may keep a running sum in its own readout's `.grad`.
        with_credit = still.through(core, copy.deepcopy(network.readout), piece)
        state_BCK = state_BCK.masked_fill(batch.resets[t][:, None, None], 0)
        state_BCK, linearise = core.step(network.weights(), state_BCK, batch.inputs[t])
        record = with_credit(0, linearise(), state_BCK)
        credits.append({"credit_BCK": record.credit_BCK, "error_BO": record.error_BO})
        state = advance(rule, state, [(batch.resets[t], record)])
        engine.run(piece)
        if engine.updates > updates:
            gradient_P, state = rule.gradient(state)
            made.append(Update(t + 1, theta_P, gradient_P))
    return credits, made


def evenly(count: int, chosen: int) -> list[int]:
    """Pick `chosen` of `count` indices, evenly spaced and ending at the last; all if fewer."""
    chosen = min(count, chosen)
    return [(count * (i + 1)) // chosen - 1 for i in range(chosen)]
