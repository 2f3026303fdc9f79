"""Files from the web: fetched and checked once, into the user's cache."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pooch
import requests
from filelock import FileLock
from tqdm import tqdm

from snaprun.checks import refuse

# Some servers refuse clients that do not look like a browser.
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
TIMEOUT = 30  # seconds without an answer


@dataclass(frozen=True)
class WebFile:
    """A file on the web, known by its size and hash."""

    url: str
    size: int  # bytes
    sha256: str

    @property
    def file(self) -> str:
        """The name of the file in the cache."""
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Asked:
    """What the user typed that needs files from the web: `key=value`."""

    key: str
    value: str
    instead: str  # what to do where the web cannot be reached, such as "pass … as key=PATH"


@contextmanager
def fetched(files: Sequence[WebFile], asked: Asked, folder: str = "") -> Iterator[list[Path]]:
    """Yield the paths of these files, undamaged, in `folder` of the user's cache.

    Downloads files that are missing or damaged. Of several processes at once, one goes through the
    body of the `with` and the others wait. Raises UserError if a file cannot be downloaded, or if
    it or what the body writes there cannot be written.
    """
    cache = pooch.os_cache("snaprun") / folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f".{files[0].file}.lock"):
            for stale in cache.glob("tmp*"):  # of a download that was killed
                stale.unlink()
            yield [_fetch(file, cache, asked) for file in files]
    except OSError as error:
        size = sum(file.size for file in files)
        accepted = f"a cache folder {cache} with {size} free bytes"
        remedy = f"free space there, or {asked.instead}."
        refuse(
            asked.key,
            asked.value,
            accepted,
            f"Writing failed ({error.strerror or error}): {remedy}",
        )


def _fetch(wanted: WebFile, cache: Path, asked: Asked) -> Path:
    """Return the path of `wanted` in the cache; downloads it unless it lies there undamaged."""
    file, sha256 = wanted.file, wanted.sha256
    remedy = f"Put the file at {cache / file} yourself, or {asked.instead}."

    def download(_url: str, output_file: str, _pooch: object) -> None:
        _download(wanted, output_file)

    # The type of pooch for a downloader and its documentation name the arguments differently.
    fetch: Any = download
    try:
        # pooch writes to a temporary file and renames it only if the hash is right.
        return Path(pooch.retrieve(wanted.url, sha256, file, cache, downloader=fetch))
    except requests.RequestException as error:
        reason = type(error).__name__
        if error.response is not None:
            reason = f"HTTP status {error.response.status_code}"
        accepted = f"a connection to {wanted.url}"
        refuse(asked.key, asked.value, accepted, f"It failed: {reason}. {remedy}")
    except ValueError as error:
        accepted = f"{wanted.size} bytes with sha256 {sha256} from {wanted.url}"
        refuse(asked.key, asked.value, accepted, f"{error} Nothing was kept. {remedy}")


def _download(wanted: WebFile, output_file: str) -> None:
    """Write the file at `wanted.url` to `output_file`, with a progress bar on a terminal."""
    headers = {"User-Agent": USER_AGENT}
    with requests.get(wanted.url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        response.raise_for_status()
        # disable=None: no bar where stderr is not a terminal.
        bar = tqdm(total=wanted.size, unit="B", unit_scale=True, disable=None)
        with open(output_file, "wb") as file, bar:
            for chunk in response.iter_content(1 << 16):
                file.write(chunk)
                bar.update(len(chunk))
    received = os.path.getsize(output_file)
    if received != wanted.size:
        raise ValueError(f"It sent {received} bytes.")
