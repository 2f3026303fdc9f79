"""How much memory a training run will take, from counts alone, before anything is allocated."""

from dataclasses import dataclass
from types import ModuleType

from snaprun.core import Sizes
from snaprun.influence.native import layout_storage
from snaprun.rules import BPTT, LearningRule

TOKEN_BYTES = 64  # of a batch while it is drawn: inputs, targets, masks, losses, and indices

PARAMETERS = "parameters"
OPTIMISER = "optimiser"
STATE = "rule state"
TAPE = "tape"
SCRATCH = "scratch"
INDEX = "masks and index arrays"
BATCH = "batch"
LOOKS = "comparisons"  # beside the run, by who looks at it
PASSING = "in passing"  # set-up, the end of a window, a checkpoint: the largest of them
ALLOCATOR = "allocator"  # what it keeps of memory that was freed: a tenth of all, as measured


@dataclass(frozen=True)
class Demand:
    """Bytes by part; `setup`, on the host, passes before the rest is there."""

    parts: dict[str, int]
    setup: int  # masks and initial weights as they are drawn

    @property
    def total(self) -> int:
        """The peak."""
        return max(sum(self.parts.values()), self.setup)

    @property
    def largest(self) -> tuple[str, int]:
        """The part that is the largest of what lasts, and its bytes."""
        no_cause = (PASSING, ALLOCATOR)  # they follow from the others
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
    looks: int = 0,
) -> Demand:
    """What a run takes on the torch engine with an influence backend; None: on the C++ engine.

    `moments` are those that the optimiser keeps of each parameter, `copies` the further copies of
    the parameters (their average), `batch_steps` the steps of a batch, `held_out_lanes` the lanes
    of a held-out one. Where the mask `prunes`, a second engine is built beside the first. `looks`
    are the bytes of comparisons along the run.
    """
    n, w = sizes, sizes.itemsize
    stored = rule.storage(n, backend)
    trained = (n.parameters + n.readout) * w
    layout = n.dense + 32 * n.parameters  # the mask, and four int64 arrays
    optimiser = moments * trained
    index, setup = layout + stored.index, stored.setup
    validation = held_out_lanes * (batch_steps * TOKEN_BYTES + _step_numbers(n) * w)
    validation += copies * trained
    step = _step_numbers(n)
    if backend is None:
        arrays = layout_storage(n)
        index, setup = index + arrays.index, setup + arrays.setup
        # An engine of its own.
        validation += 2 * trained + arrays.index + arrays.setup if held_out_lanes else 0
        scratch = stored.scratch + step * n.padded * w
    else:
        # The dense weights, and those of the update that takes their place.
        scratch = stored.scratch + (step * n.lanes + 2 * n.dense) * w
    # Parameters and gradient, moments, and what the rule keeps.
    checkpoint = n.dense + (2 + copies) * trained + optimiser + stored.saved
    passing = max(setup, stored.step, stored.backward, checkpoint, validation)
    if prunes:
        passing = max(passing, 2 * checkpoint + stored.kept + stored.relabelled)
    parts = {
        PARAMETERS: (2 + copies) * trained,  # with their gradient
        OPTIMISER: optimiser,
        TAPE if isinstance(rule, BPTT) else STATE: stored.kept,
        SCRATCH: scratch,
        INDEX: index,
        BATCH: batch_steps * n.lanes * TOKEN_BYTES,
        LOOKS: looks,
        PASSING: passing,
    }
    parts[ALLOCATOR] = sum(parts.values()) // 10
    return Demand(parts, drawn_bytes(n))


def drawn_bytes(n: Sizes) -> int:
    """What drawing the masks and the initial weights takes, and passes."""
    masks = n.dense + max(8 * n.units * max(n.units, n.inputs), 32 * n.parameters + 8 * n.dense)
    return masks + 8 * n.parameters


def _step_numbers(n: Sizes) -> int:
    """Numbers a lane that a step of any engine writes besides the rule's: slopes to logits."""
    return n.sources + 2 * n.record + 2 * n.slots * n.units + 4 * (n.hidden + n.outputs)


def in_units(count: float) -> str:
    """A number of bytes, to three digits."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} PB"
