"""Builds the network and the engine of a run or of a learner, if they fit into memory."""

import logging

from snaprun import checks
from snaprun.engine.base import SEQUENCE, Engine
from snaprun.run import memory
from snaprun.run.loop import Probe
from snaprun.run.machine import build_engine
from snaprun.run.parts import Parts
from snaprun.run.remarks import remarks
from snaprun.seeding import stream

log = logging.getLogger(__name__)


def built(parts: Parts, probe: Probe | None = None) -> Engine:
    """Return the engine before its first step; raises UserError if there is not enough memory."""
    machine, options, task = parts.machine, parts.options, parts.task
    if parts.architecture.sparsity.rewires and options.update_every != SEQUENCE:
        checks.refuse(
            "train.update_every",
            options.update_every,
            f"{SEQUENCE} for a sparsity that rewires after every update",
            f"Set train.update_every={SEQUENCE}.",
        )
    fits = memory.check(parts, probe)
    network = parts.architecture.build(
        task.inputs, task.outputs, machine.seed, machine.dtype, machine.device, task.loss
    )
    if not fits:
        memory.check_drawn(parts, network.core, probe)
    engine = build_engine(
        machine,
        network,
        parts.rule,
        parts.optimiser,
        lanes=options.lanes,
        update_every=options.update_every,
        noise=stream(machine.seed, "noise"),
        average=options.average,
    )
    for remark in remarks(parts, network.core):
        log.warning(remark)
    return engine
