"""The options are the keys under `search` in the configuration."""

from typing import Literal, get_args

from snaprun import checks

PrunerName = Literal["median", "hyperband", "none"]


class Options:
    """How many trials to make, by which metric to judge them, and when to end one early.

    `metric` is the key of a metric of the task (None: its first one of held-out data). `parallel`
    trials are drawn at once (None: as many as the launcher runs side by side). `folder` and `trial`
    are those of one trial; the search gives them to the job that runs it. Raises UserError for a
    value out of range.
    """

    def __init__(
        self,
        trials: int = 50,
        metric: str | None = None,
        pruner: PrunerName = "median",
        parallel: int | None = None,
        seed: int = 0,
        folder: str | None = None,
        trial: int | None = None,
    ):
        self.trials = checks.at_least("search.trials", trials, 1, most=1_000_000)
        self.metric = metric
        self.pruner: PrunerName = checks.one_of("search.pruner", pruner, get_args(PrunerName))
        if parallel is not None:
            checks.at_least("search.parallel", parallel, 1, most=4096)
        self.parallel = parallel
        self.seed = checks.at_least("search.seed", seed, 0, most=2**32 - 1)
        self.folder, self.trial = folder, trial
