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
_EXACT = 12  # seeds up to which all 2^n signs are tried
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
    """A row a metric, pair of arms and counter: how much better the first is on equal seeds.

    `arms` holds the runs by arm and seed; beside `metric` those that belong to it are compared
    where runs have them. At equal tokens final values are compared, and those after a tenth of the
    tokens; at equal updates those at the number of updates that the run with fewer made. Pairs of
    which no seed has a value there have no row.
    Differences are in the metric's unit, the first minus the second; `p` is two-sided, `p_least`
    the smallest that so many seeds can give, `p_holm` p adjusted for all `planned` pairs of the
    panel, NaN for others; where none is planned, for all pairs.
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
    """What `one` has reached minus what `two` has, at windows that ended for both."""
    # Not where a diverged run broke off: it is worst from beginning to end.
    whole = [run for run in (one, two) if run.status != DIVERGED]
    if equal == "updates":
        updates = min((run.metrics["updates"].iloc[-1] for run in whole), default=0)
        ends = [_window_of(run, updates) for run in (one, two)]
    else:
        last = min(map(end, whole), default=0.0)
        if equal == "tokens/10":  # which in a short run comes before the first row is due
            last = max(last / 10, *(due(run)[0] for run in whole), 0.0)
        ends = [last, last]
    return final(one, metric, ends[0]) - final(two, metric, ends[1])


def _window_of(run: Run, updates: int) -> float:
    """The data-time of the log window that ended closest to so many updates, as of `end`.

    Between rows, of which a thinned run lacks some, updates come evenly.
    """
    at_N = np.append(due(run)[:-1], end(run))
    at = float(np.interp(updates, run.metrics["updates"].to_numpy(float), at_N))
    every = run.config.get("train", {}).get("log_every", 1)
    return min(round(at / every) * every, at_N[-1]) if at < at_N[-1] else at


def sign_flip(differences_S: Array) -> float:
    """The two-sided p of the paired permutation test of mean zero; NaN without a difference.

    Under the hypothesis each difference is as likely with either sign (Fisher 1935). All signs
    are tried up to 12 seeds, else 100 000 draws of them.
    """
    seeds = len(differences_S)
    if not seeds:
        return np.nan
    if seeds <= _EXACT:
        signs_NS = np.array(list(product((1, -1), repeat=seeds)))
    else:
        rng = np.random.default_rng(0)
        signs_NS = rng.choice((1, -1), size=(_DRAWS, seeds))
        signs_NS[0] = 1  # what was seen is one of the draws, so that p is never zero
    sums_N = np.abs(signs_NS @ differences_S)
    seen = abs(differences_S.sum())
    return float(np.mean(sums_N >= seen * (1 - 1e-12)))


def holm(p_N: Array) -> Array:
    """The p-values (N,) adjusted so that each can be read at the level of all together.

    The i-th smallest of N is multiplied by N − i + 1, and none may be below a smaller one's (Holm
    1979); NaN stays NaN and counts for nothing.
    """
    adjusted_N = np.full(len(p_N), np.nan)
    order = np.argsort(p_N, kind="stable")[: np.isfinite(p_N).sum()]  # NaN comes last
    factors = np.arange(len(order), 0, -1)
    adjusted_N[order] = np.minimum(np.maximum.accumulate(p_N[order] * factors), 1)
    return adjusted_N
