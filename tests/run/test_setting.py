"""A run that is resumed in another setting says so, and refuses to where it is asked to."""

import copy
import json
import logging

import pytest
import torch

from snaprun.checks import UserError
from snaprun.engine import native
from snaprun.run import checkpoint, setting
from snaprun.run.setting import Segments
from snaprun.status import standing
from snaprun.store import RunWriter, read_run
from tests.engine.engines import EITHER, NEEDS_CORE
from tests.run.test_resume import assert_equal, launch, reseal, stopped

OWN = {"isa": "v9", "threads": 2, "versions": {"torch": "3.0"}}
BLANK = {"isa": None, "threads": None, "versions": {"torch": None}}


def other(**more):
    return Segments({**OWN, **more})


def test_a_new_run_has_one_segment_from_its_beginning():
    assert Segments(OWN).to_list() == [{"tokens": 0, **OWN}]


def test_the_same_setting_is_one_segment():
    segments = Segments(OWN)
    for tokens in (0, 50, 50, 80):
        assert segments.resume(segments.to_list(), tokens) == ""
        assert segments.to_list() == [{"tokens": 0, **OWN}]


def test_every_change_is_a_segment_and_is_told():
    segments = other(isa="v8", threads=1)
    assert segments.resume([{"tokens": 0, **OWN}], 50) == (
        "the setting changes: isa=v8 (was v9), threads=1 (was 2)"
    )
    newer = other(versions={"torch": "3.1"})
    told = newer.resume(segments.to_list(), 80)
    assert told == "the setting changes: isa=v9 (was v8), threads=2 (was 1), torch=3.1 (was 3.0)"
    assert [segment["tokens"] for segment in newer.to_list()] == [0, 50, 80]
    assert newer.to_list()[-1] == {"tokens": 80, **OWN, "versions": {"torch": "3.1"}}


def test_a_setting_in_which_nothing_was_done_leaves_no_trace():
    idle = other(isa="v8")
    assert idle.resume([{"tokens": 0, **OWN}], 50)
    back = Segments(OWN)
    assert back.resume(idle.to_list(), 50) == ""
    assert back.to_list() == [{"tokens": 0, **OWN}]
    assert idle.resume(back.to_list(), 0) == ""
    assert idle.to_list() == [{"tokens": 0, **OWN, "isa": "v8"}]


def test_a_setting_that_was_not_kept_is_unknown():
    segments = Segments(OWN)
    assert "unknown" in segments.resume(None, 50)
    assert segments.to_list() == [{"tokens": 0, **BLANK}, {"tokens": 50, **OWN}]
    assert segments.resume(segments.to_list(), 90) == ""
    assert Segments(OWN).resume(None, 0) == ""


@pytest.mark.parametrize(
    "saved",
    [
        [],
        "x",
        [3],
        [{"tokens": 1, **OWN}],
        [{"tokens": 0, **OWN}, {"tokens": 0, **OWN}],
        [{"tokens": 0, **OWN}, {"tokens": 99, **OWN}],
        [{"tokens": 0, "isa": "v9"}],
        [{"tokens": 0, **OWN, "isa": 3}],
        [{"tokens": 0, **OWN, "threads": True}],
        [{"tokens": 0, **OWN, "versions": "3.0"}],
        [{"tokens": 0.0, **OWN}],
        [{"tokens": 0, **OWN, "more": 1}],
    ],
)
def test_what_is_no_list_of_segments_is_refused(saved):
    segments = Segments(OWN)
    with pytest.raises(ValueError, match="segment"):
        segments.resume(saved, 50)
    assert segments.to_list() == Segments(OWN).to_list()


@pytest.mark.parametrize("engine", EITHER)
def test_a_run_tells_its_settings(engine, tmp_path, monkeypatch, caplog):
    folder = tmp_path / "run"
    with caplog.at_level(logging.WARNING):
        stopped(folder, monkeypatch, engine=engine)
        stopped(folder, monkeypatch, engine=engine)
        assert "setting" not in caplog.text
        monkeypatch.setattr(setting.hardware, "cpu", lambda: "Another CPU")
        summary = launch(folder, engine=engine)
    (line,) = [record.getMessage() for record in caplog.records if "setting" in record.getMessage()]
    first, second = json.loads((folder / "summary.json").read_text())["segments"]
    assert f"resumed at token {second['tokens']}; the setting changes: cpu=Another CPU (was" in line
    assert 0 == first["tokens"] < second["tokens"] < summary.tokens
    assert {**first, "tokens": 0, "cpu": 0} == {**second, "tokens": 0, "cpu": 0}
    assert first["threads"] == 1
    assert first["engine"] == {"torch": "TorchEngine", "native": "NativeEngine"}[engine]
    assert first["versions"] == read_run(folder).summary.extras["versions"]
    own = torch.backends.cpu.get_cpu_capability()
    if native._native is None:
        assert first["isa"] == own
    else:
        known = native._native.isa()
        assert first["isa"] == {"torch": f"{own}, {known}", "native": known}[engine]


@NEEDS_CORE
def test_another_engine_takes_the_run_over_and_says_so(tmp_path, monkeypatch, caplog):
    folder = tmp_path / "run"
    stopped(folder, monkeypatch, engine="auto")
    with monkeypatch.context() as patch:
        patch.setattr(native, "_native", None)
        launch(folder, engine="auto")
    assert "engine=TorchEngine (was NativeEngine)" in caplog.text
    engines = [segment["engine"] for segment in read_run(folder).summary.extras["segments"]]
    assert engines == ["NativeEngine", "TorchEngine"]


def test_strict_refuses_what_would_change_the_setting(tmp_path, monkeypatch):
    folder, whole = tmp_path / "strict" / "run", tmp_path / "whole" / "run"
    stopped(folder, monkeypatch, strict=True)
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with monkeypatch.context() as patch:
        patch.setattr(setting.hardware, "cpu", lambda: "Another CPU")
        with pytest.raises(
            UserError, match=r"cpu=Another CPU .*train\.strict=true refuses"
        ) as caught:
            launch(folder, strict=True)
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    launch(folder, strict=True)
    launch(whole)
    assert_equal(folder, whole)


def test_a_checkpoint_of_an_earlier_version_goes_on(tmp_path, monkeypatch, caplog):
    folder, whole = tmp_path / "old" / "run", tmp_path / "whole" / "run"
    stopped(folder, monkeypatch)
    saved = checkpoint.load(folder)
    del saved["segments"], saved["watch"]
    reseal(folder, saved)
    with pytest.raises(UserError, match="the setting before is unknown"):
        launch(folder, strict=True)
    summary = launch(folder)
    assert "the setting before is unknown" in caplog.text
    launch(whole)
    assert_equal(folder, whole)
    first, second = summary.extras["segments"]
    assert (first["tokens"], first["isa"], first["versions"]["torch"]) == (0, None, None)
    assert second["engine"] == "TorchEngine"


def test_status_marks_a_run_that_is_under_way(tmp_path):
    for count in (1, 2):
        segments = [{"tokens": n, **copy.deepcopy(OWN)} for n in range(count)]
        with RunWriter(tmp_path / "run", {}) as writer:
            writer.begin()
            with writer.checkpoint() as file:
                checkpoint.write(file, {"segments": segments})
            found = standing(tmp_path / "run")
        assert (found.state, found.mixed) == ("running", count == 2)
    assert not standing(tmp_path / "run").mixed  # nobody runs it
