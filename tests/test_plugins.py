"""Cells, rules, tasks and optimisers from outside the package, as their authors use them."""

import importlib
import math
import subprocess
import sys

import pytest
from hydra import initialize_config_dir

from snaprun import registry
from snaprun.cells import CELLS, GRU, Cell, Vanilla
from snaprun.checks import UserError
from snaprun.cli import _main
from snaprun.registry import Registry
from tests.plugged import forgotten

MODULE = '''
"""A cell, a rule and an optimiser of the user's, in the user's own folder."""

from __future__ import annotations

import torch

from snaprun.cells import CELLS, Cell, Slot
from snaprun.rules import RULES, SnAp
from snaprun.engine.optim import OPTIMISERS, SGD


class Softsign(Cell):
    """h' = a / (1 + gain |a|)."""

    slots = (Slot("a"),)
    components = 1
    slope_pattern = ((True,),)
    state_pattern = ((False,),)

    def __init__(self, gain: float = 1.0):
        self.gain = gain

    def transition(self, pre_BMK, state_BCK):
        return pre_BMK / (1 + self.gain * pre_BMK.abs())

    def slopes(self, pre_BMK, state_BCK):
        slope_BMK = (1 + self.gain * pre_BMK.abs()) ** -2
        zero_BCCK = torch.zeros_like(state_BCK).unsqueeze(1)
        return slope_BMK.unsqueeze(1), zero_BCCK


class Second(SnAp):
    """SnAp-2 by another name."""

    def __init__(self):
        super().__init__(n=2)


class Plain(SGD):
    """Stochastic gradient descent without momentum."""

    def __init__(self, lr: float):
        super().__init__(lr)


CELLS["softsign"] = Softsign
RULES["second"] = Second
OPTIMISERS["plain"] = Plain
'''
YAML = {
    "cell/softsign.yaml": "name: softsign\nunits: 8\ngain: 0.5\n",
    "rule/second.yaml": "name: second\n",
    "optim/plain.yaml": "name: plain\nlr: 0.05\n",
}
PANEL = """
name: mine
about: a cell of the user's.
claims: []
experiment: null
metric: level
arms: {ours: [cell=softsign], theirs: [cell=gru]}
rates: [0.1]
selection: {seeds: [100], overrides: []}
seeds: 1
budgets: {small: {}}
"""
OURS = ("--config-dir", "conf", "plugins=[outside]", "cell=softsign", "rule=second")


@pytest.fixture
def outside(here):
    """A folder that holds a module and its YAML files."""
    (here / "outside.py").write_text(MODULE)
    for name, text in YAML.items():
        file = here / "conf" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return here


@pytest.fixture
def snaprun(capfd):
    """Gives the exit code, stdout and stderr of a command that knows of no plug-in yet."""

    def run(*words):
        with forgotten("outside", "broken", "taken", "stranger"):
            code = _main(list(words))
        return (code, *capfd.readouterr())

    return run


def test_a_module_of_the_users_works_from_the_command_line(outside, snaprun):
    code, out, err = snaprun("verify", *OURS)
    assert code == 0, err
    assert "softsign-7, second" in out  # conf/verify.yaml sets the units
    words = ["train", *OURS, "optim=plain", "train.tokens=2000", "train.lanes=4"]
    command = [sys.executable, "-m", "snaprun", *words]
    trained = subprocess.run(command, capture_output=True, text=True, check=False)
    assert trained.returncode == 0, trained.stderr
    assert "does not know the cell Softsign" in trained.stderr  # of the C++ core
    (folder,) = (f for f in (outside / "results" / "copy").iterdir() if f.name != ".locks")
    assert folder.name.startswith("copy-softsign8-uniform0.75-second-every1-seed0-")
    assert "skipped" in snaprun(*words)[1]
    for command in ("status", "fsck", "plot"):
        code, _, err = snaprun(command, "source=results/copy")
        assert code == 0, err
    code, out, err = snaprun("evaluate", OURS[2], f"run={folder}")
    assert code == 0, err
    assert "mastered" in out
    panel = outside / "conf" / "panel" / "mine.yaml"
    panel.parent.mkdir()
    panel.write_text(PANEL)
    code, out, err = snaprun("reproduce", *OURS[:3], "panel=mine", "dry=true")
    assert code == 0, err
    assert "'plugins=[outside]'" in out  # every command finds the classes
    code, _, err = snaprun("cost", "plugins=[outside]", "cells=[softsign]", "sizes=[8@0.5]")
    assert code == 0, err


def test_without_its_module_the_name_is_refused(outside, snaprun):
    code, _, err = snaprun("train", "--config-dir", "conf", "cell=softsign")
    assert code == 2
    assert err.startswith("snaprun: cell.name='softsign' is not accepted")


@pytest.mark.parametrize(
    ("plugins", "said"),
    [
        ("[nowhere]", "plugins=nowhere cannot be imported: ModuleNotFoundError"),
        ("[broken]", "plugins=broken cannot be imported: ZeroDivisionError"),
        ("[taken]", "cells.gru="),
        ("[stranger]", "cells.stranger="),
        ("outside", "plugins='outside' is not accepted: expected a list of modules"),
    ],
)
def test_a_plug_in_that_cannot_be_used_is_refused_in_one_line(here, snaprun, plugins, said):
    (here / "broken.py").write_text("1 / 0\n")
    enter = "from snaprun.cells import CELLS, Vanilla\n"
    (here / "taken.py").write_text(f"{enter}CELLS['gru'] = type('Mine', (Vanilla,), {{}})\n")
    (here / "stranger.py").write_text(f"{enter}CELLS['stranger'] = int\n")
    code, _, err = snaprun("train", f"plugins={plugins}")
    assert code == 2
    assert err.startswith(f"snaprun: {said}")
    assert err.count("\n") == 1
    assert not (here / "results").exists()


def test_a_run_without_plug_ins_is_named_as_if_there_were_no_such_key(here):
    from snaprun import config

    with initialize_config_dir(str(config.conf_dir()), version_base="1.3"):
        assert config.PLUGINS not in config.composed("train", [])


class _Point:
    """An entry point as an installed package announces it."""

    def __init__(self, name, load):
        self.name, self.value, self.load = name, f"somewhere:{name}", load


def test_entry_points_are_imported_when_their_name_is_asked_for(monkeypatch):
    loaded = []

    def load():
        loaded.append("other")
        return Vanilla

    groups = []
    points = [_Point("other", load), _Point("bad", lambda: math.sqrt(-1)), _Point("mine", None)]
    monkeypatch.setattr(registry, "entry_points", lambda group: groups.append(group) or points)
    cells = Registry("cells", Cell, {"mine": GRU})
    assert groups == ["snaprun.cells"]
    assert list(cells) == ["mine", "other", "bad"]
    assert "other" in cells
    assert not loaded
    assert cells["other"] is cells["other"] is Vanilla
    assert loaded == ["other"]
    assert cells["mine"] is GRU  # the package's own name stands
    for _ in range(2):
        with pytest.raises(UserError, match="plug-in somewhere:bad cannot be imported: ValueError"):
            cells["bad"]
    assert cells.name_of(Vanilla()) == "other"
    assert not cells.name_of(CELLS["lstm"]())  # without a look at the bad one
    del cells["bad"]
    assert dict(cells) == {"mine": GRU, "other": Vanilla}


def test_all_can_be_listed_while_some_are_not_imported_yet(monkeypatch):
    points = [_Point("other", lambda: Vanilla)]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    assert list(Registry("cells", Cell, {"mine": GRU}).items()) == [
        ("mine", GRU),
        ("other", Vanilla),
    ]


def test_a_further_file_of_the_folder_adds_its_class_by_its_name(tmp_path, monkeypatch):
    package = tmp_path / "cells_of_a_test"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helpers.py").write_text("from snaprun.cells import Cell, GRU\n")
    (package / "soft.py").write_text(MODULE.partition("class Second")[0])
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("cells_of_a_test")
    cells = Registry("cells", Cell, {"gru": GRU}, "cells_of_a_test")
    assert list(cells) == ["gru", "soft"]
    assert cells["soft"]().slots[0].name == "a"


@pytest.mark.parametrize(("name", "kind"), [("Mine", Vanilla), ("a/b", Vanilla), ("mine", Cell)])
def test_a_name_that_is_no_word_or_a_class_that_lacks_a_method_is_refused(name, kind):
    with pytest.raises(UserError):
        CELLS[name] = kind
    assert name not in CELLS


def test_the_same_class_may_be_entered_twice():
    cells = Registry("cells", Cell, {"gru": CELLS["gru"]})
    cells["gru"] = GRU
    assert list(cells) == ["gru"]
