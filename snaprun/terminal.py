"""Text is printed so that every character of it can be seen."""

import logging
import os
import sys
from collections.abc import Collection, Sequence


def visible(text: str, keep: str = "") -> str:
    """Return `text` with invisible characters, except those in `keep`, as Python escapes."""
    # An escape sequence in a name could otherwise move the cursor, hide words or worse.
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)


def table(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Return the rows as lines with aligned columns, those numbered in `right` at the right."""
    widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    form = "  ".join(f"{{:{'>' if n in right else '<'}{w}}}" for n, w in enumerate(widths))
    return [form.format(*row).rstrip() for row in rows]


def duration(seconds: float | None) -> str:
    """Return `seconds` in words, such as `42 s`, `7 min` or `2 h 05 min`; "" for None."""
    if seconds is None:
        return ""
    minutes, hours = seconds / 60, seconds / 3600
    if minutes < 1:
        return f"{seconds:.0f} s"
    if hours < 1:
        return f"{minutes:.0f} min"
    if hours < 24:
        return f"{int(hours)} h {int(minutes) % 60:02} min"
    return f"{int(hours / 24)} d {int(hours) % 24} h"


def say(text: object, *, end: str = "\n") -> None:
    """Print the lines of `text` on stdout and flush; do nothing if the reader has exited."""
    try:
        print(visible(str(text), "\n"), end=end, flush=True)
    except BrokenPipeError:
        hush()


def note(text: object, *, end: str = "\n") -> None:
    """Print the lines of `text` on stderr."""
    print(visible(str(text), "\n\t"), end=end, file=sys.stderr)


def complain(line: str) -> None:
    """Print one line on stderr that says what went wrong."""
    print(f"snaprun: {visible(line)}", file=sys.stderr)


def hush() -> None:
    """Discard all further stdout, so that Python does not fail when it flushes stdout at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class VisibleFormatter(logging.Formatter):
    """Makes all characters of log lines visible; conf/hydra/job_logging/plain.yaml names it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, followed by the trace if there is one."""
        return visible(super().format(record), "\n\t")
