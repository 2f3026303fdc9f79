"""What reaches a terminal: lines in which every character can be seen."""

import logging
import os
import sys
from collections.abc import Collection, Sequence


def visible(text: str, keep: str = "") -> str:
    """Return `text` with unseen characters as their Python escapes, except those in `keep`."""
    # A name that holds an escape sequence would otherwise move the cursor, hide words or worse.
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)


def table(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Return the rows as lines with aligned columns, those numbered in `right` at the right."""
    widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    form = "  ".join(f"{{:{'>' if n in right else '<'}{w}}}" for n, w in enumerate(widths))
    return [form.format(*row).rstrip() for row in rows]


def say(text: object, *, end: str = "\n") -> None:
    """Print the lines of `text` on stdout at once; to nobody where the reader has gone."""
    try:
        print(visible(str(text), "\n"), end=end, flush=True)
    except BrokenPipeError:
        hush()


def note(text: object, *, end: str = "\n") -> None:
    """Print the lines of `text` on stderr."""
    print(visible(str(text), "\n\t"), end=end, file=sys.stderr)


def complain(line: str) -> None:
    """Print one line of ours on stderr that says what went wrong."""
    print(f"snaprun: {visible(line)}", file=sys.stderr)


def hush() -> None:
    """Let what is still printed go nowhere, so that Python does not stumble over it at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class VisibleFormatter(logging.Formatter):
    """Log lines whose characters can all be seen; conf/hydra/job_logging/plain.yaml names it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the trace where there is one."""
        return visible(super().format(record), "\n\t")
