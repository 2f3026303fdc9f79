"""All comparisons at one point of a run: numbers named `<rule>/<slot>/<quantity>`.

Shape suffixes: N draws, P live recurrent parameters.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

import torch
from torch import Generator, Tensor

from snaprun.align import still
from snaprun.align.candidates import Candidate
from snaprun.align.estimate import compare
from snaprun.align.replay import Replay, seed
from snaprun.align.stale import Gradients
from snaprun.core import RecurrentCore
from snaprun.model.network import Network
from snaprun.rules import BPTT
from snaprun.store.schema import LAYER, WHOLE
from snaprun.tasks import Batch

Values = dict[str, float]

# Each quantity of staleness: two gradients, and the quantity of `compare` between them.
STALENESS = {
    "stale_fresh": ("stale_P", "fresh_P", "cosine"),
    "stale_exact": ("stale_P", "exact_P", "cosine"),
    "fresh_exact": ("fresh_P", "exact_P", "cosine"),
    "stale_ratio": ("stale_P", "fresh_P", "norm_ratio"),
}


def beside_exact(
    replay: Replay,
    network: Network,
    batch: Batch,
    candidates: Mapping[str, Candidate],
    draws: int,
    generator: Generator,
) -> Values:
    """Compare each candidate's gradient of the batch, at fixed weights, with that of BPTT.

    Stochastic rules are drawn `draws` times. Adds to the `.grad` of the readout of `network`.
    """
    credit = still.through(network.core, network.readout, batch)
    steps = still.steps(network.core, network.weights(), batch, len(batch.mask), credit)
    exact_P = replay.whole(BPTT(), steps)
    values: Values = {}
    for name, (rule, every) in candidates.items():
        count = draws if rule.claim == "unbiased" else 1
        drawn_NP = torch.stack(
            [replay.whole(rule, steps, seed(generator), every) for _ in range(count)]
        )
        for slot, within_P in slots(network.core):
            for quantity, found in compare(drawn_NP[:, within_P], exact_P[within_P]).items():
                key = f"{name}/{slot}/{quantity}"
                values[key] = found.value
                if not math.isnan(found.low):
                    values |= {f"{key}_low": found.low, f"{key}_high": found.high}
    return values


def staleness(core: RecurrentCore, name: str, found: Sequence[Gradients]) -> Values:
    """Average each quantity of staleness of the rule `name` over the updates where it is known."""
    values: Values = {}
    for slot, within_P in slots(core):
        for quantity, (one, other, how) in STALENESS.items():
            over_updates = [
                compare(getattr(g, one)[None, within_P], getattr(g, other)[within_P])[how].value
                for g in found
            ]
            known = [value for value in over_updates if not math.isnan(value)]
            values[f"{name}/{slot}/{quantity}"] = fmean(known) if known else math.nan
    return values


def slots(core: RecurrentCore) -> Iterator[tuple[str, Tensor]]:
    """Yield names and masks (P,): all live parameters, then each slot's and each layer's.

    The parameters of a slot are left out if there is one, those of a layer likewise.
    """
    slot_P, unit_P = core.layout.slot_P, core.layout.unit_P
    yield WHOLE, torch.ones_like(slot_P, dtype=torch.bool)
    if len(core.cell.slots) > 1:
        for number, slot in enumerate(core.cell.slots):
            yield slot.name, slot_P == number
    if len(core.layers) > 1:
        for number, (units, _) in enumerate(core.layers, start=1):
            yield f"{LAYER}{number}", (unit_P >= units.start) & (unit_P < units.stop)
