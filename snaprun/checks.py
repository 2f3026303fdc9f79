"""One wording for every refusal (what, its value, what is accepted, the remedy), and for a stop."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, NoReturn


class UserError(ValueError):
    """A mistake that the user can mend: one line on stderr, exit code 2, no stack trace."""


class Stopped(Exception):
    """A run that the signal `signum` ended early, its checkpoint saved: exit code 128 + signum."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def refuse(what: str, value: Any, accepted: str, remedy: str = "") -> NoReturn:
    """Raise the UserError `what=value is not accepted: expected <accepted>. <remedy>`."""
    shown = repr(value) if isinstance(value, str) else str(value)
    if len(shown) > 120:
        shown = shown[:117] + "..."
    line = f"{what}={shown} is not accepted: expected {accepted}."
    raise UserError(f"{line} {remedy}".rstrip())


def at_least(what: str, value: int, minimum: int, most: int = 2**53) -> int:
    """The integer `value`, which must be ≥ `minimum`, and ≤ `most`, far beyond any use."""
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
    """The real `value`, which must lie in the interval from `low` to `high`."""
    above = value > low if open_low else value >= low
    below = value < high if open_high else value <= high
    if not (above and below):
        interval = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
        refuse(what, value, f"a number in {interval}")
    return float(value)


def one_of(what: str, value: Any, choices: Collection[Any]) -> Any:
    """The `value`, which must be one of `choices`; a near miss is named."""
    if value not in choices:
        listed = list(map(str, choices))
        refuse(what, value, f"one of {', '.join(listed)}", near(str(value), listed))
    return value


def registered(registry: Mapping[str, type], made: object) -> str:
    """The name of an object's own class in a registry, "" where it is in none."""
    return next((name for name, kind in registry.items() if kind is type(made)), "")


def near(word: str, choices: Collection[str]) -> str:
    """The question whether a near miss was meant; empty where there is none."""
    found = get_close_matches(word, choices, n=1, cutoff=0.7)
    return f"Did you mean {found[0]}?" if found else ""


@contextmanager
def telling_exhaustion(told: Callable[[], UserError]) -> Iterator[None]:
    """What `told` returns is raised where memory runs out inside."""
    try:
        yield
    except (MemoryError, OverflowError) as error:
        raise told() from error
    except RuntimeError as error:  # how PyTorch says it
        if re.search(r"allocate|out of memory|overflow|Storage size|numel", str(error)):
            raise told() from error
        raise


def too_large(choices: Mapping[str, Any]) -> UserError:
    """The error for choices that took more memory than was left."""
    words = ", ".join(f"{key}={value}" for key, value in choices.items())
    return UserError(f"{words}: this needs more memory than is left. Take smaller numbers.")
