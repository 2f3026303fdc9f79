"""The sources of a text's bytes: the standard library, a file or a folder, or WikiText-103."""

import hashlib
import logging
import platform
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snaprun.checks import listed, refuse
from snaprun.tasks import local
from snaprun.tasks.archive import texts
from snaprun.tasks.download import Asked, WebFile

log = logging.getLogger(__name__)

Bytes = NDArray[np.uint8]  # (N,), read-only


@dataclass(frozen=True)
class Corpus:
    """The bytes of a text and what identifies them."""

    train: Bytes
    valid: Bytes | None  # None: the corpus has no validation part of its own
    sha256: str  # of the file, of all files of a folder, of the archive, or of the joined topics
    source: str


WIKITEXT103 = WebFile(
    url="https://wikitext.smerity.com/wikitext-103-raw-v1.zip",
    size=191_984_949,
    sha256="91c00ae287f0d699e18605c84afc9e45c192bc6b7797ff8837e5474655a33794",
)
WIKITEXT103_TEXTS = ("wikitext-103-raw/wiki.train.raw", "wikitext-103-raw/wiki.valid.raw")
ACCEPTED = "pydoc, wikitext103 or the path of a text file or of a folder of them"


def load_text(name: str, what: str = "task.text") -> Corpus:
    """Return the corpus called `name`: `pydoc`, `wikitext103` or a path, as raw bytes.

    The path is that of a file, or of a folder whose files are joined (snaprun.tasks.local). `what`
    is the key that the user typed. Raises UserError if a file cannot be read, if there is no text,
    or if WikiText-103 is not in the cache and cannot be downloaded.
    """
    if name == "pydoc":
        return _pydoc()
    if name == "wikitext103":
        return _wikitext103(what)
    return _path(name, what)


def sha256(name: str) -> str | None:
    """Return the sha256 that the text called `name` has now, or None if it cannot be read."""
    if name == "pydoc":
        return _pydoc().sha256
    return WIKITEXT103.sha256 if name == "wikitext103" else local.sha256(name)


def _pydoc() -> Corpus:
    from pydoc_data.topics import topics

    text = "\n".join(topics[key] for key in sorted(topics)).encode()
    return _corpus(text, f"pydoc_data.topics of Python {platform.python_version()}")


def _path(name: str, what: str) -> Corpus:
    if not name:
        refuse(what, name, ACCEPTED)  # the empty path would be that of the present folder
    read = local.read_all(name, what, ACCEPTED, lambda path: path.read_bytes())
    text = b"".join(read.values())
    if not text:
        remedy = f"{str(local.path_of(name))!r} is empty: name a file with text in it."
        refuse(what, name, ACCEPTED, remedy)
    if binary := [str(file) for file, content in read.items() if b"\0" in content]:
        where = listed(binary)
        log.warning("%s=%s: zero bytes, which no text has, are learned too: %s", what, name, where)
    return _corpus(text, name)


def _corpus(text: bytes, source: str) -> Corpus:
    digest = hashlib.sha256(text).hexdigest()
    return Corpus(np.frombuffer(text, np.uint8), None, digest, source)


def _wikitext103(what: str) -> Corpus:
    asked = Asked(what, "wikitext103", f"pass another text as {what}=PATH")
    # Mapped, so that all runs of a machine share one copy in memory.
    train, valid = (
        np.asarray(np.memmap(path, np.uint8, "r"))
        for path in texts(WIKITEXT103, WIKITEXT103_TEXTS, asked)
    )
    return Corpus(train, valid, WIKITEXT103.sha256, WIKITEXT103.url)
