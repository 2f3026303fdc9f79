"""What reaches a terminal: lines in which every character can be seen."""

import logging
import os
import sys


def visible(text: str, keep: str = "") -> str:
    """`text` with control, format and other unseen characters as their Python escapes.

    A name that holds an escape sequence would otherwise move the cursor, hide words or worse. The
    characters in `keep`, such as line breaks, stay.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)


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
