"""Files that are there whole or not at all, folders held open, one line where the disk refuses.

A folder that a user names may be a link, such as one to a larger disk. What snaprun makes below it
is never followed where a link, a FIFO or a device stands in its place: that may be a stranger's,
and lead to a file that must not be overwritten.
"""

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from snaprun.checks import UserError

_REMEDY = "Make room or repair the folder, then launch the same command again."


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
            raise UserError(
                f"{path} cannot be written ({cause.strerror or cause}). {_REMEDY}"
            ) from error
        raise


class Folder:
    """A folder held open: what takes its path's place later is another one, and is not touched.

    All goes through its descriptor. No link is followed and only regular files are opened; OSError
    says what stands in their place. A context manager that closes it.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self._descriptor = path, descriptor
        self._absolute = os.path.abspath(path)

    @classmethod
    def open(cls, path: Path, *, follow: bool = False) -> "Folder":
        """The folder at `path`; only with `follow` may its last part be a link."""
        return cls(path, _open_folder(path, None, follow))

    @classmethod
    def make(cls, path: Path) -> "Folder":
        """The folder at `path`, made if need be, as are those above it, which may be links."""
        make_folder(path.parent)
        _make(path, None)
        return cls.open(path)

    def below(self, name: str, *, make: bool = False) -> "Folder":
        """The folder `name` in this one; with `make` it is made if need be."""
        if make and _make(name, self._descriptor):
            self.sync()
        return Folder(self.path / name, _open_folder(name, self._descriptor, False))

    def stat(self, name: str) -> os.stat_result | None:
        """What the file system says of `name` itself, None where there is nothing."""
        with suppress(FileNotFoundError):
            return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        return None

    def names(self) -> list[str]:
        """The names of all that lies here."""
        return os.listdir(self._descriptor)

    def file(self, name: str, mode: str = "rb", buffering: int = -1) -> Any:
        """The regular file `name`: "rb" to read, "ab" to append, "xb" to make one where none is."""
        return open(name, mode, buffering, opener=self._opener)

    def read(self, name: str, most: int | None = None) -> bytes:
        """The content of `name`; OSError where it has more than `most` bytes."""
        with self.file(name) as file:
            size = os.fstat(file.fileno()).st_size
            if most is not None and size > most:
                raise OSError(errno.EFBIG, f"it has {size} bytes, more than {most}")
            return file.read()

    @contextmanager
    def atomic(self, name: str) -> Iterator[BinaryIO]:
        """A binary file that takes the place of `name` when the block ends, and not before.

        The old file stays until the new one is on the disk; a crash leaves one or the other, and
        `sweep` removes what else it leaves. One process at a time. Raises UserError.
        """
        # In the same folder, since a rename across file systems is a copy.
        temporary = f".{name}.tmp"
        with writing(self.path / name):
            try:
                with self._new(temporary) as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(
                    temporary, name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor
                )
            except BaseException:
                with suppress(OSError):
                    self.remove(temporary)
                raise
            self.sync()

    def write(self, name: str, text: str) -> None:
        """Write `text` so that a reader sees all of it or, after a crash, none of it."""
        with self.atomic(name) as file:
            file.write(text.encode())

    def remove(self, name: str) -> None:
        """Remove the file or the link `name`, where there is one."""
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._descriptor)

    def move(self, name: str, target: "Folder", new: str) -> None:
        """Rename what lies here, a link as itself, to `new` in another folder."""
        os.rename(name, new, src_dir_fd=self._descriptor, dst_dir_fd=target._descriptor)
        target.sync()
        self.sync()

    def sweep(self) -> None:
        """Remove the temporary files of a process that died while it wrote here."""
        for name in self.names():
            if name.startswith(".") and name.endswith(".tmp"):
                self.remove(name)

    def sync(self) -> None:
        """Bring what was made or renamed here to the disk."""
        _sync(self._descriptor)

    def in_place(self) -> bool:
        """Whether its path still leads to this folder."""
        try:
            found = os.stat(self._absolute, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return os.path.samestat(found, os.fstat(self._descriptor))

    def close(self) -> None:
        """Let the folder go; harmless when repeated."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "Folder":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _new(self, name: str) -> BinaryIO:
        """A new file in the place of one that a dead process may have left."""
        try:
            return self.file(name, "xb")
        except FileExistsError:
            self.remove(name)
            return self.file(name, "xb")

    def _opener(self, name: str, flags: int) -> int:
        # A FIFO without a writer would keep the reader waiting.
        flags |= os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(name, flags, 0o666, dir_fd=self._descriptor)
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
    """The content of a file of a run: neither it nor the folder that it lies in may be a link.

    Raises OSError, also where it has more than `most` bytes.
    """
    with Folder.open(path.parent) as folder:
        return folder.read(path.name, most)


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """As `Folder.atomic`, for a `path` that the user may have led through links."""
    with writing(path):
        folder = Folder.open(path.parent, follow=True)
    with folder, folder.atomic(path.name) as file:
        yield file


def write_atomically(path: Path, text: str) -> None:
    """Write `text` to `path` so that a reader sees all of it or, after a crash, none of it."""
    with atomic(path) as file:
        file.write(text.encode())


def make_folder(path: Path) -> None:
    """Make the folder `path` and those that it lies in, where they are missing."""
    if not path.is_dir():
        make_folder(path.parent)
        _make(path, None)


def _make(path: Path | str, inside: int | None) -> bool:
    """Whether a folder was made; its entry is then on the disk, where `inside` is not given."""
    try:
        os.mkdir(path, dir_fd=inside)
    except FileExistsError:
        return False
    if inside is None:
        parent = _open_folder(Path(path).parent, None, True)
        try:
            _sync(parent)
        finally:
            os.close(parent)
    return True


def _open_folder(path: Path | str, inside: int | None, follow: bool) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | (0 if follow else os.O_NOFOLLOW)
    try:
        return os.open(path, flags, dir_fd=inside)
    except OSError:
        with suppress(FileNotFoundError, NotADirectoryError):
            found = os.stat(path, dir_fd=inside, follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode) and not follow:
                raise _stranger(found) from None
        raise


def _stranger(found: os.stat_result) -> OSError:
    """What is said of a thing that is no regular file."""
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
        # Some network file systems cannot do it for a folder.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
