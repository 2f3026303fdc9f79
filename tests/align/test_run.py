"""`snaprun align` from the outside: training undisturbed, stops survived, files, mistakes."""

import json
import signal
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
import torch

from snaprun import hardware
from snaprun.align import AlignOptions, Probe, candidates
from snaprun.checks import Stopped
from snaprun.cli import _main
from snaprun.config import rule as rule_of
from snaprun.engine import native
from snaprun.engine.optim import Adam
from snaprun.model.network import Architecture
from snaprun.run import checkpoint
from snaprun.run.launch import run
from snaprun.run.machine import Machine
from snaprun.run.options import TrainOptions
from snaprun.run.parts import Parts
from snaprun.sparsity import Uniform
from snaprun.tasks import CharLM, Copy
from tests.cases import CELLS, RULES, in_pairs

SMALL = ["cell.units=6", "readout.hidden=5", "train.tokens=600", "train.lanes=3"]
SMALL += ["train.log_every=100", "optim.lr=0.01"]
ENGINES = ["torch", "native"] if native._native else ["torch"]
RULES_THAT_TRAIN = ["snap 2", "uoro", "bptt", "rflo random"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    (tmp_path / "text").write_bytes(bytes(range(256)) * 8)
    return tmp_path


def only_run(root: Path) -> Path:
    (found,) = root.glob("*/summary.json")
    return found.parent


def rows(folder, dropped=("seconds",)):
    """The metrics as they were written, without what the names of `dropped` begin."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    kept = [{k: v for k, v in line.items() if not k.startswith(dropped)} for line in lines]
    return [row for row in kept if set(row) - {"tokens", "updates"}]


def equal(one, two):
    """Whether two nested states are the same bit by bit."""
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(equal(one[key], two[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(two) and all(map(equal, one, two))
    return one.equal(two) if isinstance(one, torch.Tensor) else one == two


def parts(rule="snap 1", task=None, engine="auto"):
    return Parts(
        task=task or Copy(),
        architecture=Architecture(CELLS["gru"], 6, Uniform(level=0.5), 5),
        rule=RULES[rule],
        optimiser=Adam(lr=0.01),
        options=TrainOptions(tokens=600, lanes=3, log_every=100, update_every=2),
        machine=Machine(seed=3, engine=engine),
    )


def probe(of, kind=Probe):
    options = AlignOptions(["rtrl", "uoro"], points=4, draws=8)
    return kind(options, of, candidates(options.rules, rule_of), "own")


def train(of, folder, probe=None):
    run(of, folder, {}, bar=False, probe=probe)
    state = checkpoint.load(folder)
    assert state is not None
    return {key: state[key] for key in ("engine", "task", "data")}


@pytest.mark.parametrize(
    ("engine", "rule", "task"), in_pairs(product(ENGINES, RULES_THAT_TRAIN, ["copy", "stream"]))
)
def test_training_is_not_disturbed(here, engine, rule, task):
    plain, watched = (
        parts(rule, Copy() if task == "copy" else CharLM("text", mode="stream", crop=7), engine)
        for _ in range(2)
    )
    one, two = train(plain, here / "plain"), train(watched, here / "watched", probe(watched))
    assert equal(one, two)
    training = ("align/", "seconds")
    assert rows(here / "watched", training) == rows(here / "plain", training) != []
    points = [row for row in rows(here / "watched") if "align/rtrl/whole/cosine" in row]
    assert len(points) == 4


def test_what_is_written(here, capsys):
    line = ["align", *SMALL, "dtype=float64", "rule=snap2", "align.rules=[rtrl,snap1,uoro,tbptt2]"]
    # With a target at every step there is an update in the midst of a sequence: J gets stale.
    line += ["align.draws=8", "align.points=3", "task.bpc_scope=all"]
    assert _main(line) == 0
    folder = only_run(here / "results" / "copy-align")
    out = capsys.readouterr().out
    table = pd.read_csv(folder / "alignment-copy.csv")
    for kind in ("png", "pdf", "csv"):
        assert (folder / f"alignment-copy.{kind}").stat().st_size > 1000
        assert f"alignment-copy.{kind}" in out
    compared = table[table["rule"].notna()]
    assert compared["tokens"].nunique() == 3
    assert compared["tokens"].min() == 0
    assert compared["tokens"].max() >= 600
    assert set(compared["rule"]) == {"rtrl", "snap1", "snap2", "uoro", "tbptt2"}
    assert set(compared["slot"]) == {"whole", "z", "r", "n_x", "n_h"}
    of_rtrl = compared[(compared["rule"] == "rtrl") & (compared["quantity"] == "cosine")]
    assert len(of_rtrl) == 15
    assert of_rtrl["value"].between(1 - 1e-10, 1).all()
    stale = compared[compared["quantity"] == "stale_fresh"]
    assert set(stale["rule"]) == {"snap2"}
    assert stale["value"].between(0.5, 1 - 1e-8).all()
    noisy = compared[compared["low"].notna()]
    assert set(noisy["rule"]) == {"uoro"}
    assert set(table.loc[table["rule"].isna(), "quantity"]) == {"level"}
    heading, names, *shown = out.split("gradients of a batch", 1)[1].splitlines()
    assert f"after {compared['tokens'].max()} tokens" in heading
    assert "variance" in names
    assert [text.split()[0] for text in shown[:5]] == [
        "RTRL",
        "SnAp-1",
        "UORO",
        "TBPTT(2)",
        "SnAp-2",
    ]

    assert _main(line) == 0  # once more: nothing is trained
    assert "skipped" in capsys.readouterr().out


@pytest.mark.parametrize("look", [1, 3])
def test_a_stop_between_the_draws_of_a_point_loses_nothing(tmp_path, look):
    whole, broken = parts(), parts()
    train(whole, tmp_path / "whole", probe(whole))
    looked = []

    class Interrupted(Probe):
        def __call__(self, since, tokens, task, engine, stop):
            if any(since <= mark <= tokens for mark in self.marks):
                looked.append(tokens)
                if len(looked) == look:
                    signal.raise_signal(signal.SIGTERM)
            return super().__call__(since, tokens, task, engine, stop)

    folder = tmp_path / "broken"
    with pytest.raises(Stopped):
        train(broken, folder, probe(broken, Interrupted))
    assert not (folder / "summary.json").exists()
    again = parts()
    train(again, folder, probe(again))
    assert rows(folder) == rows(tmp_path / "whole")
    points = [row["tokens"] for row in rows(folder) if "align/rtrl/whole/cosine" in row]
    assert len(points) == 4
    assert points[look - 1] == looked[-1]


@pytest.mark.parametrize(("points", "marks"), [(1, [600]), (2, [0, 600]), (4, [0, 200, 400, 600])])
def test_points_are_spread_evenly_up_to_the_end(points, marks):
    of = parts()
    found = Probe(AlignOptions(["snap1"], points=points), of, {}, "snap")
    assert found.marks == marks


@pytest.mark.usefixtures("only_tables")
def test_a_frozen_core_is_no_candidate_and_has_nothing_stale(here):
    line = ["align", *SMALL, "rule=frozen", "align.points=1"]
    assert _main([*line, "align.rules=[snap1]"]) == 0
    table = pd.read_csv(next((here / "results").rglob("*.csv")))
    assert set(table["rule"].dropna()) == {"snap1"}
    assert set(table["quantity"]) == {"level", "cosine", "norm_ratio", "bias2", "variance"}
    assert _main([*line, "align.rules=[frozen]"]) == 0  # no direction, and drawn all the same


def test_a_run_that_diverges_before_its_only_point(here, capsys):
    line = ["align", *SMALL, "align.rules=[snap1]", "align.points=1", "optim=sgd"]
    assert _main([word for word in line if "lr" not in word] + ["optim.lr=1e30"]) == 1
    assert "no gradients were compared" in capsys.readouterr().out


def test_comparisons_that_do_not_fit_are_refused_before_the_run(here, monkeypatch, capsys):
    """SnAp-2 on a dense network, of which training by SnAp-1 alone would take little."""
    monkeypatch.setattr(hardware, "available_bytes", lambda: (10**9, "in this test"))
    words = ["sparsity=dense", "cell.units=300", "train.tokens=320", "results=runs"]
    assert _main(["train", *words]) == 0
    assert _main(["align", *words, "align.rules=[snap2,uoro]"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    for word in ("for the comparisons", "1 GB is left in this test", "cheaper align.rules"):
        assert word in line
    assert not (here / "runs" / "copy-align").exists()
    assert _main(["align", *words, "align.rules=[uoro]", "align.draws=8", "dry=true"]) == 0


@pytest.mark.usefixtures("only_tables")
def test_a_run_too_short_for_a_row_is_drawn(here):
    line = ["align", "task=store_recall", "cell=alif", "cell.units=5", "sparsity=dense"]
    line += ["train.tokens=400", "train.lanes=2", "readout=linear", "align.points=2"]
    assert _main([*line, "rule=eprop", "align.rules=[eprop_random,snap1]"]) == 0
    assert list(here.glob("**/alignment-store_recall.png"))
