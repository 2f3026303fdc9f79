"""The keys under `align` in the configuration."""

from snaprun import checks
from snaprun.align.estimate import LEAST_DRAWS


class AlignOptions:
    """Which rules are compared with the exact gradient, how often, and on how many draws.

    The rules are compared at `points` data-times, spread evenly from the start of the run to its
    end. A stochastic rule is drawn `draws` times. At `stale` updates of a batch (0: at none) the
    run's own rule is compared with the same rule under fixed weights.
    """

    def __init__(self, rules: list, points: int = 8, draws: int = 64, stale: int = 4):
        if not rules or len(set(map(str, rules))) < len(rules):
            checks.refuse("align.rules", rules, "one or more rules, each once")
        self.rules = [str(word) for word in rules]
        self.points = checks.at_least("align.points", points, 1)
        self.draws = checks.at_least("align.draws", draws, LEAST_DRAWS)
        self.stale = checks.at_least("align.stale", stale, 0)
