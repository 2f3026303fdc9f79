"""The sources of a text's bytes: the standard library, a file, or WikiText-103."""

import hashlib
import os
import platform
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from snaprun.checks import UserError, refuse
from snaprun.tasks.archive import texts
from snaprun.tasks.download import Asked, WebFile

T = TypeVar("T")
Bytes = NDArray[np.uint8]  # (N,), read-only


@dataclass(frozen=True)
class Corpus:
    """The bytes of a text and what identifies them."""

    train: Bytes
    valid: Bytes | None  # None: the corpus has no validation part of its own
    sha256: str  # of the file, the archive, or the joined topics
    source: str


WIKITEXT103 = WebFile(
    url="https://wikitext.smerity.com/wikitext-103-raw-v1.zip",
    size=191_984_949,
    sha256="91c00ae287f0d699e18605c84afc9e45c192bc6b7797ff8837e5474655a33794",
)
WIKITEXT103_TEXTS = ("wikitext-103-raw/wiki.train.raw", "wikitext-103-raw/wiki.valid.raw")
# The facts that name a file, each beside its sha256, and the keys that the user typed.
FILES = {"text": "task.text", "valid_text": "task.valid_text", "series": "task.data"}
ACCEPTED = "pydoc, wikitext103 or the path of a text file"


def load_text(name: str, what: str = "task.text") -> Corpus:
    """Return the corpus called `name`: `pydoc`, `wikitext103` or the path of a file, as raw bytes.

    `what` is the key that the user typed. Raises UserError if the file cannot be read or is empty,
    or if WikiText-103 is not in the cache and cannot be downloaded.
    """
    if name == "pydoc":
        return _pydoc()
    if name == "wikitext103":
        return _wikitext103(what)
    return _file(name, what)


def require_same(folder: Path, facts: Mapping[str, Any]) -> list[str]:
    """Raise UserError, of one line, if a file has changed since the run in `folder` read it.

    `facts` are what the run recorded (Task.facts): NAME_sha256 beside NAME. Returns the key and
    path of each file that can no longer be read and so cannot be compared.
    """
    unread = []
    for name, key in FILES.items():
        recorded, text = facts.get(f"{name}_sha256"), facts.get(name)
        if recorded is None:
            continue
        now = _sha256(text) if isinstance(text, str) else None
        if now is None:
            unread.append(f"{key}={text}")
        elif now != recorded:
            remedy = "Set restart=true to train on it as it is now, or name=… to keep both."
            sums = f"of sha256 {str(recorded)[:12]}…; now it has {now[:12]}…"
            accepted = f"what {folder} was trained on, {sums}"
            refuse(key, text, accepted, remedy)
    return unread


def _sha256(name: str) -> str | None:
    """Return the sha256 that the text called `name` has now, or None if it cannot be read."""
    if name == "pydoc":
        return _pydoc().sha256
    if name == "wikitext103":
        return WIKITEXT103.sha256
    path = _path(name)
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


def _path(name: str) -> Path:
    return Path(os.path.expanduser(name)).absolute()


def _pydoc() -> Corpus:
    from pydoc_data.topics import topics

    text = "\n".join(topics[key] for key in sorted(topics)).encode()
    return _corpus(text, f"pydoc_data.topics of Python {platform.python_version()}")


def read_file(name: str, what: str, accepted: str, read: Callable[[Path], T]) -> T:
    """Return what `read` makes of the regular file at the path `name`, which the key `what` gave.

    Raises UserError, which lists what is `accepted`, if there is none or it cannot be read.
    """
    path = _path(name)
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


def _file(name: str, what: str) -> Corpus:
    text = read_file(name, what, ACCEPTED, lambda path: path.read_bytes())
    if not text:
        remedy = f"{str(_path(name))!r} is empty: name a file with text in it."
        refuse(what, name, ACCEPTED, remedy)
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
