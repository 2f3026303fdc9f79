"""The files on the user's own disk that tasks read."""

import hashlib
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from snaprun.checks import UserError, refuse

T = TypeVar("T")


def read_file(name: str, what: str, accepted: str, read: Callable[[Path], T]) -> T:
    """Return what `read` makes of the regular file at the path `name`, which the key `what` gave.

    Raises UserError, which lists what is `accepted`, if there is none or it cannot be read.
    """
    path = path_of(name)
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            return read(path)
    except UserError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        refuse(what, name, accepted, f"{str(path)!r} cannot be read ({reason}): mend the path.")
    kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
    refuse(what, name, accepted, f"{str(path)!r} is {kind}: name a file.")


def sha256(name: str) -> str | None:
    """Return the sha256 that the file at the path `name` has now, or None if it cannot be read."""
    path = path_of(name)
    with suppress(OSError, ValueError):
        if not path.is_file():  # opening a pipe would wait for its other end
            return None
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            # A change of the bytes changes one of these, even if mtime is set back.
            key = (status.st_dev, status.st_ino, status.st_size)
            key += (status.st_mtime_ns, status.st_ctime_ns)
            if key not in _sums:
                _sums[key] = hashlib.file_digest(file, "sha256").hexdigest()
            return _sums[key]
    return None


_sums: dict[tuple[int, ...], str] = {}  # of files that this process has read


def path_of(name: str) -> Path:
    """Return the absolute path that the user typed as `name`; ~ is the home folder."""
    return Path(os.path.expanduser(name)).absolute()
