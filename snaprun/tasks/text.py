"""Where the bytes of a text come from: the standard library, a file, or WikiText-103."""

import hashlib
import os
import platform
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pooch
import requests
from numpy.typing import NDArray
from tqdm import tqdm

from snaprun.checks import refuse

Bytes = NDArray[np.uint8]  # (N,), read-only


@dataclass(frozen=True)
class Corpus:
    """The bytes of a text and what identifies them."""

    train: Bytes
    valid: Bytes | None  # None: the corpus has no validation part of its own
    sha256: str  # of the file, the archive, or the joined topics
    source: str


@dataclass(frozen=True)
class Archive:
    """A zip file on the web with a training and a validation text in it."""

    url: str
    size: int  # bytes
    sha256: str
    train: str  # member of the zip
    valid: str  # member of the zip


WIKITEXT103 = Archive(
    url="https://wikitext.smerity.com/wikitext-103-raw-v1.zip",
    size=191_984_949,
    sha256="91c00ae287f0d699e18605c84afc9e45c192bc6b7797ff8837e5474655a33794",
    train="wikitext-103-raw/wiki.train.raw",
    valid="wikitext-103-raw/wiki.valid.raw",
)
ACCEPTED = "pydoc, wikitext103 or the path of a text file"
# The server refuses clients that do not look like a browser.
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
TIMEOUT = 30  # seconds without an answer


def load_text(name: str, what: str = "task.text") -> Corpus:
    """Return the corpus called `name`: `pydoc`, `wikitext103` or the path of a file, as raw bytes.

    `what` is the key that the user typed. Raises UserError when the file cannot be read or is
    empty, and when WikiText-103 is neither in the cache nor to be had from the web.
    """
    if name == "pydoc":
        return _pydoc()
    if name == "wikitext103":
        return _wikitext103(what)
    return _file(name, what)


def _pydoc() -> Corpus:
    from pydoc_data.topics import topics

    text = "\n".join(topics[key] for key in sorted(topics)).encode()
    return _corpus(text, f"pydoc_data.topics of Python {platform.python_version()}")


def _file(name: str, what: str) -> Corpus:
    path = Path(os.path.expanduser(name)).absolute()
    try:
        mode = path.stat().st_mode
        text = path.read_bytes() if stat.S_ISREG(mode) else None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", error)
        refuse(what, name, ACCEPTED, f"{path} cannot be read ({reason}): mend the path.")
    if text is None:
        kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        refuse(what, name, ACCEPTED, f"{path} is {kind}: name a file.")
    if not text:
        refuse(what, name, ACCEPTED, f"{path} is empty: name a file with text in it.")
    return _corpus(text, name)


def _corpus(text: bytes, source: str) -> Corpus:
    digest = hashlib.sha256(text).hexdigest()
    return Corpus(np.frombuffer(text, np.uint8), None, digest, source)


def _wikitext103(what: str) -> Corpus:
    archive = WIKITEXT103
    path = _fetch(archive, what)
    # Members are read by name and nothing is unpacked to disk, so none can leave the cache.
    with zipfile.ZipFile(path) as members:
        train = np.frombuffer(members.read(archive.train), np.uint8)
        valid = np.frombuffer(members.read(archive.valid), np.uint8)
    return Corpus(train, valid, archive.sha256, archive.url)


def _fetch(archive: Archive, what: str) -> Path:
    """The path of `archive` in the user's cache; downloaded unless it lies there unbroken."""
    folder = pooch.os_cache("snaprun")
    fname = archive.url.rsplit("/", 1)[-1]
    remedy = f"Put the file at {folder / fname} yourself, or pass another text as {what}=PATH."

    def download(_url: str, output_file: str, _pooch: object) -> None:
        _download(archive, output_file)

    try:
        # pooch writes to a temporary file and renames it only if the hash is right. Its type for
        # a downloader names the arguments otherwise than its documentation.
        path = pooch.retrieve(
            archive.url,
            archive.sha256,
            fname,
            folder,
            downloader=download,  # pyright: ignore[reportArgumentType]
        )
        return Path(path)
    except requests.RequestException as error:
        reason = type(error).__name__
        if error.response is not None:
            reason = f"HTTP status {error.response.status_code}"
        refuse(
            what, "wikitext103", f"a connection to {archive.url}", f"It failed: {reason}. {remedy}"
        )
    except ValueError as error:
        refuse(
            what,
            "wikitext103",
            f"{archive.size} bytes with sha256 {archive.sha256} from {archive.url}",
            f"{error} Nothing was kept. {remedy}",
        )
    except OSError as error:
        reason = error.strerror or error
        refuse(
            what,
            "wikitext103",
            f"a cache folder {folder} with room for {archive.size} bytes",
            f"Writing failed ({reason}): make room there, or pass another text as {what}=PATH.",
        )


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
