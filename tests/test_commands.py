"""The commands beside train: cost, bench, verify and sample, from the outside."""

import pytest

from snaprun.cli import _main
from tests.test_cli import SMALL, only_run

PRUNED = ["sparsity.level=0.5", "sparsity.begin=0", "sparsity.end=3000", "sparsity.every=500"]


def test_cost_prints_and_writes_a_table(here, capfd):
    assert _main(["cost", "cells=[gru]", "sizes=[9@0.5]", "rules=[bptt,snap1,snap4,rtrl]"]) == 0
    out = capfd.readouterr().out
    assert "gru-9 at 50 % sparsity" in out
    assert (here / "results/cost/cost.csv").read_text().count("\n") == 5
    assert (here / "results/cost/cost.png").stat().st_size > 1000


def test_bench_prints_tables_and_writes_files(here, capfd):
    words = ["bench.parts=[memory]", "bench.quick=true", "bench.json=all.json", "out=there"]
    assert _main(["bench", *words]) == 0
    out = capfd.readouterr().out
    assert "bytes of rule state" in out
    assert not any(word in out.lower() for word in ("target", "goal", "not met"))
    assert (here / "all.json").is_file()
    assert (here / "there/bench.png").stat().st_size > 1000


def test_verify_prints_a_table_and_fails_on_a_mismatch(here, capfd, monkeypatch):
    words = ["verify", "cell.units=3", "steps=4", "rule=rtrl"]
    assert _main(words) == 0
    assert "ok" in capfd.readouterr().out

    from snaprun.cells import GRU

    right = GRU.slopes
    monkeypatch.setattr(GRU, "slopes", lambda *a: tuple(1.01 * slope for slope in right(*a)))
    assert _main(words) == 1
    assert "MISMATCH" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("sample", "run has no value: write run=VALUE"),
        ("sample run=none", "run='none' is not accepted: expected the folder of a run."),
        ("sample run=results", "run='results' is not accepted: expected the folder of a run."),
    ],
)
def test_what_is_no_run_is_told(words, said, here, capfd):
    (here / "results" / "copy").mkdir(parents=True)
    assert _main(words.split()) == 2
    assert said in capfd.readouterr().err


@pytest.mark.parametrize("sparsity", ["uniform", "dense", "diagonal", "magnitude"])
def test_verify_takes_every_sparsity(sparsity, here):
    words = ["verify", "cell.units=3", "steps=4", "rule=snap2", f"sparsity={sparsity}"]
    assert _main(words) == 0


@pytest.mark.parametrize("pruned", [(), ("sparsity=magnitude", *PRUNED)])
def test_sample_continues_the_prompt(pruned, here, capfd):
    (here / "text.txt").write_text("abracadabra " * 200)
    line = ["train", "task=charlm", "task.text=text.txt", *SMALL, "task.crop=20", *pruned]
    assert _main([*line, "train.tokens=6000", "optim.lr=1e-2"]) == 0
    folder = only_run(here / "results")
    (here / "text.txt").unlink()  # a sample needs the run's folder alone
    capfd.readouterr()
    for _ in range(2):
        assert _main(["sample", f"run={folder}", "length=60", "prompt=abr"]) == 0
    first, second = capfd.readouterr().out.splitlines()[:2]
    assert first == second
    assert first.startswith("abr")
    assert len(first) == 63
    assert set(first) <= set("abrcd ")


def test_sample_refuses_a_damaged_checkpoint(here, capfd):
    (here / "text.txt").write_text("abracadabra " * 200)
    assert _main(["train", "task=charlm", "task.text=text.txt", *SMALL, "task.crop=20"]) == 0
    folder = only_run(here / "results")
    (folder / "checkpoint.pt").write_bytes(b"garbage")
    capfd.readouterr()
    assert _main(["sample", f"run={folder}"]) == 2
    err = capfd.readouterr().err
    assert "checkpoint" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (
            "verify cell.units=4 draws=9000000000000000 rule=uoro",
            "draws=9000000000000000: this needs more memory than is left",
        ),
        (
            "cost sizes=[1000000000@0.5] cells=[gru]",
            "sizes=1000000000@0.5: drawing the masks needs about 9.6e+04 PB of memory, and",
        ),
    ],
)
def test_what_no_address_space_holds_is_told_in_a_line(command, told, here, capfd):
    assert _main(command.split()) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert told in line


def test_figures_do_not_follow_links(here, capfd):
    (here / "victim").write_text("mine")
    (here / "results" / "cost").mkdir(parents=True)
    for kind in ("png", "pdf", "csv"):
        (here / "results" / "cost" / f"cost.{kind}").symlink_to(here / "victim")
    assert _main(["cost", "cells=[gru]", "sizes=[16@0.5]"]) == 0
    assert (here / "victim").read_text() == "mine"
    assert not (here / "results" / "cost" / "cost.csv").is_symlink()
