"""Files are written whole or not at all, in folders held open; disk errors become one line.

A folder that a user names may be a link, for example to a larger disk. Below such a folder snaprun
follows no link and opens no FIFO or device in the place of its own files: another user may have
put it there, and it may lead to a file that must not be overwritten.
"""

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from snaprun.checks import UserError, refuse

_REMEDY = "Free space or repair the folder, then try again."

# Whether a folder can be held open and its files be reached through it. Windows has no such
# descriptors: there a folder is reached by its path, and only the checks before and after notice
# that another folder has taken its place.
HELD = os.open in os.supports_dir_fd


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError inside the block into a UserError that names `path`."""
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
            raise UserError(
                f"{path} cannot be written ({cause.strerror or cause}). {_REMEDY}"
            ) from error
        raise


class Folder:
    """A folder held open by its descriptor, through which all operations go.

    If another folder later takes its path, that one is not touched (where the system has
    descriptors of folders: `HELD`). No link is followed and only regular files are opened; an
    OSError says what else was found. As a context manager it closes.
    """

    def __init__(self, path: Path, descriptor: int | None, found: os.stat_result) -> None:
        self.path, self._descriptor, self._found = path, descriptor, found
        self._absolute = os.path.abspath(path)

    @classmethod
    def open(cls, path: Path, *, follow: bool = False) -> "Folder":
        """Open the folder at `path`, whose last part may be a link only if `follow` is true."""
        return cls(path, *_open_folder(path, None, follow))

    @classmethod
    def make(cls, path: Path) -> "Folder":
        """Open the folder at `path`; make it and its parents, which may be links, if missing."""
        make_folder(path.parent)
        _make(path, None)
        return cls.open(path)

    def below(self, name: str, *, make: bool = False) -> "Folder":
        """Open the folder `name` in this folder; if `make` is true, make it if missing."""
        if make and _make(self._at(name), self._descriptor):
            self.sync()
        return Folder(self.path / name, *_open_folder(self._at(name), self._descriptor, False))

    def stat(self, name: str) -> os.stat_result | None:
        """Return the status of `name`, of a link itself, or None if nothing has this name."""
        with suppress(FileNotFoundError):
            return os.stat(self._at(name), dir_fd=self._descriptor, follow_symlinks=False)
        return None

    def names(self) -> list[str]:
        """Return the names of everything in this folder."""
        return os.listdir(self._absolute if self._descriptor is None else self._descriptor)

    def file(self, name: str, mode: str = "rb", buffering: int = -1) -> Any:
        """Open the regular file `name` to read ("rb"), to append ("ab") or as a new file ("xb")."""
        return open(name, mode, buffering, opener=self._opener)

    def read(self, name: str, most: int | None = None) -> bytes:
        """Return the content of `name`; raises OSError if it has more than `most` bytes."""
        with self.file(name) as file:
            size = os.fstat(file.fileno()).st_size
            if most is not None and size > most:
                raise OSError(errno.EFBIG, f"it has {size} bytes, more than {most}")
            return file.read()

    @contextmanager
    def atomic(self, name: str) -> Iterator[BinaryIO]:
        """Open a new binary file that replaces `name` when the block ends.

        The old file stays until the new one is on the disk. A crash leaves one of the two, and
        `sweep` removes the temporary file. Only one process may write `name` at a time. Raises
        UserError if the disk refuses.
        """
        # In the same folder, because a rename across file systems is a copy.
        temporary = f".{name}.tmp"
        with writing(self.path / name):
            try:
                with self._new(temporary) as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                self._rename(temporary, self, name)
            except BaseException:
                with suppress(OSError):
                    self.remove(temporary)
                raise
            self.sync()

    def write(self, name: str, text: str) -> None:
        """Write `text` to `name`; even after a crash a reader sees all of `text` or none of it."""
        with self.atomic(name) as file:
            file.write(text.encode())

    def remove(self, name: str) -> None:
        """Remove the file or the link `name`, if there is one."""
        with suppress(FileNotFoundError):
            os.unlink(self._at(name), dir_fd=self._descriptor)

    def move(self, name: str, target: "Folder", new: str) -> None:
        """Move `name` from this folder to `new` in `target`; a link is moved, not followed."""
        self._rename(name, target, new)
        target.sync()
        self.sync()

    def sweep(self) -> None:
        """Remove the temporary files that a process left when it died while writing here."""
        for name in self.names():
            if name.startswith(".") and name.endswith(".tmp"):
                self.remove(name)

    def sync(self) -> None:
        """Flush new and renamed entries of this folder to the disk."""
        if self._descriptor is not None:
            _sync(self._descriptor)

    def in_place(self) -> bool:
        """Return whether the path still leads to this folder."""
        try:
            found = os.stat(self._absolute, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return os.path.samestat(found, self._found)

    def close(self) -> None:
        """Close the folder; closing it again does nothing."""
        if self._descriptor is not None and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "Folder":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _at(self, name: str) -> str:
        """Return `name` for a function of `os` that is given this folder's descriptor."""
        return name if HELD else os.path.join(self._absolute, name)

    def _rename(self, name: str, target: "Folder", new: str) -> None:
        source, destination = self._at(name), target._at(new)
        os.replace(source, destination, src_dir_fd=self._descriptor, dst_dir_fd=target._descriptor)

    def _new(self, name: str) -> BinaryIO:
        """Open a new file; it replaces one that a dead process may have left."""
        try:
            return self.file(name, "xb")
        except FileExistsError:
            self.remove(name)
            return self.file(name, "xb")

    def _opener(self, name: str, flags: int) -> int:
        # Without O_NONBLOCK, opening a FIFO without a writer would block.
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        try:
            descriptor = os.open(self._at(name), flags, 0o666, dir_fd=self._descriptor)
        except FileExistsError:
            raise
        except OSError:
            if (found := self.stat(name)) and not stat.S_ISREG(found.st_mode):
                raise _stranger(found) from None
            raise
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            os.close(descriptor)
            raise _stranger(found)
        return descriptor


def read(path: Path, most: int | None = None) -> bytes:
    """Return the content of a run's file; neither the file nor its folder may be a link.

    Raises OSError, also if the file has more than `most` bytes.
    """
    with Folder.open(path.parent) as folder:
        return folder.read(path.name, most)


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """Do the same as `Folder.atomic` for a `path` in a folder that may be a link."""
    with writing(path):
        folder = Folder.open(path.parent, follow=True)
    with folder, folder.atomic(path.name) as file:
        yield file


def paths(named: str | list) -> list[Path]:
    """Return the paths of a key that takes one path or a list of them."""
    return [Path(str(each)) for each in (named if isinstance(named, list) else [named])]


def writable(key: str, path: str) -> Path:
    """Return `path`, the value of `key`; raises UserError unless it can be the path of a file."""
    file = Path(path)
    if file.is_dir() or not file.parent.is_dir():
        refuse(key, path, "a file in a folder that exists")
    return file


def write_atomically(path: Path, text: str) -> None:
    """Write `text` to `path`; even after a crash a reader sees all of `text` or none of it."""
    with atomic(path) as file:
        file.write(text.encode())


def make_folder(path: Path) -> None:
    """Make the folder `path` and its parents, if they are missing."""
    if not path.is_dir():
        make_folder(path.parent)
        _make(path, None)


def _make(path: Path | str, inside: int | None) -> bool:
    """Make a folder if it is missing, and return whether it was.

    If `inside` is None, the new entry is flushed to the disk.
    """
    try:
        os.mkdir(path, dir_fd=inside)
    except FileExistsError:
        return False
    if inside is None:
        with Folder.open(Path(path).parent, follow=True) as parent:
            parent.sync()
    return True


def _open_folder(
    path: Path | str, inside: int | None, follow: bool
) -> tuple[int | None, os.stat_result]:
    """Return the descriptor of a folder, None where the system has none, and its status."""
    if not HELD:
        found = os.stat(path, follow_symlinks=follow)
        if stat.S_ISLNK(found.st_mode):
            raise _stranger(found)
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        return None, found
    flags = os.O_RDONLY | os.O_DIRECTORY | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags, dir_fd=inside)
    except OSError:
        with suppress(FileNotFoundError, NotADirectoryError):
            found = os.stat(path, dir_fd=inside, follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode) and not follow:
                raise _stranger(found) from None
        raise
    return descriptor, os.fstat(descriptor)


def _stranger(found: os.stat_result) -> OSError:
    """Return the error that says what was found in place of a regular file or folder."""
    kinds = {
        stat.S_ISLNK: "a link, and links are not followed here",
        stat.S_ISDIR: "a folder, not a file",
        stat.S_ISFIFO: "a FIFO, not a file",
        stat.S_ISSOCK: "a socket, not a file",
    }
    word = next((word for is_one, word in kinds.items() if is_one(found.st_mode)), "a device")
    return OSError(errno.EINVAL, f"it is {word}")


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot flush a folder.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
