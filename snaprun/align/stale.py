"""What online updates do to a rule that carries its influence over them.

Each update finds δ_t J_t with a J_t that earlier weights have built. Beside it stand the same
rule with J_t recomputed from the beginning of the sequence under the weights of step t, and the
exact gradient under those weights, all three for the same data and the same credit δ_t.
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
    """Of the steps since the update before."""

    stale_P: Tensor
    fresh_P: Tensor
    exact_P: Tensor


class Update(NamedTuple):
    """One made while a batch is trained on."""

    end: int  # the number of steps before it
    theta_P: Tensor  # until then
    gradient_P: Tensor  # along which it was made


Credit = dict[str, Tensor | None]  # δ_t and the output error of one step, by Record's names


def carries(rule: LearningRule) -> bool:
    """Whether something of the rule outlives an update."""
    return not isinstance(rule, BPTT | Frozen)


def at_updates(
    replay: Replay, rule: LearningRule, engine: Engine, batch: Batch, updates: int, noise: int
) -> list[Gradients]:
    """The gradients at `updates` of the batch's updates, evenly spread, the last one included.

    `engine` is trained on the batch, at whose first step every lane begins.
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
    """The credit of every step, and the updates, while `engine` trains on the batch."""
    core, network = engine.network.core, engine.network
    credits, made = list[Credit](), list[Update]()
    state, state_BCK = replay.begin(rule, noise), core.initial_state(replay.lanes, replay.dtype)
    for t in range(len(batch.mask)):
        replay.pause()
        piece, updates, theta_P = batch.piece(t, 1), engine.updates, network.theta.clone()
        # The engine may keep a running sum in its own readout's `.grad`.
        with_credit = still.through(copy.deepcopy(network.readout), piece)
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
    """`chosen` of `count` indices at even distances up to the last, all where there are fewer."""
    chosen = min(count, chosen)
    return [(count * (i + 1)) // chosen - 1 for i in range(chosen)]
