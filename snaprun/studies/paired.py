"""Paired comparisons of arms on equal seeds, at equal tokens and at equal updates."""

from collections.abc import Mapping, Sequence
from itertools import combinations, product

import numpy as np
import pandas as pd

from snaprun.figures.stats import Array, band_name, over_seeds
from snaprun.metrics import Metric
from snaprun.store import DIVERGED, Run, declared
from snaprun.studies.metric import due, end, final

EQUAL = ("tokens", "tokens/10", "updates")
_EXACT = 12  # the most seeds for which all 2^n signs are tried
_DRAWS = 100_000
_COLUMNS = (
    *("metric", "arm", "other", "equal", "seeds", "difference", "low", "high", "band"),
    *("p", "p_least", "p_holm"),
)


def compare(
    arms: Mapping[str, Mapping[int, Run]],
    metric: Metric,
    planned: Sequence[tuple[str, str]] = (),
) -> pd.DataFrame:
    """Compare every pair of arms on equal seeds: one row per metric, pair and entry of EQUAL.

    `arms` holds the runs by arm and seed. The metrics in `metric.beside` are compared too if the
    runs have them. `equal` says at which point two runs are compared: `tokens` at the end of the
    shorter run, `tokens/10` after a tenth of it, `updates` after as many updates as the run with
    fewer updates made. A pair without a value on any seed has no row.

    `difference` is the median over seeds of the first arm minus the second, in the metric's unit.
    `p` is two-sided; `p_least` is the smallest p possible with so many seeds; `p_holm` is p
    adjusted for all `planned` pairs (for all pairs if none is planned) and NaN for other pairs.
    """
    columns = {name for runs in arms.values() for run in runs.values() for name in run.metrics}
    known = declared(run for runs in arms.values() for run in runs.values())
    compared = [metric, *(known[key] for key in metric.beside if key in columns & known.keys())]
    rows = [
        {"metric": one.key, "arm": arm, "other": other, "equal": equal}
        | _row([(runs[seed], others[seed]) for seed in sorted(runs.keys() & others)], one, equal)
        for one in compared
        for (arm, runs), (other, others) in combinations(arms.items(), 2)
        for equal in EQUAL
    ]
    rows = [row for row in rows if row["seeds"]]
    frame = pd.DataFrame(rows, columns=list(_COLUMNS[:-1]))
    family = {frozenset(pair) for pair in planned}
    belongs = [not family or {row["arm"], row["other"]} in family for row in rows]
    adjusted = (
        frame["p"]
        .where(np.array(belongs, bool))
        .groupby([frame["metric"], frame["equal"]], sort=False)
        .transform(lambda p: holm(p.to_numpy(float)))
    )
    return frame.assign(p_holm=adjusted)


def _row(pairs: Sequence[tuple[Run, Run]], metric: Metric, equal: str) -> dict[str, object]:
    differences = np.array([_difference(*pair, metric, equal) for pair in pairs])
    known = differences[np.isfinite(differences)]
    spread = over_seeds(list(known))
    return {
        "seeds": len(known),
        "difference": spread.median,
        "low": spread.low,
        "high": spread.high,
        "band": band_name(len(known)),
        "p": sign_flip(known),
        "p_least": 2.0 ** (1 - len(known)) if len(known) else np.nan,
    }


def _difference(one: Run, two: Run, metric: Metric, equal: str) -> float:
    """Return the value of `one` minus that of `two`, at a point that both runs reached."""
    # A diverged run counts as worst from beginning to end, so where it broke off does not matter.
    whole = [run for run in (one, two) if run.status != DIVERGED]
    if equal == "updates":
        updates = min((run.columns["updates"][-1] for run in whole), default=0)
        ends = [_window_of(run, updates) for run in (one, two)]
    else:
        last = min(map(end, whole), default=0.0)
        if equal == "tokens/10":  # in a short run a tenth ends before the first row is due
            last = max(last / 10, *(due(run)[0] for run in whole), 0.0)
        ends = [last, last]
    return final(one, metric, ends[0]) - final(two, metric, ends[1])


def _window_of(run: Run, updates: int) -> float:
    """Return the data-time (on the scale of `end`) of the log window that ended nearest `updates`.

    A thinned run lacks some rows; the updates between two rows are taken as evenly spread.
    """
    at_N = np.append(due(run)[:-1], end(run))
    at = float(np.interp(updates, run.columns["updates"].astype(float), at_N))
    every = run.config.get("train", {}).get("log_every", 1)
    return min(round(at / every) * every, at_N[-1]) if at < at_N[-1] else at


def sign_flip(differences_S: Array) -> float:
    """Return the two-sided p of the paired permutation test of mean zero.

    Under the hypothesis each of the differences (S,) is as likely with either sign (Fisher 1935).
    The test tries all signs for up to 12 seeds, and 100 000 random draws of signs for more.
    Returns NaN if `differences_S` is empty.

    >>> sign_flip(np.array([1.0, 2.0, 3.0, 4.0]))  # only + + + + and - - - - reach a sum of ±10
    0.125
    """
    seeds = len(differences_S)
    if not seeds:
        return np.nan
    if seeds <= _EXACT:
        signs_NS = np.array(list(product((1, -1), repeat=seeds)))
    else:
        rng = np.random.default_rng(0)
        signs_NS = rng.choice((1, -1), size=(_DRAWS, seeds))
        signs_NS[0] = 1  # the observed signs count as one of the draws, so that p is never zero
    sums_N = np.abs(signs_NS @ differences_S)
    seen = abs(differences_S.sum())
    return float(np.mean(sums_N >= seen * (1 - 1e-12)))


def holm(p_N: Array) -> Array:
    """Adjust p-values (N,) for having made N tests (Holm 1979).

    The i-th smallest p of N is multiplied by N - i + 1, and no adjusted p may be below the adjusted
    p of a smaller one, nor above 1. NaN stays NaN and is not counted in N.

    >>> holm(np.array([0.25, 0.125, np.nan])).tolist()
    [0.25, 0.25, nan]
    """
    adjusted_N = np.full(len(p_N), np.nan)
    order = np.argsort(p_N, kind="stable")[: np.isfinite(p_N).sum()]  # NaN comes last
    factors = np.arange(len(order), 0, -1)
    adjusted_N[order] = np.minimum(np.maximum.accumulate(p_N[order] * factors), 1)
    return adjusted_N
