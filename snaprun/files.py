"""Files that are there whole or not at all, and one line where the disk refuses."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from snaprun.checks import UserError, refuse

_REMEDY = "Make room or mend the folder, then launch the same command again."


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses inside into a UserError that names `path`."""
    outer = sys.exception()
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        # torch.save hides the OSError of a full disk behind a RuntimeError of its own.
        cause: BaseException | None = error
        while cause not in (None, outer) and not isinstance(cause, OSError):
            cause = cause.__cause__ or cause.__context__
        if isinstance(cause, OSError) and cause is not outer:
            refuse(
                "path", str(path), f"one that can be written ({cause.strerror or cause})", _REMEDY
            )
        raise


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """A binary file that takes the place of `path` when the block ends, and not before.

    The old file stays until the new one is on the disk; a crash leaves one or the other, and
    `sweep` removes what else it leaves. One process at a time. Raises UserError.
    """
    # In the same folder, since a rename across file systems is a copy.
    temporary = path.with_name(f".{path.name}.tmp")
    with writing(path):
        try:
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        _sync(path.parent)


def write_atomically(path: Path, text: str) -> None:
    """Write `text` to `path` so that a reader sees all of it or, after a crash, none of it."""
    with atomic(path) as file:
        file.write(text.encode())


def sweep(folder: Path) -> None:
    """Remove the temporary files of a process that died while it wrote to `folder`."""
    for stale in folder.glob(".*.tmp"):
        stale.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """Bring a rename in `folder` to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot do it for a folder.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
