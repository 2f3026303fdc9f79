"""The event file is read back with TensorBoard's own reader."""

import sys

import pytest

from snaprun.checks import UserError
from snaprun.store import RunWriter


def scalars(folder):
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    (file,) = folder.glob("events.out.tfevents.*")
    found = []
    for event in loader.LegacyEventFileLoader(str(file)).Load():
        found += [(v.tag, event.step, v.simple_value) for v in event.summary.value]
    return found


def test_rows_become_scalars_at_their_tokens(tmp_path):
    for level in (7, 1):  # the second attempt replaces the first
        with RunWriter(tmp_path, {}, tensorboard=True) as writer:
            writer.begin()
            writer.row(tokens=16, updates=1, seconds=0.5, bpc=1.25, level=level)
            writer.row(tokens=32, updates=2, seconds=1.0, bpc=None, level=2)
    assert scalars(tmp_path) == [("bpc", 16, 1.25), ("level", 16, 1.0), ("level", 32, 2.0)]


def test_a_run_that_goes_on_has_one_curve(tmp_path):
    with RunWriter(tmp_path, {}, tensorboard=True) as writer:
        writer.begin()
        writer.row(tokens=16, updates=1, seconds=0.5, bpc=1.25)
        mark = writer.mark()
        writer.row(tokens=32, updates=2, seconds=1.0, bpc=7.0)
    with RunWriter(tmp_path, {}, tensorboard=True) as writer:
        writer.resume(mark)
        writer.row(tokens=32, updates=2, seconds=1.0, bpc=2.5)
    assert scalars(tmp_path) == [("bpc", 16, 1.25), ("bpc", 32, 2.5)]


def test_without_the_package_the_remedy_is_named_and_nothing_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    with pytest.raises(UserError, match=r"pip install 'snaprun\[tensorboard\]'"):
        RunWriter(tmp_path / "run", {}, tensorboard=True)
    assert not (tmp_path / "run").exists()
