"""The keys under `bench` in the configuration."""

import inspect

from snaprun import checks
from snaprun.files import writable

PARTS = ("kernel", "step", "python", "growth", "memory", "peers", "budget")


class BenchOptions:
    """Which parts are measured, at quick or full sizes, and the JSON file for all results.

    `seconds` is the time to measure each group of contenders (None: as the sizes say).
    """

    def __init__(
        self,
        parts: list,
        quick: bool = False,
        seconds: float | None = None,
        json: str | None = None,
    ):
        for part in parts:
            checks.one_of("bench.parts", part, PARTS)
        if not parts:
            checks.refuse("bench.parts", parts, f"some of {', '.join(PARTS)}")
        self.parts = tuple(part for part in PARTS if part in parts)
        self.quick = quick
        if seconds is not None:
            seconds = checks.within("bench.seconds", seconds, 0.0, float("inf"), open_high=True)
        self.seconds = seconds
        self.json = None if json is None else writable("bench.json", json)


KEYS = tuple(inspect.signature(BenchOptions).parameters)
