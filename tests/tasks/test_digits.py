"""Images as sequences: scikit-learn's digits, and small IDX files on disk and on loopback."""

import gzip
import hashlib
import math
import os
import struct
import sys
import threading
from collections import Counter
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
import torch

from snaprun.checks import UserError
from snaprun.cli import _main
from snaprun.tasks import images
from snaprun.tasks.digits import Digits
from snaprun.tasks.download import WebFile
from snaprun.tasks.idx import read_idx
from tests.cases import rng

ROWS, COLUMNS, TRAIN, TEST = 3, 5, 7, 4
PIXELS = np.random.default_rng(0).integers(0, 256, (TRAIN + TEST, ROWS, COLUMNS), np.uint8)
LABELS = np.arange(TRAIN + TEST, dtype=np.uint8) % 10


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


WHOLE = {
    "train-images-idx3-ubyte": idx(PIXELS[:TRAIN]),
    "train-labels-idx1-ubyte": idx(LABELS[:TRAIN]),
    "t10k-images-idx3-ubyte": idx(PIXELS[TRAIN:]),
    "t10k-labels-idx1-ubyte": idx(LABELS[TRAIN:]),
}


def write(folder: Path, packed: bool = False, **other: bytes) -> str:
    """Write the four files, with `other` content under names that begin so; return the folder."""
    for name, content in WHOLE.items():
        content = other.get(name[:7].replace("-", "_").rstrip("_"), content)
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)
    return str(folder)


def lanes(task: Digits, batches) -> list[tuple[list[float], int]]:
    """The pixels of every lane in the order in which they come, and the class."""
    found = []
    for batch in batches:
        steps = task.steps()
        assert batch.inputs.shape == (steps, batch.mask.shape[1], task.inputs)
        assert batch.mask.nonzero()[:, 0].unique().tolist() == [steps - 1]
        assert batch.mask[-1].all()
        assert batch.resets.nonzero()[:, 0].unique().tolist() == [0]
        assert not batch.targets[:-1].any()
        for lane in range(batch.mask.shape[1]):
            found.append((batch.inputs[:, lane].flatten().tolist(), int(batch.targets[-1, lane])))
    return found


def scikit_learns() -> Counter:
    from sklearn.datasets import load_digits

    flat, labels = load_digits(return_X_y=True)
    return Counter((tuple((x / 16).tolist()), int(y)) for x, y in zip(flat, labels, strict=True))


def counted(found: list[tuple[list[float], int]]) -> Counter:
    return Counter((tuple(pixels), label) for pixels, label in found)


@pytest.mark.parametrize(("by", "steps", "width"), [("row", 8, 8), ("pixel", 64, 1)])
def test_each_held_out_digit_comes_once_and_the_others_train(by, steps, width):
    task = Digits(by=by)
    assert (task.steps(), task.inputs, task.outputs) == (steps, width, 10)
    batches = list(task.validation(None))
    assert max(batch.mask.shape[1] for batch in batches) <= task.held_out_lanes
    held_out = counted(lanes(task, batches))
    assert held_out.total() == 297
    everything = scikit_learns()
    assert everything.total() == 1797
    assert held_out <= everything
    trained_on = counted(lanes(task, [task.batch(20_000, rng())]))
    assert set(trained_on) == set(
        everything - held_out
    )  # each of 1,500 in 20,000 draws, as good as
    assert task.chance == pytest.approx(math.log(10))


def test_the_held_out_digits_are_the_same_in_every_order_of_the_pixels():
    plain, permuted, again = (Digits(permute=permute) for permute in (False, True, True))
    a, b, c = (lanes(task, task.validation(None)) for task in (plain, permuted, again))
    assert b == c != a
    assert [label for _, label in a] == [label for _, label in b]
    of_a, of_b = (np.array([pixels for pixels, _ in found]).T for found in (a, b))
    assert Counter(map(tuple, of_a)) == Counter(map(tuple, of_b))  # whole pixels have moved
    assert plain.facts() == permuted.facts()


@pytest.mark.parametrize(("tokens", "count"), [(1, 1), (80, 10), (10**9, 297), (None, 297)])
def test_held_out_tokens_are_as_many_as_asked_for(tokens, count):
    task = Digits()
    assert len(lanes(task, task.validation(tokens))) == count


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(UserError, match=r"pip install 'snaprun\[vision\]'") as caught:
        Digits()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("by", ["row", "pixel"])
def test_four_files_in_a_folder_are_taken(tmp_path, packed, by):
    task = Digits("mnist", by, folder=write(tmp_path, packed))
    expected = [
        (pixels.flatten().tolist(), int(label))
        for pixels, label in zip(torch.tensor(PIXELS).float() / 255, LABELS, strict=True)
    ]
    assert lanes(task, task.validation(None)) == expected[TRAIN:]
    assert counted(lanes(task, [task.batch(500, rng())])).keys() == counted(expected[:TRAIN]).keys()
    assert task.facts() == {
        "data": "mnist",
        "data_source": str(tmp_path),
        "data_sha256": hashlib.sha256(PIXELS.tobytes() + LABELS.tobytes()).hexdigest(),
        "train_images": TRAIN,
        "held_out_images": TEST,
    }


def refusal(folder: str) -> str:
    with pytest.raises(UserError) as caught:
        Digits("mnist", folder=folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"train_i": b""}, "train-images-idx3-ubyte begins with the bytes of an empty file"),
        ({"train_i": idx(LABELS)}, "00 00 08 01: expected 00 00 08 03, an IDX file"),
        ({"train_i": b"\0\0\x0d\3" + idx(PIXELS)[4:]}, "begins with the bytes 00 00 0d 03"),
        ({"train_l": gzip.compress(b"")}, "train-labels-idx1-ubyte begins with the bytes 1f 8b"),
        ({"train_l": b"\0\0\x08\1\0"}, "train-labels-idx1-ubyte has 5 bytes: expected 8"),
        ({"train_i": idx(PIXELS)[:-1]}, "has 180 bytes: expected 181, a header of 16 and 11 × 3"),
        ({"train_i": idx(PIXELS[:TRAIN]) + b"!"}, "has 122 bytes: expected 121"),
        ({"train_i": idx(PIXELS[:6])}, "holds 6 images of 3 × 5 and the file of labels beside"),
        ({"t10k_im": idx(PIXELS[:0]), "t10k_la": idx(LABELS[:0])}, "holds 0 images of 3 × 5"),
        ({"t10k_la": idx(LABELS[:TEST] + 7)}, "go up to 10: expected 10 classes, 0 to 9"),
        ({"t10k_im": idx(PIXELS[TRAIN:, :2])}, "images of 3 × 5 and"),
    ],
)
def test_a_damaged_file_is_told_in_one_line(tmp_path, other, words):
    assert words in refusal(write(tmp_path, **other))


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(idx(PIXELS))[:-9], b"\x1f\x8b"])
def test_a_damaged_gzip_file_is_told_in_one_line(tmp_path, content):
    folder = write(tmp_path, packed=True)
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(content)
    assert "t10k-images-idx3-ubyte.gz cannot be read" in refusal(folder)


def test_a_missing_file_is_named(tmp_path):
    write(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    line = refusal(str(tmp_path))
    assert line.startswith(f"task.folder='{tmp_path}' is not accepted: expected a folder")
    assert line.endswith("There is no t10k-labels-idx1-ubyte.")
    os.mkfifo(tmp_path / "t10k-labels-idx1-ubyte")  # which is not waited for
    assert "t10k-labels-idx1-ubyte cannot be read (No such file" in refusal(str(tmp_path))


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("data", {"data": "cifar"}),
        ("by", {"by": "column"}),
        ("folder", {"data": "digits", "folder": "."}),
    ],
)
def test_a_value_out_of_range_is_refused(key, words):
    with pytest.raises(UserError, match=f"^task.{key}={words[key]!r} is not accepted: expected "):
        Digits(**words)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (1, 2, 3)])
def test_an_array_comes_back(tmp_path, shape):
    array = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    (tmp_path / "a").write_bytes(idx(array))
    assert np.array_equal(read_idx(tmp_path / "a", len(shape)), array)


class Handler(SimpleHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(cache, tmp_path, monkeypatch):
    """The folder of a server that stands for the published files; the names that were asked for."""
    folder, asked = tmp_path / "web", []
    folder.mkdir()
    write(folder, packed=True)
    monkeypatch.setattr(Handler, "asked", asked, raising=False)
    server = HTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder))
    files = [
        WebFile(f"http://127.0.0.1:{server.server_port}/{name}.gz", len(content), sha256)
        for name in WHOLE
        for content in [(folder / f"{name}.gz").read_bytes()]
        for sha256 in [hashlib.sha256(content).hexdigest()]
    ]
    monkeypatch.setitem(images.PUBLISHED, "fashion", files)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield folder, asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_files_are_downloaded_once_into_a_folder_of_their_own(served, cache, tmp_path):
    web, asked = served
    task, again = Digits("fashion"), Digits("fashion")
    assert asked == [f"/{name}.gz" for name in WHOLE]
    kept = cache / "fashion"
    files = {path.name for path in kept.iterdir() if not path.name.endswith(".lock")}
    assert files == {f"{name}.gz" for name in WHOLE}
    assert lanes(task, task.validation(None)) == lanes(again, again.validation(None))
    local = Digits("fashion", folder=str(web))
    assert local.facts()["data_sha256"] == task.facts()["data_sha256"]
    assert str(task.facts()["data_source"]).startswith("http://127.0.0.1:")


def test_a_damaged_file_in_the_cache_is_downloaded_again(served, cache):
    _, asked = served
    Digits("fashion")
    damaged = cache / "fashion" / "t10k-images-idx3-ubyte.gz"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    Digits("fashion")
    assert asked[4:] == ["/t10k-images-idx3-ubyte.gz"]


def test_another_file_than_the_published_one_is_refused(served):
    web, _ = served
    path = web / "train-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match=r"with sha256 .*Nothing was kept") as caught:
        Digits("fashion")
    line = str(caught.value)
    assert line.startswith("task.data='fashion' is not accepted: expected ")
    assert line.endswith("or put the four files into a folder and pass task.folder=PATH.")
    assert "\n" not in line


def test_the_published_files_are_the_four_of_each():
    for files in images.PUBLISHED.values():
        assert [file.file for file in files] == [f"{name}.gz" for name in WHOLE]
    every = [file for files in images.PUBLISHED.values() for file in files]
    assert len({file.sha256 for file in every}) == len({file.url for file in every}) == 8
    assert all(len(bytes.fromhex(file.sha256)) == 32 for file in every)


def test_a_run_whose_files_have_changed_is_refused_and_one_without_them_is_told(here, capfd):
    (here / "idx").mkdir()
    write(here / "idx")
    line = ["train", "task=digits", "task.data=mnist", "task.folder=idx", "train.tokens=12"]
    line += ["cell.units=4", "readout.hidden=3", "train.lanes=2"]
    assert _main(line) == 0
    (here / "idx" / "t10k-labels-idx1-ubyte").write_bytes(idx(LABELS[TRAIN:] * 0))
    capfd.readouterr()
    assert _main(line) == 2
    assert "task.folder='idx' is not accepted: expected what results" in capfd.readouterr().err
    for name in WHOLE:
        (here / "idx" / name).unlink()
    assert _main(line) == 0
    assert "task.folder=idx cannot be read, so it was not compared" in capfd.readouterr().out
    write(here / "idx", packed=True)
    assert _main(line) == 0
    assert "not compared" not in capfd.readouterr().out
