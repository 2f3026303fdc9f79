"""Predicts the memory of a training run from counts, before anything is allocated."""

from dataclasses import dataclass
from types import ModuleType

from snaprun.core import Sizes
from snaprun.influence.native import layout_storage
from snaprun.rules import BPTT, LearningRule

TOKEN_BYTES = 64  # per token of a batch: inputs, targets, masks, losses and indices
NUMBER_BYTES = 8  # of a number that is an input, a target or an output: a float64 at most

PARAMETERS = "parameters"
OPTIMISER = "optimiser"
STATE = "rule state"
TAPE = "tape"
SCRATCH = "scratch"
INDEX = "masks and index arrays"
BATCH = "batch"
LOOKS = "comparisons"  # made beside the run, by a probe such as that of `snaprun align`
PASSING = "in passing"  # the largest of set-up, the end of a window, a checkpoint
ALLOCATOR = "allocator"  # freed memory that it keeps; measured: a tenth of all


@dataclass(frozen=True)
class Demand:
    """Bytes by part; the `setup` bytes, on the host, are freed before the rest is allocated."""

    parts: dict[str, int]
    setup: int  # for drawing the masks and the initial weights

    @property
    def total(self) -> int:
        """The peak, in bytes."""
        return max(sum(self.parts.values()), self.setup)

    @property
    def largest(self) -> tuple[str, int]:
        """The largest part of the memory that is held for the whole run, and its bytes."""
        no_cause = (PASSING, ALLOCATOR)  # these follow from the other parts
        lasting = {part: size for part, size in self.parts.items() if part not in no_cause}
        part = max(lasting, key=lasting.__getitem__)
        return (
            (INDEX, self.setup) if self.setup > sum(self.parts.values()) else (part, lasting[part])
        )


def predict(
    sizes: Sizes,
    rule: LearningRule,
    backend: ModuleType | None,
    *,
    moments: int,
    copies: int,
    batch_steps: int,
    held_out_lanes: int,
    prunes: bool,
    numbers: int = 0,
    looks: int = 0,
) -> Demand:
    """Predict the memory of a run on the torch engine with an influence `backend`.

    With `backend` None the run is on the C++ engine. `moments` is how many moments the optimiser
    keeps of each parameter, `copies` how many further copies of the parameters exist (their
    average), `batch_steps` the steps of a batch, `held_out_lanes` the lanes of a held-out batch,
    `numbers` how many numbers a batch keeps per token: inputs, targets, outputs and a baseline.
    If the mask `prunes`, a second engine is built beside the first. `looks` is the bytes that
    comparisons along the run need.
    """
    n, w = sizes, sizes.itemsize
    stored, token = rule.storage(n, backend), TOKEN_BYTES + numbers * NUMBER_BYTES
    trained = (n.parameters + n.readout) * w
    layout = n.dense + 32 * n.parameters  # the mask, and four int64 arrays
    optimiser = moments * trained
    index, setup = layout + stored.index, stored.setup
    validation = held_out_lanes * (batch_steps * token + _step_numbers(n) * w)
    validation += copies * trained
    step = _step_numbers(n)
    if backend is None:
        arrays = layout_storage(n)
        index, setup = index + arrays.index, setup + arrays.setup
        # Validation has an engine of its own.
        validation += 2 * trained + arrays.index + arrays.setup if held_out_lanes else 0
        scratch = stored.scratch + step * n.padded * w
    else:
        # The dense weights, and the dense weights of the next update, which replace them.
        scratch = stored.scratch + (step * n.lanes + 2 * n.dense) * w
    # Parameters and gradient, moments, and what the rule keeps.
    checkpoint = n.dense + (2 + copies) * trained + optimiser + stored.saved
    # What a rule that replays keeps of a window of several batches, and copies to a checkpoint.
    window = n.window * n.lanes * token if rule.replays else 0
    checkpoint += window
    passing = max(setup, stored.step, stored.backward, checkpoint, validation)
    if prunes:
        passing = max(passing, 2 * checkpoint + stored.kept + stored.relabelled)
    parts = {
        PARAMETERS: (2 + copies) * trained,  # with their gradient
        OPTIMISER: optimiser,
        TAPE if isinstance(rule, BPTT) else STATE: stored.kept,
        SCRATCH: scratch,
        INDEX: index,
        BATCH: batch_steps * n.lanes * token + (window if n.window > batch_steps else 0),
        LOOKS: looks,
        PASSING: passing,
    }
    parts[ALLOCATOR] = sum(parts.values()) // 10
    return Demand(parts, drawn_bytes(n))


def drawn_bytes(n: Sizes) -> int:
    """Return the bytes that are needed, for a while, to draw the masks and the initial weights."""
    masks = n.dense + max(8 * n.units * max(n.units, n.inputs), 32 * n.parameters + 8 * n.dense)
    return masks + 8 * n.parameters


def _step_numbers(n: Sizes) -> int:
    """Return how many numbers per lane a step writes, from slopes to logits, without the rule."""
    return n.sources + 2 * n.record + 2 * n.slots * n.units + 4 * (n.hidden + n.outputs)


def in_units(count: float) -> str:
    """Return a number of bytes with its unit, to three digits.

    >>> in_units(1234567)
    '1.23 MB'
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} PB"
