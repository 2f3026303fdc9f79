"""A run shows its progress: a bar on a terminal, a log line every ten seconds elsewhere."""

import logging
import time

from tqdm import tqdm

from snaprun.terminal import visible

LOG_SECONDS = 10.0

log = logging.getLogger(__name__)


class Progress:
    """A context manager that shows tokens counted towards a total; with `bar=False` only lines."""

    def __init__(self, label: str, total: int, bar: bool = True):
        self._label, self._total = visible(label), total
        # disable=None: tqdm is silent where stderr is not a terminal.
        self._bar = tqdm(
            total=total,
            desc=self._label,
            unit="tok",
            unit_scale=True,
            disable=None if bar else True,
        )
        self._last_line = time.perf_counter()
        self._tokens = 0

    def begin(self, tokens: int) -> None:
        """Start at `tokens`, the tokens of earlier processes."""
        self._bar.initial = self._bar.n = self._tokens = min(tokens, self._total)

    def update(self, tokens: int, values: dict[str, float]) -> None:
        """Show that the run stands at `tokens`, with the newest metrics `values`."""
        shown = {visible(name): f"{value:.4g}" for name, value in values.items()}
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update(min(tokens, self._total) - self._tokens)
        self._tokens = min(tokens, self._total)
        now = time.perf_counter()
        if self._bar.disable and now - self._last_line >= LOG_SECONDS:
            self._last_line = now
            words = "  ".join(f"{name} {value}" for name, value in shown.items())
            log.info("%s: %d of %d tokens  %s", self._label, self._tokens, self._total, words)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()
