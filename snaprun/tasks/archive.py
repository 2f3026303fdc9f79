"""A zip file from the web: fetched, checked and unpacked once into the user's cache."""

import os
import shutil
import stat
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path, PurePosixPath

from snaprun.checks import UserError
from snaprun.files import atomic
from snaprun.tasks.download import Asked, WebFile, fetched


def texts(archive: WebFile, members: tuple[str, ...], asked: Asked) -> list[Path]:
    """Return the files in the user's cache that hold these members of a zip file, undamaged.

    Downloads and unpacks files that are missing or damaged; of several processes at once, one does
    so and the others wait. Raises UserError if the archive cannot be downloaded or written.
    """
    with fetched([archive], asked) as (path,):
        return _unpack(path, members, path.parent)


def _unpack(path: Path, members: tuple[str, ...], folder: Path) -> list[Path]:
    """Unpack these members of the zip file `path` to `folder`, unless they lie there undamaged."""
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            _stays_inside(path, info)
        targets = []
        for info in map(archive.getinfo, members):
            target = folder / info.filename
            if not _intact(target, info):
                target.parent.mkdir(exist_ok=True)
                with archive.open(info) as source, atomic(target) as file:
                    shutil.copyfileobj(source, file, 1 << 20)
            targets.append(target)
    return targets


def _stays_inside(path: Path, info: zipfile.ZipInfo) -> None:
    """Raise UserError if a member of the zip file `path` would be written outside its folder."""
    name = PurePosixPath(info.filename.replace("\\", "/"))
    link = stat.S_ISLNK(info.external_attr >> 16)
    if link or name.is_absolute() or ".." in name.parts or ":" in info.filename:
        raise UserError(
            f"{path} holds {info.filename!r}, which leads out of its folder: expected files inside."
        )


def _intact(path: Path, info: zipfile.ZipInfo) -> bool:
    """Return whether `path` has the size and checksum that the zip file gives for the member."""
    crc = 0
    with suppress(FileNotFoundError), path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == info.file_size:
            while block := file.read(1 << 20):
                crc = zlib.crc32(block, crc)
            return crc == info.CRC
    return False
