"""A run that is only told of: nothing is written, and its numbers are those of the run."""

import re

import pytest

from snaprun import config
from snaprun.cli import _main
from tests.test_cli import SMALL, only_run
from tests.test_config import composed


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["rule=bptt", "train.update_every=sequence"],
        ["rule=bptt", "train.update_every=sequence", "rule.memory=0.2"],
        ["rule=bptt", "train.update_every=70", "rule.memory=0.2"],
        ["-m", "seed=1,2"],
    ],
)
def test_a_dry_run_writes_nothing_and_tells_parameters_memory_and_time(words, here, capfd):
    (here / "text.txt").write_text("abracadabra " * 200)
    line = ["train", *words, *SMALL, "task=charlm", "task.text=text.txt", "task.crop=20"]
    assert _main([*line, "dry=true"]) == 0
    out = capfd.readouterr().out
    assert sorted(path.name for path in here.iterdir()) == ["text.txt"]
    jobs = 2 if "-m" in words else 1
    for word in ("parameters: ", "memory: about ", "time: about "):
        assert out.count(word) == jobs
    steps = 70 if "train.update_every=70" in words else 20
    assert (f"tape: {steps} steps" in out) == ("rule=bptt" in words)
    if jobs == 1:
        assert _main(line) == 0  # the run is the one that was told of
        folder = only_run(here / "results")
        assert str(folder.relative_to(here)) in out
        report = capfd.readouterr().out
        (live,) = re.findall(r"parameters: ([\d,]+) live", out)
        assert f"{live.replace(',', '')} recurrent and" in report


def test_a_dry_run_leaves_a_finished_run_alone(here, capfd):
    assert _main(["train", *SMALL]) == 0
    folder = only_run(here / "results")
    before = {file: file.read_bytes() for file in folder.iterdir()}
    assert _main(["train", *SMALL, "dry=true", "restart=true"]) == 0
    assert {file: file.read_bytes() for file in folder.iterdir()} == before
    assert sorted(here.iterdir()) == [here / "results"]
    assert list((here / "results").glob("*/[!.]*")) == [folder]


def test_validations_too_long_to_be_tried_are_bounded(here, capfd, monkeypatch):
    monkeypatch.setattr("snaprun.run.dry.SECONDS", 1e-9)  # one step, one held-out batch
    assert _main(["train", *SMALL, "task.fixed_length=300", "dry=true"]) == 0
    assert re.search(r"time: at least .*, at least .* of it to validate", capfd.readouterr().out)


def test_a_dry_align_writes_nothing(here, capfd):
    assert _main(["align", *SMALL, "dry=true"]) == 0
    assert "memory: about" in capfd.readouterr().out
    assert list(here.iterdir()) == []


def test_dry_does_not_name_a_run_and_older_configurations_lack_it():
    plain = composed()
    older = {key: value for key, value in plain.items() if key != "dry"}
    folders = {config.run_folder(c) for c in (plain, plain | {"dry": True}, older)}
    assert len(folders) == 1


def test_a_dry_run_that_does_not_fit_is_refused(here, capfd):
    assert _main(["train", "cell.units=1e9", "dry=true"]) == 2
    assert "of memory" in capfd.readouterr().err
