"""The comparisons along a training run; they leave the run itself unchanged."""

import copy
from collections.abc import Mapping
from dataclasses import replace

from snaprun import checks
from snaprun.align import point, stale, still
from snaprun.align.candidates import Candidate, own
from snaprun.align.options import AlignOptions
from snaprun.align.replay import Replay, seed
from snaprun.core import Sizes
from snaprun.engine.base import Engine
from snaprun.engine.torch import TorchEngine
from snaprun.rules import BPTT
from snaprun.run.machine import build_engine
from snaprun.run.parts import Parts
from snaprun.run.signals import StopSignals
from snaprun.seeding import stream
from snaprun.store.schema import ALIGNMENT
from snaprun.tasks import Task


class Probe:
    """Compares `candidates` and the run's own rule with the exact gradient; a run.loop.Probe.

    `name` is the YAML name of the run's own rule. Every point starts from the same random seed, so
    that only the network and the task's curriculum, if it has one, change between points.
    """

    lighter = "fewer or cheaper align.rules, fewer align.draws"

    def __init__(
        self,
        options: AlignOptions,
        parts: Parts,
        candidates: Mapping[str, Candidate],
        name: str,
    ):
        self._options, self._parts = options, parts
        mine = own(name, parts.rule, parts.options.update_every)
        self._candidates, self._own = {**candidates, **mine}, next(iter(mine), "")
        for word, (rule, _) in self._candidates.items():
            if rule.reminder is not None:
                remedy = "It trains a network of its own, of which no other rule has the gradient."
                checks.refuse("rule", word, "rules that share one network", remedy)
        end, apart = parts.options.tokens, max(1, options.points - 1)
        self.marks = [end * i // apart for i in range(apart + 1)][-options.points :]

    def bytes(self, sizes: Sizes) -> int:
        """Return the bytes that one point needs: the batch's steps and the largest rule's draws."""
        steps = replace(sizes, window=self._parts.task.steps())
        backend = self._parts.machine.backend
        most = 0
        for rule, _ in self._candidates.values():
            needed = rule.storage(steps, backend)
            draws = self._options.draws if rule.claim == "unbiased" else 1
            # The draws singly and stacked, and their errors in float64.
            gradients = draws * sizes.parameters * (2 * sizes.itemsize + 16)
            most = max(most, needed.kept + needed.scratch + needed.step + needed.index + gradients)
        return BPTT().storage(steps, backend).kept + most

    def __call__(
        self, since: int, tokens: int, task: Task, engine: Engine, stop: StopSignals
    ) -> dict[str, float]:
        """Return the values at the point between `since` and `tokens`; {} if there is no point."""
        if not any(since <= mark <= tokens for mark in self.marks):
            return {}
        machine, lanes = self._parts.machine, self._parts.options.lanes
        generator = stream(machine.seed, "align")
        core, network = engine.network.core, copy.deepcopy(engine.network)
        batch = still.draw(task, lanes, generator).to(core.device)
        outputs = network.readout.parameters[-1].numel()
        replay = Replay(
            core, lanes, network.dtype, outputs, machine.backend, machine.seed, stop.check
        )
        values = point.beside_exact(
            replay, network, batch, self._candidates, self._options.draws, generator
        )
        if self._options.stale and stale.carries(engine.rule):
            found = stale.at_updates(
                replay, engine.rule, self._twin(engine), batch, self._options.stale, seed(generator)
            )
            values |= point.staleness(core, self._own, found)
        return {f"{ALIGNMENT}/{name}": value for name, value in values.items()}

    def _twin(self, engine: Engine) -> Engine:
        """Return an engine that trains on as `engine` would, on a copy of its parameters."""
        parts, machine = self._parts, copy.copy(self._parts.machine)
        machine.engine = "torch" if isinstance(engine, TorchEngine) else "native"
        twin = build_engine(
            machine,
            copy.deepcopy(engine.network),
            parts.rule,
            parts.optimiser,
            lanes=parts.options.lanes,
            update_every=parts.options.update_every,
            noise=stream(parts.machine.seed, "noise"),
            average=parts.options.average,
        )
        twin.load_state_dict(engine.state_dict())
        return twin
