"""WikiText-103's way from the web into memory, on a small zip of the same shape and on loopback."""

import dataclasses
import hashlib
import io
import socket
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pooch
import pytest

from snaprun.checks import UserError
from snaprun.tasks import text
from snaprun.tasks.text import load_text

TRAIN, VALID = b" = Train = \n" * 50, b" = Valid = \n" * 7
PUBLISHED = text.WIKITEXT103


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("wikitext-103-raw/wiki.train.raw", TRAIN)
        members.writestr("wikitext-103-raw/wiki.valid.raw", VALID)
        members.writestr("../../outside.txt", b"never to be unpacked")
    return buffer.getvalue()


ZIP = zipped()


class Server(HTTPServer):
    """Sends `body` under a Content-Length of `announced` bytes, and keeps the requests' headers."""

    body, announced, status = ZIP, len(ZIP), 200

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
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "cache" / "snaprun"


@pytest.fixture
def server(cache, monkeypatch) -> Iterator[Server]:
    server = Server()
    archive = dataclasses.replace(
        PUBLISHED,
        url=f"http://127.0.0.1:{server.server_port}/wikitext-103-raw-v1.zip",
        size=len(ZIP),
        sha256=hashlib.sha256(ZIP).hexdigest(),
    )
    monkeypatch.setattr(text, "WIKITEXT103", archive)
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
    return [path.name for path in cache.iterdir()] if cache.exists() else []


def test_a_good_zip_is_read_and_nothing_is_unpacked(server, cache, tmp_path):
    corpus = load_text("wikitext103")
    assert corpus.train.tobytes() == TRAIN
    assert corpus.valid.tobytes() == VALID
    assert corpus.sha256 == hashlib.sha256(ZIP).hexdigest()
    assert corpus.source == text.WIKITEXT103.url
    assert files(cache) == ["wikitext-103-raw-v1.zip"]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == files(cache)
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
    with pytest.raises(UserError, match=r"expected a cache folder .*: make room there"):
        load_text("wikitext103")


def test_the_key_that_was_typed_is_named(server):
    server.status = 500
    with pytest.raises(UserError, match=r"^task.valid_text='wikitext103'.*task.valid_text=PATH"):
        load_text("wikitext103", "task.valid_text")
