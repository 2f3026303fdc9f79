"""A run that needs more memory than there is, refused in one line before it takes any."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from snaprun import checks, hardware
from snaprun.checks import UserError
from snaprun.core import RecurrentCore, Sizes
from snaprun.costs.memory import (
    BATCH,
    LOOKS,
    OPTIMISER,
    PARAMETERS,
    PASSING,
    SCRATCH,
    TAPE,
    Demand,
    in_units,
    predict,
)
from snaprun.engine import native
from snaprun.engine.torch import SEQUENCE
from snaprun.rules import RULES
from snaprun.run.machine import takes_native
from snaprun.sparsity import SPARSITIES

if TYPE_CHECKING:
    from snaprun.run.loop import Probe
    from snaprun.run.parts import Parts

# J as it is expected of a random mask is at least 1 / MOST times what it turns out to be, the
# padding of its storage included, and at most LEAST times, from 64 units on and where a unit feeds
# FED others or more; where it feeds fewer, few units may reach the many that some do.
LEAST, MOST, FED = 2.1, 1.5, 2.0


def sizes(parts: "Parts", core: RecurrentCore | None = None) -> Sizes:
    """The counts of a run: exact from its core, expected before that is drawn."""
    architecture, options = parts.architecture, parts.options
    steps = parts.task.steps()
    window = options.update_every if isinstance(options.update_every, int) else steps
    others = {
        "lanes": options.lanes,
        "window": min(window, options.tokens // options.lanes + steps),
        "outputs": parts.task.outputs,
        "hidden": architecture.hidden,
        "itemsize": parts.machine.dtype.itemsize,
        "threads": parts.machine.threads,
    }
    if core is not None:
        return Sizes.of(core, **others)
    sparsity, units = architecture.sparsity, architecture.units
    return Sizes.before(architecture.cell, sparsity, units, parts.task.inputs, **others)


def demand(parts: "Parts", counts: Sizes, probe: "Probe | None" = None) -> Demand:
    """What the run takes on the engine that will train it, and what the probe takes that looks."""
    machine = parts.machine
    cell, device, optimiser = parts.architecture.cell, machine.device, parts.optimiser
    lacks = native.lacks(cell, device, machine.dtype, parts.rule, optimiser, parts.task.loss)
    return predict(
        counts,
        parts.rule,
        None if takes_native(machine, lacks) else machine.backend,
        moments=len(optimiser.moments),
        copies=int(parts.options.average is not None),
        batch_steps=parts.task.steps(),
        held_out_lanes=parts.task.held_out_lanes,
        prunes=parts.architecture.sparsity.prunes,
        looks=probe.bytes(counts) if probe else 0,
    )


def check(parts: "Parts", probe: "Probe | None" = None) -> bool:
    """Whether the run certainly fits; UserError where it certainly does not. Nothing is drawn."""
    expected = demand(parts, sizes(parts), probe)
    architecture = parts.architecture
    fed = architecture.sparsity.linked(1) * architecture.units
    # Of a mask that may reach far less it is only sure that it is drawn.
    drawn = Demand(dict.fromkeys(expected.parts, 0), expected.setup)
    _refuse_beyond(parts, probe, drawn if 0 < fed < FED else expected, LEAST)
    return all(MOST * needed <= left for needed, left, _ in places(parts, expected))


def check_drawn(parts: "Parts", core: RecurrentCore, probe: "Probe | None" = None) -> None:
    """UserError where the run does not fit, counted from its masks."""
    _refuse_beyond(parts, probe, demand(parts, sizes(parts, core), probe), 1.0)


def exhausted(parts: "Parts", probe: "Probe | None" = None) -> UserError:
    """What to say where memory ran out all the same."""
    expected = demand(parts, sizes(parts), probe)
    return UserError(_line(parts, probe, expected, expected.total, "and memory ran out"))


def places(parts: "Parts", needed: Demand) -> list[tuple[int, int, str]]:
    """Bytes needed, bytes left and where: here, and on a CUDA device, where most of them lie."""
    left, bound = hardware.available_bytes()
    if parts.machine.device != "cuda":
        return [(needed.total, left, bound)]
    free, _ = torch.cuda.mem_get_info()
    host = max(needed.setup, needed.parts[PASSING])
    return [(host, left, bound), (sum(needed.parts.values()), free, "on the CUDA device")]


def _refuse_beyond(parts: "Parts", probe: "Probe | None", needed: Demand, factor: float) -> None:
    for total, left, bound in places(parts, needed):
        if total > factor * left:
            raise UserError(
                _line(parts, probe, needed, total, f"and {in_units(left)} is left {bound}")
            )


def _line(parts: "Parts", probe: "Probe | None", needed: Demand, total: int, left: str) -> str:
    """What needs how much memory, what is left, and which choice needs less."""
    part, size = needed.largest
    causes, remedies = _words(parts, part)
    if part == LOOKS and probe:
        remedies = [probe.lighter, *remedies]
    return (
        f"{', '.join(causes)}: this needs about {in_units(total)} of memory, {in_units(size)} of "
        f"it for the {part}, {left}. Take {_either(remedies)}."
    )


def _words(parts: "Parts", part: str) -> tuple[list[str], list[str]]:
    """The choices that make a part of the demand large, the first the most, and what helps."""
    task, options, architecture = parts.task, parts.options, parts.architecture
    units, lanes, steps = architecture.units, options.lanes, task.steps()
    of_lanes = (f"train.lanes={lanes}", "fewer train.lanes" if lanes > 1 else "")
    of_units = (f"cell.units={units}", "fewer cell.units")
    of_sparsity = (
        f"sparsity={_name(SPARSITIES, architecture.sparsity)}",
        architecture.sparsity.sparser,
    )
    of_rule = (f"rule={_name(RULES, parts.rule)}", parts.rule.lighter)
    key = f"task.{task.length_key}"
    length = task.length_key and getattr(task, task.length_key)
    of_length = (f"{key}={length}", f"a smaller {key}" if length else "")
    every = options.update_every
    of_window = (f"train.update_every={every}", "a smaller train.update_every")
    if part == BATCH:
        found = [of_lanes, of_length] if lanes > steps else [of_length, of_lanes]
    elif part == TAPE:
        window = of_length if every == SEQUENCE and length else of_window
        found = [of_lanes, of_units, window] if lanes > units else [window, of_units, of_lanes]
    elif part in (PARAMETERS, OPTIMISER, SCRATCH) and architecture.hidden > 4 * units:
        found = [(f"readout.hidden={architecture.hidden}", "a smaller readout.hidden")]
    elif lanes > units:
        found = [of_rule, of_lanes, of_units]
    else:
        found = [of_rule, of_units, of_sparsity, of_lanes]
    found = [(cause, remedy) for cause, remedy in found if remedy]
    return [cause for cause, _ in found], [remedy for _, remedy in found]


def _either(choices: Sequence[str]) -> str:
    *first, last = choices
    return f"{', '.join(first)} or {last}" if first else last


def _name(registry: Mapping[str, type], made: object) -> str:
    """The name by which the configuration chose an object."""
    name = checks.registered(registry, made)
    return f"{name}{getattr(made, 'n', None) or ''}" or type(made).__name__
