"""A new loss and a new task, one class each in a module of the user's, run under every rule."""

import importlib
import json
import shlex

import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

import snaprun
from snaprun import config
from snaprun.cli import _main
from snaprun.registry import load
from snaprun.rules import RULES as KINDS
from snaprun.run import checkpoint
from snaprun.seeding import stream
from snaprun.tasks import TASKS
from tests.cases import APART
from tests.plugged import forgotten

MODULE = '''
"""A loss and a task of the user's."""

import torch

from snaprun.losses import LOSSES, Loss, NormalisedRootMeanSquaredError
from snaprun.metrics import Metric
from snaprun.tasks import TASKS, Batch, Task


class Huber(Loss):
    """A square below 1, and a straight line above."""

    classes = False
    unit = ""
    training = Metric("huber", "Huber loss", "", -1, 10.0)
    held_out = training.held_out()

    def value_and_error(self, outputs_BO, targets, mask_B):
        apart_BO = (outputs_BO - targets) * mask_B[:, None]
        return self.value(outputs_BO, targets, mask_B), apart_BO.clamp(-1, 1)

    def value(self, outputs_BO, targets, mask_B):
        apart_BO = (outputs_BO - targets).abs()
        inside = apart_BO.clamp(max=1)
        return (inside * (apart_BO - inside / 2)).sum(1) * mask_B


class Swing(Task):
    """Two sines of random phase, one step ahead."""

    inputs = outputs = 2
    one_hot = False
    loss = Huber()
    measures = (NormalisedRootMeanSquaredError(),)
    held_out_lanes = 3

    def __init__(self, steps: int = 12):
        self._steps = steps

    def steps(self):
        return self._steps

    def batch(self, lanes, generator):
        phase_B2 = 6.28 * torch.rand(lanes, 2, generator=generator)
        at_T11 = torch.arange(self._steps + 1.0)[:, None, None]
        x_TB2 = torch.sin(at_T11 * torch.tensor([0.5, 0.9]) + phase_B2)
        mask = torch.ones(self._steps, lanes, dtype=torch.bool)
        resets = torch.zeros_like(mask)
        resets[0] = True
        return Batch(x_TB2[:-1], x_TB2[1:], mask, resets, baseline=x_TB2[:-1])

    def validation(self, tokens):
        return iter([self.batch(3, torch.Generator().manual_seed(2**41))])


LOSSES["huber"] = Huber
TASKS["swing"] = Swing
'''
OURS = ("--config-dir", "conf", "plugins=[outside]", "task=swing")
SMALL = ("train.tokens=2400", "train.lanes=4", "cell.units=6", "readout.hidden=0")
SMALL += ("train.log_every=480", "train.eval_every=1200")
RULES = sorted(path.stem for path in (config.conf_dir() / "rule").glob("*.yaml"))
RULES.remove(APART[1])  # it does not train the default cell
OFFLINE = [rule for rule in RULES if rule in KINDS and KINDS[rule].once_a_sequence]
ONLINE = [rule for rule in RULES if rule not in OFFLINE]
PANEL = """
name: mine
about: a task of the user's.
metric: validation_nrmse
arms: {ours: [rule=snap1], theirs: [rule=frozen]}
rates: [0.01]
selection: {seeds: [100]}
seeds: 2
overrides: [task=swing, train.tokens=1200, train.lanes=4, cell.units=6, readout.hidden=0]
budgets: {small: {}}
"""


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """A folder with the module and its YAML files; what it registers is forgotten in the end."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "outside.py").write_text(MODULE)
    for name, text in (("task/swing", "name: swing\nsteps: 12\n"), ("panel/mine", PANEL)):
        file = folder / "conf" / f"{name}.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(text)
    with pytest.MonkeyPatch.context() as patch, forgotten("outside"):
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        yield folder


@pytest.fixture(scope="module")
def runs(outside):
    """The runs of every rule."""
    for rules, window in ((ONLINE, 1), (OFFLINE, "sequence")):
        every = f"train.update_every={window}"
        assert _main(["train", "-m", *OURS, *SMALL, every, f"rule={','.join(rules)}"]) == 0
    return sorted((outside / "results" / "swing").glob("*/summary.json"))


def test_every_rule_trains_on_it(runs):
    found = {}
    for file in runs:
        summary = json.loads(file.read_text())
        rule = OmegaConf.load(file.parent / "config.yaml")["rule"]
        found[(rule["name"], rule.get("n"))] = metrics = summary["metrics"]
        assert summary["status"] == "finished"
        assert summary["engine"] == "TorchEngine"
        keys = [metric["key"] for metric in summary["declared"]]
        assert keys[:4] == ["validation_nrmse", "nrmse", "validation_huber", "huber"]
        assert set(metrics) == set(keys)
        assert metrics["baseline_validation_nrmse"] == pytest.approx(0.6, abs=0.2)  # the last value
    assert {RULES[0], *(f"snap{n}" for _, n in found if n)} <= set(RULES)
    assert {name for name, _ in found} == {RULE.rstrip("0123456789") for RULE in RULES}
    frozen = found.pop(("frozen", None))["validation_nrmse"]
    online = [metrics for (name, _), metrics in found.items() if name not in OFFLINE]
    assert all(metrics["validation_nrmse"] < frozen for metrics in online)


@pytest.mark.parametrize("rule", RULES)
def test_a_learner_learns_the_same_from_it(rule, outside):
    every = "sequence" if rule in OFFLINE else 1
    words = ("engine=torch", "dtype=float64", "train.tokens=960", f"rule={rule}")
    words += (f"train.update_every={every}",)
    assert _main(["train", *OURS, *SMALL, *words, f"results={rule}"]) == 0
    (file,) = (outside / rule / "swing").glob("*/summary.json")
    own = importlib.import_module("outside")
    sizes = {"inputs": 2, "outputs": 2, "units": 6, "readout": "linear", "lanes": 4}
    ways = {"loss": "huber", "rule": rule, "engine": "torch", "update_every": every}
    learner = snaprun.Learner(**sizes, **ways, dtype="float64")
    task, data = own.Swing(), stream(0, "data")
    for _ in range(20):
        batch = task.batch(4, data)
        learner.reset()
        for x, y in zip(batch.inputs, batch.targets, strict=True):
            learner.step(x, y)
    learner.reset()  # ends a window of one sequence
    saved = checkpoint.load(file.parent)["engine"]
    ours = learner.network.state_dict()
    assert saved["updates"] == learner.updates == (20 if rule in OFFLINE else 240)
    assert all(value.equal(ours[name]) for name, value in saved["network"].items())


@pytest.mark.usefixtures("only_tables")
def test_it_is_listed_and_drawn(runs, outside, capfd):
    words = ["source=results/swing", 'where="validation_nrmse > 0"', "columns=[run]"]
    assert _main(["status", *words, "format=csv"]) == 0
    assert len(capfd.readouterr().out.splitlines()) == 1 + len(runs)
    assert _main(["plot", "source=results/swing"]) == 0
    table = pd.read_csv(outside / "results" / "swing" / "figures" / "learning-swing.csv")
    assert set(table["quantity"]) == {"validation_nrmse", "nrmse"}


@pytest.mark.usefixtures("only_tables")
def test_a_dry_run_and_align_take_it(outside, capfd):
    assert _main(["train", *OURS, *SMALL, "dry=true"]) == 0
    out, err = capfd.readouterr()
    assert "parameters: " in out
    assert "it does not know the loss Huber" in err  # the C++ core
    words = ("align.rules=[rtrl,uoro]", "align.points=2", "align.draws=8", "results=aligned")
    assert _main(["align", *OURS, *SMALL, *words]) == 0


@pytest.mark.usefixtures("only_tables")
def test_it_is_compared_in_a_panel(outside, capfd):
    words = ("reproduce", *OURS[:3], "panel=mine", "results=panels")
    assert _main([*words, "dry=true"]) == 0
    for line in capfd.readouterr().out.splitlines():
        assert _main(shlex.split(line)[1:]) == 0
    assert _main(list(words)) == 0
    compared = pd.read_csv(outside / "panels" / "mine" / "tests.csv")
    assert set(compared["metric"]) == {"validation_nrmse"}


@pytest.mark.parametrize("rule", RULES)
def test_the_python_door_takes_it(outside, rule, tmp_path):
    load(["outside"])
    sizes = {"units": 6, "readout": "linear", "lanes": 4}
    every = "sequence" if rule in OFFLINE else 1
    made = snaprun.Learner(2, 2, **sizes, rule=rule, loss="huber", update_every=every)
    batch = TASKS["swing"]().batch(4, torch.Generator().manual_seed(0))
    pairs = list(zip(batch.inputs, batch.targets, strict=True))
    for x, y in pairs[1:]:
        guess, loss = made.step(x, y)
        want = torch.nn.functional.huber_loss(guess, y, reduction="none").sum(1)
        assert torch.allclose(loss, want)
    assert made.updates == (0 if rule in OFFLINE else len(pairs) - 1)
    made.save(tmp_path / "model.pt")
    again = snaprun.Learner.load(tmp_path / "model.pt")
    assert all(map(torch.equal, made.step(*pairs[0]), again.step(*pairs[0])))


def test_text_is_sampled_from_no_such_run(runs, capfd):
    assert _main(["sample", f"run={runs[0].parent}"]) == 2
    (said,) = capfd.readouterr().err.splitlines()
    assert "expected a run of task=charlm" in said
