"""Metrics that a task declares in its own file, from there to status, figures and panels."""

import io
import json
import shlex
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO

import pandas as pd
import pytest
import torch
import yaml

from snaprun.checks import UserError
from snaprun.cli import _main
from snaprun.metrics import BUILT_IN, Metric, from_json
from snaprun.status import Question, status
from snaprun.store import RunWriter, Summary, read_run
from snaprun.store.seal import sealed, unsealed
from snaprun.tasks import TASKS, Batch, Task
from snaprun.tasks.copy import LEVEL, MASTERED, MASTERED_AVERAGE

LANES, STEPS = 3, 8
CONFIDENT = Metric("confident", "sure of the parity", "", 1, 0, "eval_every", whole=True)
PERPLEXITY = Metric(
    "perplexity",
    "held-out perplexity",
    "classes",
    -1,
    2,
    "eval_every",
    beside=(CONFIDENT.key,),
    shown=("bpc",),
)


class Parity(Task):
    """Whether the bits so far are odd in number."""

    inputs = outputs = 2
    declared = (PERPLEXITY, CONFIDENT)

    def batch(self, lanes, generator):
        bits = torch.randint(0, 2, (STEPS, lanes), generator=generator)
        resets = torch.zeros(STEPS, lanes, dtype=torch.bool)
        resets[0] = True
        return Batch(bits, bits.cumsum(0) % 2, torch.ones_like(resets), resets)

    def held_out(self, bpc, tokens):
        perplexity = 2 ** bpc(iter([self.batch(4, torch.Generator().manual_seed(7))]))
        return {"perplexity": perplexity, "confident": int(perplexity < 1.99)}


PANEL = """
name: odd
about: the parity of eight bits.
metric: perplexity
arms: {snap1: [rule=snap1], frozen: [rule=frozen]}
rates: [1e-2]
selection: {seeds: [100]}
seeds: 2
overrides: [task=parity, cell.units=4, readout.hidden=0, train.lanes=3, train.tokens=1200,
  train.log_every=120, train.eval_every=240]
budgets: {small: {}}
"""


@pytest.fixture(scope="module")
def launch(tmp_path_factory):
    """Call snaprun with the task and the panel of this file."""
    conf = tmp_path_factory.mktemp("own")
    for group, name, text in (("task", "parity", "name: parity\n"), ("panel", "odd", PANEL)):
        (conf / group).mkdir()
        (conf / group / f"{name}.yaml").write_text(text)

    def run(command, *words):
        return _main([command, "--config-dir", str(conf), *words])

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, "parity", Parity)
        yield run


@pytest.fixture(scope="module")
def panel(launch, tmp_path_factory):
    """The folder of the panel, whose runs were made in this process, where the task is known."""
    results = tmp_path_factory.mktemp("results")
    words = ("reproduce", "panel=odd", f"results={results}")
    with redirect_stdout(StringIO()) as said:
        assert launch(*words, "dry=true") == 0
    lines = said.getvalue().splitlines()
    assert len(lines) == 4
    for line in lines:
        assert _main(shlex.split(line)[1:]) == 0
    assert launch(*words) == 0
    return results / "odd"


def drawn(folder):
    return set(pd.read_csv(folder / "learning-parity.csv")["quantity"])


def test_a_run_writes_what_its_task_declares_and_status_shows_it(panel):
    folder = next(panel.glob("*-snap1-*"))
    summary = read_run(folder).summary
    assert summary is not None
    assert summary.declared == (PERPLEXITY, CONFIDENT)
    shown = pd.read_csv(io.StringIO(status(panel, Question(form="csv")))).set_index("run")
    perplexity = summary.metrics["perplexity"]
    assert shown.perplexity[folder.name] == pytest.approx(perplexity, rel=1e-12)


def test_runs_are_drawn_by_it(panel, tmp_path):
    shutil.copytree(next(panel.glob("*-snap1-*")), tmp_path / "run")
    shutil.copytree(next(panel.glob("*-frozen-*")), tmp_path / "other")
    assert _main(["plot", f"source={tmp_path}"]) == 0
    assert drawn(tmp_path / "figures") == {"bpc", "perplexity"}
    reached = pd.read_csv(tmp_path / "figures" / "tradeoff-parity.csv").iloc[0]
    run = read_run(tmp_path / "run")
    assert run.summary is not None
    assert reached["quantity"] == "perplexity"
    assert reached["reached"] == pytest.approx(run.summary.metrics["perplexity"])


def test_arms_are_compared_by_it(panel):
    tests = pd.read_csv(panel / "tests.csv")
    assert set(tests["metric"]) == {"perplexity", "confident"}
    summary = pd.read_csv(panel / "summary.csv").set_index(["arm", "seed"])
    whole = tests[(tests["metric"] == "perplexity") & (tests["equal"] == "tokens")].iloc[0]
    differences = summary.loc["snap1", "final"] - summary.loc["frozen", "final"]
    assert whole["difference"] == pytest.approx(differences.median(), rel=1e-5)
    lines = (panel / "README.md").read_text().splitlines()
    (result,) = [line for line in lines if line.startswith("Result: ")]
    best = summary["final"].groupby("arm").median().idxmin()  # less is better
    assert result.split("(seeds): ")[1].startswith(f"{best} ")
    assert drawn(panel / "figures") == {"bpc", "perplexity"}


def test_a_panel_keeps_the_declarations_that_are_not_built_in(panel, tmp_path):
    recorded = yaml.safe_load((panel / "panel.yaml").read_text())
    assert from_json(recorded["declared"]) == (PERPLEXITY, CONFIDENT)
    for name in ("panel.yaml", "summary.csv", "curves.csv"):
        shutil.copy(panel / name, tmp_path)
    # A process that knows nothing of the task.
    code = (
        "import sys, snaprun.cli as cli; code = cli._main(sys.argv[1:]);"
        "sys.exit(code or 'torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, "plot", f"source={tmp_path}"], check=True)
    for path in (panel / "figures").iterdir():
        assert path.read_bytes() == (tmp_path / "figures" / path.name).read_bytes()


def test_a_metric_that_no_task_declares_is_refused(launch, capfd):
    assert launch("reproduce", "panel=odd", "panel.metric=perplexty") == 2
    said = capfd.readouterr().err
    assert (
        f"panel.metric='perplexty' is not accepted: expected one of {', '.join(BUILT_IN)}" in said
    )
    assert "Did you mean perplexity?" in said


def test_the_metric_of_averaged_weights_is_that_of_the_weights_but_for_its_name():
    named = replace(MASTERED, key="mastered_average", label="L mastered, averaged weights")
    assert named == MASTERED_AVERAGE


@pytest.mark.parametrize("metric", [*BUILT_IN.values(), PERPLEXITY], ids=lambda one: one.key)
def test_a_metric_survives_json(metric):
    assert from_json(json.loads(json.dumps([metric.to_json()]))) == (metric,)


NONSENSE = [
    3,
    {},
    [3],
    [{"key": "a"}],
    [LEVEL.to_json() | {"key": "a\nb"}],
    [LEVEL.to_json() | {"key": "tokens"}],
    [LEVEL.to_json() | {"label": "\x1b[2J"}],
    [LEVEL.to_json() | {"label": None}],
    [LEVEL.to_json() | {"better": 2}],
    [LEVEL.to_json() | {"worst": float("nan")}],
    [LEVEL.to_json() | {"worst": 10**400}],
    [LEVEL.to_json() | {"every": "checkpoint_every"}],
    [LEVEL.to_json() | {"smoothing": -1}],
    [LEVEL.to_json() | {"beside": "mastered"}],
]


@pytest.mark.parametrize("declared", NONSENSE, ids=str)
def test_nonsense_in_the_summary_of_a_stranger_is_refused_in_one_line(declared, tmp_path):
    with RunWriter(tmp_path / "run", {"seed": 0}) as writer:
        writer.begin()
        writer.row(tokens=1, updates=1, seconds=1.0, level=1)
        writer.finish(Summary("finished", 1, 1, 1.0, {"level": 1}, {}))
    path = tmp_path / "run" / "summary.json"
    data, others = unsealed(json.loads(path.read_text()))
    path.write_text(json.dumps(sealed({**data, "declared": declared}, others)))
    with pytest.raises(
        UserError, match=r"summary\.json is no summary of a run \(declared: "
    ) as refused:
        read_run(tmp_path / "run")
    assert str(refused.value).isprintable()
    assert "damaged" in status(tmp_path)


def test_a_summary_without_declarations_is_one_of_built_in_metrics():
    before = Summary("finished", 1, 1, 1.0, {"level": 1}, {})
    data = before.to_json()
    del data["declared"]
    assert Summary.from_json(data) == before
