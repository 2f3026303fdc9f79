"""A zip file from the web: fetched, checked and unpacked once into the user's cache."""

import os
import shutil
import stat
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pooch
import requests
from filelock import FileLock
from tqdm import tqdm

from snaprun.checks import UserError, refuse
from snaprun.files import atomic

# The server refuses clients that do not look like a browser.
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
TIMEOUT = 30  # seconds without an answer
_NAME = "wikitext103"


@dataclass(frozen=True)
class Archive:
    """A zip file on the web, known by its size and hash."""

    url: str
    size: int  # bytes
    sha256: str

    @property
    def file(self) -> str:
        """The name of the file in the cache."""
        return self.url.rsplit("/", 1)[-1]


def texts(archive: Archive, members: tuple[str, ...], what: str) -> list[Path]:
    """Return the files in the user's cache that hold these members of `archive`, undamaged.

    Downloads and unpacks files that are missing or damaged; of several processes at once, one does
    so and the others wait. `what` is the key that the user typed. Raises UserError if the archive
    cannot be downloaded or written.
    """
    cache = pooch.os_cache("snaprun")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f".{archive.file}.lock"):
            for stale in cache.glob("tmp*"):  # of a download that was killed
                stale.unlink()
            path = _fetch(archive, cache, what)
            return _unpack(path, members, cache)
    except OSError as error:
        accepted = f"a cache folder {cache} with room for {archive.size} bytes"
        remedy = f"make room there, or pass another text as {what}=PATH."
        refuse(what, _NAME, accepted, f"Writing failed ({error.strerror or error}): {remedy}")


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


def _fetch(archive: Archive, cache: Path, what: str) -> Path:
    """Return the path of `archive` in the cache; downloads it unless it lies there undamaged."""
    file = archive.file
    remedy = f"Put the file at {cache / file} yourself, or pass another text as {what}=PATH."

    def download(_url: str, output_file: str, _pooch: object) -> None:
        _download(archive, output_file)

    # The type of pooch for a downloader and its documentation name the arguments differently.
    fetch: Any = download
    try:
        # pooch writes to a temporary file and renames it only if the hash is right.
        return Path(pooch.retrieve(archive.url, archive.sha256, file, cache, downloader=fetch))
    except requests.RequestException as error:
        reason = type(error).__name__
        if error.response is not None:
            reason = f"HTTP status {error.response.status_code}"
        refuse(what, _NAME, f"a connection to {archive.url}", f"It failed: {reason}. {remedy}")
    except ValueError as error:
        accepted = f"{archive.size} bytes with sha256 {archive.sha256} from {archive.url}"
        refuse(what, _NAME, accepted, f"{error} Nothing was kept. {remedy}")


def _download(archive: Archive, output_file: str) -> None:
    """Write the file at `archive.url` to `output_file`, with a progress bar on a terminal."""
    headers = {"User-Agent": USER_AGENT}
    with requests.get(archive.url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        response.raise_for_status()
        # disable=None: no bar where stderr is not a terminal.
        bar = tqdm(total=archive.size, unit="B", unit_scale=True, disable=None)
        with open(output_file, "wb") as file, bar:
            for chunk in response.iter_content(1 << 16):
                file.write(chunk)
                bar.update(len(chunk))
    received = os.path.getsize(output_file)
    if received != archive.size:
        raise ValueError(f"It sent {received} bytes.")
