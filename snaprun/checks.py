"""The errors that end a command, and one wording for every refusal of a value."""

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, NoReturn

LISTED = 20  # names in a message
_NUMBER = r"(\d+(?:\.\d+)?)"
_DURATION = rf"(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?"


class UserError(ValueError):
    """A mistake that the user can correct: one line on stderr, exit code 2, no stack trace."""


class Stopped(Exception):
    """The signal `signum` ended a run early, its checkpoint saved; exit code 128 + signum."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class Pruned(Exception):
    """A search ended a run early, its checkpoint saved: other trials do better."""


def refuse(what: str, value: Any, accepted: str, remedy: str = "") -> NoReturn:
    """Raises the UserError `what=value is not accepted: expected <accepted>. <remedy>`."""
    shown = repr(value) if isinstance(value, str) else " ".join(str(value).split())
    if len(shown) > 120:
        shown = shown[:117] + "..."
    line = f"{what}={shown} is not accepted: expected {accepted}."
    raise UserError(f"{line} {remedy}".rstrip())


def at_least(what: str, value: int, minimum: int, most: int = 2**53) -> int:
    """Returns `value` as an integer; raises UserError unless it is in [`minimum`, `most`].

    The default of `most` is far beyond any use.
    """
    if isinstance(value, bool) or value != int(value) or value < minimum:
        refuse(what, value, f"an integer ≥ {minimum}")
    if value > most:
        refuse(what, value, f"an integer ≤ {most}")
    return int(value)


def within(
    what: str,
    value: float,
    low: float,
    high: float,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """Returns `value` as a float; raises UserError unless it lies between `low` and `high`."""
    above = value > low if open_low else value >= low
    below = value < high if open_high else value <= high
    if not (above and below):
        interval = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
        refuse(what, value, f"a number in {interval}")
    return float(value)


def seconds(what: str, value: float | str, accepted: str) -> float:
    """Returns seconds from a number of them, or from words such as `90s`, `30m` or `1h30m`.

    Raises UserError, which says what is `accepted`, unless they are more than 0 and finite.

    >>> seconds("train.time", "1h30m", "a duration")
    5400.0
    """
    total = 0.0
    if not isinstance(value, str):
        total = float(value)
    elif found := re.fullmatch(_DURATION, value):
        total = sum(
            float(n) * unit for n, unit in zip(found.groups("0"), (3600, 60, 1), strict=True)
        )
    if not 0 < total < math.inf:
        refuse(what, value, accepted)
    return total


@contextmanager
def needing(what: str, extra: str, instead: str = "") -> Iterator[None]:
    """Turns an ImportError inside the block into a UserError: `what` needs the extra `extra`.

    `instead` is another remedy.
    """
    try:
        yield
    except ImportError as error:
        remedy = f", or {instead}" if instead else ""
        raise UserError(
            f"{what} needs the package {error.name}, which is not installed: "
            f"pip install 'snaprun[{extra}]'{remedy}."
        ) from error


def one_of(what: str, value: Any, choices: Collection[Any]) -> Any:
    """Returns `value`; raises UserError, naming a near miss, unless it is one of `choices`."""
    if value not in choices:
        names = list(map(str, choices))
        refuse(what, value, f"one of {listed(names)}", near(str(value), names))
    return value


def listed(names: Sequence[str]) -> str:
    """Returns the names in a line, of many the first alone and how many more there are.

    >>> listed(["a", "b"]), listed([f"n{i}" for i in range(99)])[-17:]
    ('a, b', 'n18, n19, 79 more')
    """
    more = len(names) - LISTED
    return ", ".join([*names[:LISTED], f"{more} more"] if more > 1 else names)


def near(word: str, choices: Collection[str]) -> str:
    """Returns the question whether a near miss was meant, or "" if no choice is near.

    The only choice that begins with the word is near, too.
    """
    begun = [choice for choice in choices if len(word) > 2 and choice.startswith(word)]
    found = get_close_matches(word, choices, n=1, cutoff=0.7) or (begun if len(begun) == 1 else [])
    return f"Did you mean {found[0]}?" if found else ""


@contextmanager
def telling_exhaustion(told: Callable[[], UserError]) -> Iterator[None]:
    """Raises the error that `told` returns if memory runs out in the body of the `with`."""
    try:
        yield
    except (MemoryError, OverflowError) as error:
        raise told() from error
    except RuntimeError as error:  # PyTorch's own words for it
        if re.search(r"allocate|out of memory|overflow|Storage size|numel", str(error)):
            raise told() from error
        raise


def too_large(choices: Mapping[str, Any]) -> UserError:
    """Returns the error for choices that need more memory than is left."""
    words = ", ".join(f"{key}={value}" for key, value in choices.items())
    return UserError(f"{words}: this needs more memory than is left. Take smaller numbers.")
