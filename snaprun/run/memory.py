"""The memory check refuses a run that needs too much memory before the run takes any."""

from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch

from snaprun import hardware
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
from snaprun.engine.base import SEQUENCE
from snaprun.registry import Registry
from snaprun.rules import RULES
from snaprun.rules.bptt import bounded
from snaprun.run.machine import takes_native
from snaprun.sparsity import SPARSITIES

if TYPE_CHECKING:
    from snaprun.run.loop import Probe
    from snaprun.run.parts import Data, Parts

# The size of J expected for a random mask is between 1 / MOST and LEAST times the actual size,
# storage padding included. This holds from 64 units on if a unit feeds at least FED others on
# average. If units feed fewer, J may turn out much smaller; and if units feed none but those of the
# layer above, as under a diagonal recurrence, the J of RTRL may.
LEAST, MOST, FED = 2.1, 1.5, 2.0


def sizes(parts: "Parts", core: RecurrentCore | None = None) -> Sizes:
    """Return the counts of a run: exact if `core` is given, else as expected before drawing."""
    architecture, options = parts.architecture, parts.options
    steps = parts.task.steps()
    window = options.update_every if isinstance(options.update_every, int) else steps
    most = options.tokens // options.lanes + steps
    others = {
        "lanes": options.lanes,
        # A window is planned as a whole, also if the run ends within it.
        "window": window if parts.rule.replays else min(window, most),
        "outputs": parts.task.outputs,
        "hidden": architecture.hidden,
        "itemsize": parts.machine.dtype.itemsize,
        "threads": parts.machine.threads,
    }
    if core is not None:
        return Sizes.of(core, **others)
    sparsity, units = architecture.sparsity, architecture.units
    choices = architecture.cell, sparsity, units, parts.task.inputs, architecture.reminder
    return Sizes.before(*choices, **others)


def demand(parts: "Parts", counts: Sizes, probe: "Probe | None" = None) -> Demand:
    """Return the memory that the run takes on the engine that will train it, and the probe's."""
    return predict(
        counts,
        parts.rule,
        _backend(parts),
        moments=len(parts.optimiser.moments),
        copies=int(parts.options.average is not None),
        batch_steps=parts.task.steps(),
        held_out_lanes=parts.task.held_out_lanes,
        prunes=parts.architecture.sparsity.prunes or parts.architecture.sparsity.rewires,
        numbers=_numbers(parts.task),
        looks=probe.bytes(counts) if probe else 0,
    )


def _backend(parts: "Parts") -> ModuleType | None:
    """Return the influence backend of the torch engine, or None if the run takes the C++ engine."""
    machine, cell = parts.machine, parts.architecture.cell
    others = parts.rule, parts.optimiser, parts.task.loss
    lacks = native.lacks(cell, machine.device, machine.dtype, *others)
    return None if takes_native(machine, lacks) else machine.backend


def _numbers(task: "Data") -> int:
    """Return how many numbers a batch has at most per token, from its inputs to its baseline.

    Targets that are classes are no numbers. Outputs are kept for measures; of a task over classes
    that has no measures, no baseline is counted.
    """
    numbers, measured = not task.loss.classes, bool(task.measures)
    wide = numbers + measured + (numbers or measured)  # targets, outputs, a baseline
    return (0 if task.one_hot else task.inputs) + wide * task.outputs


def check(parts: "Parts", probe: "Probe | None" = None) -> bool:
    """Return whether the run certainly fits into memory, without drawing anything.

    Raises UserError if the run certainly does not fit.
    """
    counts = sizes(parts)
    _require_budget(parts, counts)
    expected = demand(parts, counts, probe)
    architecture = parts.architecture
    fed = architecture.sparsity.linked(1) * min(architecture.layers)
    # If the mask may reach far less than expected, only the memory of drawing it is certain.
    drawn = Demand(dict.fromkeys(expected.parts, 0), expected.setup)
    sparse = fed < FED and (fed > 0 or len(architecture.layers) > 1)
    _refuse_beyond(parts, probe, drawn if sparse else expected, LEAST)
    return all(MOST * needed <= left for needed, left, _ in places(parts, expected))


def _require_budget(parts: "Parts", counts: Sizes) -> None:
    """Raise UserError if the rule may not keep enough of a window whose length is known."""
    rule, task, every = bounded(parts.rule), parts.task, parts.options.update_every
    known = isinstance(every, int) or not task.length_key or getattr(task, task.length_key)
    if rule is None or not known:
        return
    steps = every if isinstance(every, int) else task.steps()
    number = (counts.padded if _backend(parts) is None else counts.lanes) * counts.itemsize
    rule.require_enough(steps, counts.states * number, counts.record * number)


def check_drawn(parts: "Parts", core: RecurrentCore, probe: "Probe | None" = None) -> None:
    """Raise UserError if the run, counted exactly from its core, does not fit into memory."""
    _refuse_beyond(parts, probe, demand(parts, sizes(parts, core), probe), 1.0)


def exhausted(parts: "Parts", probe: "Probe | None" = None) -> UserError:
    """Return the error for a run that ran out of memory in spite of the check."""
    expected = demand(parts, sizes(parts), probe)
    return UserError(_line(parts, probe, expected, expected.total, "and memory ran out"))


def places(parts: "Parts", needed: Demand) -> list[tuple[int, int, str]]:
    """Return (bytes needed, bytes left, where) for the host, and for a CUDA device in use."""
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
    """Say which choices need how much memory, what is left, and which choice needs less."""
    part, size = needed.largest
    causes, remedies = _words(parts, part)
    if part == LOOKS and probe:
        remedies = [probe.lighter, *remedies]
    return (
        f"{', '.join(causes)}: this needs about {in_units(total)} of memory, {in_units(size)} of "
        f"it for the {part}, {left}. Take {_either(remedies)}."
    )


def _words(parts: "Parts", part: str) -> tuple[list[str], list[str]]:
    """Return the choices that make `part` large, the most influential first, and the remedies."""
    task, options, architecture = parts.task, parts.options, parts.architecture
    units, lanes, steps = sum(architecture.layers), options.lanes, task.steps()
    of_lanes = (f"train.lanes={lanes}", "fewer train.lanes" if lanes > 1 else "")
    of_units = (architecture.choice, "fewer cell.units")
    of_sparsity = (
        f"sparsity={_name(SPARSITIES, architecture.sparsity)}",
        architecture.sparsity.sparser,
    )
    of_rule = (f"rule={_name(RULES, parts.rule)}", parts.rule.lighter)
    key = f"task.{task.length_key}"
    length = task.length_key and getattr(task, task.length_key)
    of_length = (f"{key}={length}", f"a smaller {key}" if length else "")
    every = options.update_every
    shorter = "" if parts.rule.once_a_sequence else "a smaller train.update_every"
    of_window = (f"train.update_every={every}", shorter)
    if part == BATCH:
        kept = parts.rule.replays and isinstance(every, int) and every > steps
        long = of_window if kept else of_length  # the data of a window that replays are kept
        found = [of_lanes, long] if lanes > steps and not kept else [long, of_lanes]
    elif part == TAPE:
        window = of_length if every == SEQUENCE and length else of_window
        found = [of_lanes, of_units, window] if lanes > units else [window, of_units, of_lanes]
        found = [of_rule, *found] if parts.rule.replays else [*found, of_rule]
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


def _name(registry: Registry[Any], made: object) -> str:
    """Return the name by which the configuration chose the object."""
    name = registry.name_of(made)
    return f"{name}{getattr(made, 'n', None) or ''}" or type(made).__name__
