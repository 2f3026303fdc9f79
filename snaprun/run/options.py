"""The options are the keys under `train` and under `readout` in the configuration."""

from typing import Literal, get_args

from snaprun import checks
from snaprun.store.extent import Extent


class TrainOptions:
    """How long to train, on how many lanes, how often to update, to log and to validate.

    `tokens` is data-time, time steps × lanes; the run ends with the first batch that reaches it.
    `update_every` counts time steps, or is "sequence". `log_every`, `eval_every` and `eval_tokens`
    are in tokens; `eval_tokens` is the size of the held-out part that is used (None: all of it).
    `average` is the decay a of an exponential average of the weights (None: none is kept).
    `checkpoint_every` is in tokens, or in seconds as in "60s" (None: only at the end and at each
    best validation). `time` is a number of seconds, or "1h30m": the run ends with the first batch
    that ends after so long a training. `patience` is the number of validations in a row without an
    improvement that end the run (snaprun.run.ending). With `strict` a run is not resumed in a
    setting (snaprun.run.setting) other than its checkpoint's.
    Raises UserError for a value out of range.

    >>> options = TrainOptions(tokens=1_000, update_every="sequence", checkpoint_every="30s")
    >>> options.tokens, options.lanes, options.update_every, options.checkpoint_every
    (1000, 16, 'sequence', 30.0)
    """

    def __init__(
        self,
        tokens: int = 300_000,
        lanes: int = 16,
        update_every: int | Literal["sequence"] = 1,
        log_every: int = 1_000,
        eval_every: int = 50_000,
        eval_tokens: int | None = 100_000,
        checkpoint_every: int | str | None = "60s",
        average: float | None = None,
        strict: bool = False,
        time: float | str | None = None,
        patience: int | None = None,
    ):
        self.tokens = checks.at_least("train.tokens", tokens, 1)
        self.lanes = checks.at_least("train.lanes", lanes, 1)
        wrong = isinstance(update_every, str) or not 1 <= update_every < 2**31
        if update_every != "sequence" and wrong:
            checks.refuse(
                "train.update_every", update_every, "an integer from 1 to 2^31 − 1, or sequence"
            )
        self.update_every = update_every
        self.log_every = checks.at_least("train.log_every", log_every, 1)
        self.eval_every = checks.at_least("train.eval_every", eval_every, 1)
        self.eval_tokens = (
            None if eval_tokens is None else checks.at_least("train.eval_tokens", eval_tokens, 1)
        )
        self.checkpoint_every = _interval(checkpoint_every)
        self.strict = strict
        accepted = "seconds, a duration such as 90s, 30m or 1h30m, or null"
        self.time = None if time is None else checks.seconds("train.time", time, accepted)
        if patience is not None:
            checks.at_least("train.patience", patience, 1)
            if self.eval_every >= self.tokens:
                accepted = f"null beside train.eval_every={eval_every}"
                remedy = "No validation comes before the end: take a smaller train.eval_every."
                checks.refuse("train.patience", patience, accepted, remedy)
        self.patience = patience
        if average is not None:
            checks.within("train.average", average, 0.0, 1.0, open_low=True, open_high=True)
        self.average = average

    @property
    def extent(self) -> Extent:
        """How far the run goes."""
        return Extent(self.tokens, self.time, self.patience)


def _interval(every: int | str | None) -> int | float | None:
    """Return tokens as an int, seconds as a float."""
    if isinstance(every, str):
        accepted = "a number of tokens, a duration such as 60s or 5m, or null"
        return checks.seconds("train.checkpoint_every", every, accepted)
    return None if every is None else checks.at_least("train.checkpoint_every", every, 1)


ReadoutName = Literal["linear", "mlp"]


class ReadoutOptions:
    """The width of the readout's hidden layer; with width 0 the readout is linear."""

    def __init__(self, name: ReadoutName = "mlp", hidden: int = 256):
        checks.one_of("readout.name", name, get_args(ReadoutName))
        self.hidden = checks.at_least("readout.hidden", hidden, 0)
        if name == "linear" and hidden:
            checks.refuse("readout.hidden", hidden, "0 for readout=linear", "Use readout=mlp.")
