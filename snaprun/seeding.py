"""Named streams of randomness: with one seed every rule has the same start and the same data."""

import hashlib

from torch import Generator

STREAMS = ("init", "mask", "data", "noise", "sample", "align", "held_out", "rewire")


def stream(seed: int, name: str, at: int | None = None) -> Generator:
    """Returns the CPU generator of the stream `name`, seeded by 8 bytes of sha256("seed/name").

    With `at`, of sha256("seed/name/at"), it is that of a data-time alone, which needs no state.

    Raises ValueError if no stream has this name.

    >>> stream(0, "mask").initial_seed() == stream(0, "data").initial_seed()
    False
    """
    if name not in STREAMS:
        raise ValueError(f"no stream of randomness is called {name!r}; there are {STREAMS}")
    words = f"{seed}/{name}" if at is None else f"{seed}/{name}/{at}"
    digest = hashlib.sha256(words.encode()).digest()
    return Generator().manual_seed(int.from_bytes(digest[:8], "little"))
