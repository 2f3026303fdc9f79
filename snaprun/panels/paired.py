"""Paired comparisons of arms on equal seeds, at equal tokens and at equal updates."""

from collections.abc import Mapping
from itertools import combinations, product
from typing import Literal

import numpy as np
import pandas as pd

from snaprun.figures.stats import Array, band_name, over_seeds
from snaprun.panels.metric import Metric, final
from snaprun.store import DIVERGED, Run

# What is equal, its counter, and the part of the shorter run at which values are compared.
_EQUAL: tuple[tuple[str, Literal["tokens", "updates"], float], ...] = (
    ("tokens", "tokens", 1.0),
    ("tokens/10", "tokens", 0.1),
    ("updates", "updates", 1.0),
)
_EXACT = 12  # seeds up to which all 2^n signs are tried
_DRAWS = 100_000


def table(arms: Mapping[str, Mapping[int, Run]], metric: Metric) -> pd.DataFrame:
    """A row a pair of arms and counter: how much better the first is on equal seeds.

    `arms` holds the runs by arm and seed. At equal tokens final values are compared, and those
    after a tenth of the tokens; at equal updates those at the number of updates that the run with
    fewer made. Differences are in the metric's unit, the first minus the second; `p` is
    two-sided, `p_least` the smallest that so many seeds can give.
    """
    rows = []
    for (arm, runs), (other, others) in combinations(arms.items(), 2):
        seeds = sorted(runs.keys() & others.keys())
        pairs = [(runs[seed], others[seed]) for seed in seeds]
        for equal, counter, part in _EQUAL:
            differences = []
            for one, two in pairs:
                # Not where a diverged run broke off: it is worst from beginning to end.
                ends = [
                    run.metrics[counter].iloc[-1] for run in (one, two) if run.status != DIVERGED
                ]
                end = part * min(ends, default=0)
                at = [final(run, metric, counter, end) for run in (one, two)]
                differences.append(at[0] - at[1])
            known = np.array(differences)[np.isfinite(differences)]
            spread = over_seeds(list(known))
            rows.append(
                {
                    "arm": arm,
                    "other": other,
                    "equal": equal,
                    "seeds": len(known),
                    "difference": spread.median,
                    "low": spread.low,
                    "high": spread.high,
                    "band": band_name(len(known)),
                    "p": sign_flip(known),
                    "p_least": 2.0 ** (1 - len(known)) if len(known) else np.nan,
                }
            )
    columns = ["arm", "other", "equal", "seeds", "difference", "low", "high", "band", "p"]
    return pd.DataFrame(rows, columns=[*columns, "p_least"])


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
