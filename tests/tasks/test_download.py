"""WikiText-103's way from the web into memory, on a small zip of the same shape and on loopback."""

import dataclasses
import errno
import hashlib
import io
import multiprocessing
import os
import socket
import stat
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pooch
import pytest

from snaprun.checks import UserError
from snaprun.tasks import text
from snaprun.tasks.download import WebFile
from snaprun.tasks.text import load_text
from tests.patience import PATIENCE

TRAIN, VALID = b" = Train = \n" * 50, b" = Valid = \n" * 7
PUBLISHED = text.WIKITEXT103


def zipped(*others: zipfile.ZipInfo) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("wikitext-103-raw/", b"")
        members.writestr("wikitext-103-raw/wiki.test.raw", b"not needed")
        members.writestr("wikitext-103-raw/wiki.train.raw", TRAIN)
        members.writestr("wikitext-103-raw/wiki.valid.raw", VALID)
        for other in others:
            members.writestr(other, "/etc/passwd")
    return buffer.getvalue()


ZIP = zipped()


class Server(HTTPServer):
    """Sends `body` under a Content-Length of `announced` bytes, and keeps the requests' headers."""

    body, announced, status = ZIP, len(ZIP), 200

    def archive(self, body: bytes) -> WebFile:
        """Send `body` from now on, under a name that stands for these very bytes."""
        self.body, self.announced = body, len(body)
        url = f"http://127.0.0.1:{self.server_port}/wikitext-103-raw-v1.zip"
        return WebFile(url, len(body), hashlib.sha256(body).hexdigest())

    def __init__(self) -> None:
        self.requests: list[dict[str, str]] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append(dict(self.headers))
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(self.server.announced))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(cache, monkeypatch) -> Iterator[Server]:
    server = Server()
    monkeypatch.setattr(text, "WIKITEXT103", server.archive(ZIP))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def refusal() -> str:
    with pytest.raises(UserError) as caught:
        load_text("wikitext103")
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith("task.text='wikitext103' is not accepted: expected ")
    assert "task.text=PATH" in line
    assert text.WIKITEXT103.url in line
    return line


def files(cache: Path) -> list[str]:
    """What lies in the cache, but for the lock."""
    found = (path for path in cache.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(cache)) for path in found if path.suffix != ".lock")


def test_a_good_zip_is_unpacked_into_the_cache_and_nowhere_else(server, cache, tmp_path):
    corpus = load_text("wikitext103")
    assert corpus.train.tobytes() == TRAIN
    assert corpus.valid.tobytes() == VALID
    assert corpus.sha256 == hashlib.sha256(ZIP).hexdigest()
    assert corpus.source == text.WIKITEXT103.url
    assert files(cache) == ["wikitext-103-raw-v1.zip", *text.WIKITEXT103_TEXTS]
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    assert server.requests[0]["User-Agent"].startswith("Mozilla/")


def test_a_second_call_makes_no_request(server):
    first, second = load_text("wikitext103"), load_text("wikitext103")
    assert first.train.tobytes() == second.train.tobytes()
    assert len(server.requests) == 1


@pytest.mark.parametrize("damage", [ZIP[:-9], ZIP[:-1] + b"?", b""])
def test_a_damaged_file_in_the_cache_is_replaced(server, cache, damage):
    cache.mkdir(parents=True)
    (cache / "wikitext-103-raw-v1.zip").write_bytes(damage)
    assert load_text("wikitext103").train.tobytes() == TRAIN
    assert (cache / "wikitext-103-raw-v1.zip").read_bytes() == ZIP


def test_a_file_put_into_the_cache_by_hand_is_taken(server, cache):
    cache.mkdir(parents=True)
    (cache / "wikitext-103-raw-v1.zip").write_bytes(ZIP)
    assert load_text("wikitext103").valid.tobytes() == VALID
    assert server.requests == []


def test_a_wrong_hash_is_refused_and_nothing_kept(server, cache):
    server.body = ZIP[:-1] + bytes([ZIP[-1] ^ 1])
    line = refusal()
    assert hashlib.sha256(server.body).hexdigest() in line
    assert text.WIKITEXT103.sha256 in line
    assert files(cache) == []


@pytest.mark.parametrize("body", [b"<html>Log in to the network</html>", ZIP + b"more"])
def test_a_wrong_size_is_refused_and_nothing_kept(server, cache, body):
    server.body, server.announced = body, len(body)
    line = refusal()
    assert f"It sent {len(body)} bytes." in line
    assert f"expected {len(ZIP)} bytes" in line
    assert files(cache) == []


def test_a_transfer_cut_short_is_refused_and_nothing_kept(server, cache):
    server.body = ZIP[: len(ZIP) // 2]
    line = refusal()
    # urllib3 2 notices the short body, urllib3 1 leaves it to our check of the size.
    assert "It failed: ChunkedEncodingError" in line or "It sent" in line
    assert files(cache) == []


def test_an_http_error_is_named(server, cache):
    server.status = 403
    assert "It failed: HTTP status 403." in refusal()
    assert files(cache) == []


def test_offline_says_what_to_do(cache, monkeypatch):
    with socket.socket() as closed:  # bound and not listening: connections are refused
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/wikitext-103-raw-v1.zip"
        monkeypatch.setattr(text, "WIKITEXT103", dataclasses.replace(PUBLISHED, url=url))
        line = refusal()
    assert "It failed: ConnectionError" in line
    assert f"Put the file at {cache / 'wikitext-103-raw-v1.zip'} yourself" in line
    assert files(cache) == []


def test_a_cache_that_cannot_be_written_is_named(server, cache):
    cache.parent.mkdir()
    cache.write_bytes(b"a file where the folder should be")
    with pytest.raises(UserError, match=r"expected a cache folder .*: free space there"):
        load_text("wikitext103")


def test_the_key_that_was_typed_is_named(server):
    server.status = 500
    with pytest.raises(UserError, match=r"^task.valid_text='wikitext103'.*task.valid_text=PATH"):
        load_text("wikitext103", "task.valid_text")


def member(name: str, link: bool = False) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.filename = name  # as it is, where ZipInfo would correct it
    info.external_attr = (stat.S_IFLNK if link else stat.S_IFREG) << 16
    return info


@pytest.mark.parametrize(
    "other",
    [
        member("../outside.txt"),
        member("wikitext-103-raw/../../outside.txt"),
        member("/outside.txt"),
        member("..\\outside.txt"),
        member("C:/outside.txt"),
        member("wikitext-103-raw/link", link=True),
    ],
    ids=lambda info: info.filename,
)
def test_an_archive_with_a_way_out_is_refused_and_not_unpacked(
    server, cache, tmp_path, monkeypatch, other
):
    monkeypatch.setattr(text, "WIKITEXT103", server.archive(zipped(other)))
    with pytest.raises(UserError, match="leads out of its folder") as caught:
        load_text("wikitext103")
    assert repr(other.filename) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files(cache) == ["wikitext-103-raw-v1.zip"]
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


@pytest.mark.parametrize("damage", [b"", TRAIN[:-1], TRAIN[:-1] + b"?", None])
def test_a_damaged_text_in_the_cache_is_unpacked_again(server, cache, damage):
    load_text("wikitext103")
    path = cache / text.WIKITEXT103_TEXTS[0]
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    assert load_text("wikitext103").train.tobytes() == TRAIN
    assert len(server.requests) == 1


def test_an_unbroken_text_is_left_alone(server, cache):
    load_text("wikitext103")
    path = cache / text.WIKITEXT103_TEXTS[0]
    before = path.stat()
    load_text("wikitext103")
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_disk_that_fills_up_while_unpacking_leaves_no_half_a_text(server, cache, monkeypatch):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match="No space left on device") as caught:
            load_text("wikitext103")
    assert "\n" not in str(caught.value)
    assert files(cache) == ["wikitext-103-raw-v1.zip"]
    assert load_text("wikitext103").train.tobytes() == TRAIN


def test_the_litter_of_a_download_that_was_killed_is_removed(server, cache):
    cache.mkdir(parents=True)
    (cache / "tmpabcdefgh").write_bytes(ZIP[:99])
    load_text("wikitext103")
    assert "tmpabcdefgh" not in files(cache)


def load(folder: Path, wanted: WebFile, barrier, results) -> None:
    """What one of several processes does, with the cache in `folder`."""
    pooch.os_cache = lambda project: folder / project
    text.WIKITEXT103 = wanted
    barrier.wait()
    corpus = load_text("wikitext103")
    results.put((corpus.train.tobytes(), corpus.valid.tobytes()))


def test_of_two_processes_at_once_one_downloads_and_both_get_the_text(server, tmp_path):
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(2), spawn.Queue()
    arguments = (tmp_path / "shared", text.WIKITEXT103, barrier, results)
    processes = [spawn.Process(target=load, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    assert [results.get(timeout=PATIENCE) for _ in processes] == [(TRAIN, VALID)] * 2
    for process in processes:
        process.join()
    assert len(server.requests) == 1
