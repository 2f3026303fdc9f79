"""The files on the user's own disk that tasks read."""

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from snaprun.checks import UserError, refuse

T = TypeVar("T")
CHUNK = 2**20  # bytes of a file that are hashed at once
MOST_FILES = 100_000  # of a folder: more are hardly meant, as those under / are not


def read_file(name: str, what: str, accepted: str, read: Callable[[Path], T]) -> T:
    """Return what `read` makes of the regular file at the path `name`, which the key `what` gave.

    Raises UserError, which lists what is `accepted`, if there is none or it cannot be read.
    """
    return _read(path_of(name), name, what, accepted, read)


def read_all(name: str, what: str, accepted: str, read: Callable[[Path], T]) -> dict[Path, T]:
    """Return what `read` makes of the file at the path `name`, or of all files in that folder.

    They come in the order of their paths in the folder. What `files_in` leaves out is not read.
    Raises UserError as `read_file` does, and if a folder has no file.
    """
    path = path_of(name)
    try:
        files = files_in(path) if path.is_dir() else [path]
    except OSError as error:
        where = f"{error.filename!r} cannot be read ({error.strerror})"
        refuse(what, name, accepted, f"{where}: repair the folder, or name another.")
    if not files:
        rest = "hidden files and links do not count"
        refuse(what, name, accepted, f"{str(path)!r} has no file in or under it ({rest}).")
    return {file: _read(file, name, what, accepted, read) for file in files}


def files_in(folder: Path) -> list[Path]:
    """Return the files in and under a folder, sorted by their paths in it.

    Hidden files, those in hidden folders, and links are left out: what lies behind a link could be
    outside of the folder, or come twice. Raises OSError if a folder cannot be read, or if there are
    more than `MOST_FILES`.
    """
    found: dict[str, Path] = {}
    for here, below, names in os.walk(folder, onerror=_raised):
        below[:] = [name for name in below if not name.startswith(".")]
        paths = (Path(here, name) for name in names if not name.startswith("."))
        found |= {str(path.relative_to(folder)): path for path in paths if not path.is_symlink()}
        if len(found) > MOST_FILES:
            raise OSError(errno.EFBIG, f"it has more than {MOST_FILES:,} files", str(folder))
    return [found[name] for name in sorted(found)]


def _raised(error: OSError) -> None:
    raise error


def _read(path: Path, name: str, what: str, accepted: str, read: Callable[[Path], T]) -> T:
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            return read(path)
    except UserError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        refuse(what, name, accepted, f"{str(path)!r} cannot be read ({reason}): correct the path.")
    kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
    refuse(what, name, accepted, f"{str(path)!r} is {kind}: name a file.")


def sha256(name: str) -> str | None:
    """Return the sha256 that the file at the path `name` has now, or None if it cannot be read.

    That of a folder is the one of the bytes of all its files (`files_in`), one after the other.
    """
    path = path_of(name)
    with suppress(OSError, ValueError):
        files = files_in(path) if path.is_dir() else [path]
        states = tuple(file.stat() for file in files)
        # Opening a pipe would wait for its other end.
        if not files or not all(stat.S_ISREG(state.st_mode) for state in states):
            return None
        # A change of the bytes changes one of these, even if mtime is set back.
        key = tuple((s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in states)
        if key not in _sums:
            whole = hashlib.sha256()
            for file in files:
                with file.open("rb") as opened:
                    for chunk in iter(lambda opened=opened: opened.read(CHUNK), b""):
                        whole.update(chunk)
            _sums[key] = whole.hexdigest()
        return _sums[key]
    return None


_sums: dict[tuple[tuple[int, ...], ...], str] = {}  # of files that this process has read


def path_of(name: str) -> Path:
    """Return the absolute path that the user typed as `name`; ~ is the home folder."""
    return Path(os.path.expanduser(name)).absolute()
