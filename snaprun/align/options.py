"""The keys under `align` in the configuration."""

from snaprun import checks
from snaprun.align.estimate import LEAST_DRAWS


class AlignOptions:
    """Which rules are compared with the exact gradient, how often, and on how many draws.

    `points` data-times are spread evenly from the start of the run to its end. `draws` are those
    of a stochastic rule's noise. `stale` is the number of updates of a batch at which the run's
    own rule is compared with itself under weights that stood still (0: none).
    """

    def __init__(self, rules: list, points: int = 8, draws: int = 64, stale: int = 4):
        if not rules or len(set(map(str, rules))) < len(rules):
            checks.refuse("align.rules", rules, "one or more rules, each once")
        self.rules = [str(word) for word in rules]
        self.points = checks.at_least("align.points", points, 1)
        self.draws = checks.at_least("align.draws", draws, LEAST_DRAWS)
        self.stale = checks.at_least("align.stale", stale, 0)
