"""The command line from the outside: exit codes, one line for a mistake, nothing left behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from snaprun import __version__
from snaprun.cli import _main
from snaprun.store import RunWriter

SMALL = ["cell.units=6", "readout.hidden=5", "train.tokens=400", "train.lanes=3"]


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def only_run(root: Path) -> Path:
    (found,) = root.glob("*/*/summary.json")
    return found.parent


def test_a_run_writes_its_folder_and_is_skipped_when_launched_again(here, capfd):
    assert _main(["train", *SMALL]) == 0
    folder = only_run(here / "results")
    assert str(folder.relative_to(here)) in capfd.readouterr().out
    assert {file.name for file in folder.iterdir()} == {
        "config.yaml",
        "metrics.jsonl",
        "summary.json",
        "checkpoint.pt",
    }
    assert sorted(path.name for path in here.iterdir()) == ["results"]
    written = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert _main(["train", *SMALL]) == 0
    assert "skipped" in capfd.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == written


def test_the_same_command_twice_gives_the_same_metrics_but_for_the_clock(here):
    for results in ("one", "two"):
        assert _main(["train", *SMALL, f"results={results}", "rule=uoro"]) == 0
    one, two = (metrics(only_run(here / results)) for results in ("one", "two"))
    assert len(one) >= 1
    for row in (*one, *two):
        assert row.pop("seconds") > 0
    assert one == two


def test_a_broken_run_is_started_afresh(here):
    assert _main(["train", *SMALL]) == 0
    folder = only_run(here / "results")
    whole = metrics(folder)
    (folder / "summary.json").unlink()
    (folder / "metrics.jsonl").write_text('{"tokens": 1, "upd')
    assert _main(["train", *SMALL]) == 0
    again = metrics(folder)
    for row in (*whole, *again):
        row.pop("seconds")
    assert again == whole


def test_a_sweep_goes_on_after_a_mistake(here, capfd):
    code = _main(["train", "-m", *SMALL[1:], "cell.units=0,4", "seed=0,1"])
    err = capfd.readouterr().err
    assert code == 2
    assert err.count("is not accepted") == 2
    assert "cell.units=0" in err
    assert len(list((here / "results").glob("*/*/summary.json"))) == 2
    assert sorted(path.name for path in here.iterdir()) == ["results"]


def test_a_diverged_run_says_at_which_token_and_keeps_its_metrics(here, capfd):
    line = ["train", *SMALL, "train.tokens=4000", "train.log_every=10"]
    line += ["optim=sgd", "optim.lr=1e30"]
    assert _main(line) == 1
    err = capfd.readouterr().err
    folder = only_run(here / "results")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "diverged"
    assert 0 < summary["diverged_at_token"] < summary["tokens"] < 4000
    assert f"token {summary['diverged_at_token']}" in err
    assert "optim.lr=1e+30" in err
    assert metrics(folder)[-1]["tokens"] == summary["tokens"]
    assert _main(line) == 1  # already there, and said again
    assert "diverged already" in capfd.readouterr().out


def test_plot_draws_what_train_wrote(here, capfd):
    assert _main(["train", "-m", *SMALL, "rule=snap1,bptt"]) == 0
    capfd.readouterr()
    assert _main(["plot"]) == 0
    files = [Path(line) for line in capfd.readouterr().out.split()]
    assert {file.suffix for file in files} == {".png", ".pdf", ".csv"}
    assert all(file.stat().st_size > 100 for file in files)


def test_plot_names_a_corrupt_metrics_file(here, capfd):
    assert _main(["train", *SMALL]) == 0
    file = only_run(here / "results") / "metrics.jsonl"
    file.write_text("garbage\n" + file.read_text())
    capfd.readouterr()
    assert _main(["plot"]) == 2
    err = capfd.readouterr().err
    assert str(file.relative_to(here)) in err
    assert err.count("\n") == 1


def test_a_run_that_is_being_written_is_refused(here, capfd):
    assert _main(["train", *SMALL]) == 0
    folder = only_run(here / "results")
    (folder / "summary.json").unlink()
    before = (folder / "metrics.jsonl").read_bytes()
    with RunWriter(folder, {}):
        capfd.readouterr()
        assert _main(["train", *SMALL]) == 2
    err = capfd.readouterr().err
    assert f"process {os.getpid()} on " in err
    assert err.count("\n") == 1
    assert (folder / "metrics.jsonl").read_bytes() == before


def test_the_spelling_of_a_number_is_no_choice(here, capfd):
    for tokens in ("train.tokens=400", "train.tokens=4e2"):
        assert _main(["train", *SMALL[:2], "train.lanes=3", tokens]) == 0
    assert "skipped" in capfd.readouterr().out
    assert len(list((here / "results").glob("*/[!.]*"))) == 1


def test_a_text_that_changed_is_blamed_and_one_that_is_gone_is_told(here, capfd):
    text = here / "text.txt"
    text.write_text("abracadabra " * 200)
    line = ["train", "task=charlm", "task.text=text.txt", "task.crop=32", *SMALL[:2]]
    assert _main([*line, "train.tokens=128"]) == 0
    text.write_text("abracadabre " * 200)
    capfd.readouterr()
    for tokens in (128, 256):  # also where the run would go on from its checkpoint
        assert _main([*line, f"train.tokens={tokens}"]) == 2
        assert "task.text='text.txt' is not accepted" in capfd.readouterr().err
    text.unlink()
    assert _main([*line, "train.tokens=128"]) == 0
    assert "task.text=text.txt cannot be read, so it was not compared" in capfd.readouterr().out


def test_an_unknown_instruction_set_is_refused(here, capfd, monkeypatch):
    pytest.importorskip("snaprun._native")
    monkeypatch.setenv("SNAPRUN_ISA", "v33")
    assert _main(["train", *SMALL]) == 2
    assert "SNAPRUN_ISA='v33' is not accepted: expected one of portable" in capfd.readouterr().err
    assert not (here / "results").exists()


def test_a_network_destroyed_by_its_last_update_has_diverged(here):
    (here / "text.txt").write_text("abracadabra " * 200)
    line = ["train", "task=charlm", "task.text=text.txt", "task.crop=32", *SMALL[:2]]
    line += ["train.lanes=4", "train.tokens=128", "train.update_every=sequence", "rule=bptt"]
    assert _main([*line, "optim=sgd", "optim.lr=1e38"]) == 1


def test_a_run_without_an_update_says_so(here, capfd):
    line = ["train", *SMALL, "rule=bptt", "train.update_every=1000", "engine=torch"]
    assert _main(line) == 0
    assert "No update was made" in capfd.readouterr().err
    summary = json.loads((only_run(here / "results") / "summary.json").read_text())
    assert summary["updates"] == 0
    assert 0 < summary["cost"]["state_bytes"] <= summary["cost"]["state_bytes_analytic"]


def test_the_commands_of_the_documentation_are_shell(here):
    root = Path(__file__).parent.parent
    texts = [root / "README.md", *root.glob("docs/**/*.md")]
    texts += [*root.glob("conf/*.yaml"), *root.glob("conf/experiment/*.yaml")]
    lines = [
        line.strip(" #")
        for text in texts
        for line in text.read_text().splitlines()
        if line.strip(" #").startswith(("snaprun ", "scripts/"))
    ]
    assert len(lines) > 15
    done = subprocess.run(
        ["bash", "-n"], input="\n".join(lines), text=True, capture_output=True, check=False
    )
    assert done.stderr == ""


@pytest.mark.parametrize("experiment", ["copy_small", "charlm_small"])
def test_every_experiment_composes(experiment, here, capfd):
    assert _main(["train", f"experiment={experiment}", "--cfg", "job"]) == 0
    assert f"name: {experiment}" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "snaprun ",
            {
                *("train", "status", "fsck", "plot", "cost", "verify", "bench", "sample"),
                *("evaluate", "export", "reproduce", "search"),
            },
        ),
        ("snaprun train rule=r", {"rule=rtrl", "rule=rflo"}),
        ("snaprun plot ki", {"kind="}),
        ("snaprun search search.pr", {"search.pruner="}),
    ],
)
def test_completion(line, expected, here, monkeypatch, capfd):
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    assert _main(["-sc", "query=bash"]) == 0
    assert expected <= set(capfd.readouterr().out.split())


def test_help_and_version(here, capfd):
    assert _main(["--version"]) == 0
    assert _main([]) == 0
    out = capfd.readouterr().out
    assert __version__ in out
    assert all(word in out for word in ("train", "status", "plot", "cost", "verify", "bench"))


def test_python_dash_m(here):
    done = subprocess.run(
        [sys.executable, "-m", "snaprun", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"snaprun {__version__}\n"


def test_the_command_line_starts_without_torch(here):
    code = "import sys, snaprun.cli, snaprun.figures; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
