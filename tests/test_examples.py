"""The examples run, show what they say, and are short."""

import ast
import importlib
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from snaprun.cells import CELLS
from snaprun.cli import _main
from snaprun.losses import LOSSES
from snaprun.tasks import TASKS

FOLDER = Path(__file__).parents[1] / "examples"
SHORT = {
    "learn_a_stream": ["1001"],
    "own_cell_loss_task": ["10", "2"],
    "t_maze": ["30", "1"],
    "torch_training_loop": ["200"],
}
OWN = ((CELLS, "blend"), (LOSSES, "huber"), (TASKS, "glitches"))


@pytest.fixture
def examples(monkeypatch):
    """Return an example as a module; what one registers is forgotten in the end."""
    monkeypatch.syspath_prepend(FOLDER)
    threads = torch.get_num_threads()
    yield importlib.import_module
    torch.set_num_threads(threads)
    for name in SHORT:
        sys.modules.pop(name, None)
    for registry, name in OWN:
        if name in registry:
            del registry[name]


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_it_runs_as_its_docstring_says(name, examples, monkeypatch, capsys):
    file = FOLDER / f"{name}.py"
    text = file.read_text()
    assert len(text.splitlines()) < 100
    assert file.name in (ast.get_docstring(ast.parse(text)) or "")
    monkeypatch.setattr(sys, "argv", [str(file), *SHORT[name]])
    runpy.run_path(str(file), run_name="__main__")
    assert capsys.readouterr().out


def test_a_stream_is_forecast_better_than_by_persistence(examples):
    ours, persistence = examples("learn_a_stream").main(3000)
    assert ours < 0.5 * persistence


def test_the_loop_learns(examples):
    assert examples("torch_training_loop").main(400) < 5  # bits, of 8


def test_all_three_parts_of_ones_own_learn(examples):
    means = examples("own_cell_loss_task").main(20, 8)
    assert np.mean(means[-5:]) < 0.5 * means[0]


def test_parts_of_ones_own_are_a_plugin(examples, here):
    words = ("--config-dir", str(FOLDER / "conf"), "plugins=[own_cell_loss_task]")
    short = ("train.tokens=800", "cell.units=5", "readout=linear")
    assert _main(["train", *words, "cell=blend", "task=glitches", "rule=snap1", *short]) == 0
    assert _main(["verify", *words, "cell=blend", "rule=snap1"]) == 0


@pytest.mark.parametrize("memory", [True, False])
def test_only_the_cue_tells_where_the_reward_is(memory, examples):
    t_maze = examples("t_maze")
    maze, won = t_maze.TMaze(0), []
    known = np.zeros(t_maze.LANES)
    for step in range(3000):
        view = maze.look()
        cued = view[:, :2].any(1)
        known = np.where(cued, view[:, 1], known if memory else 0)
        at = maze.cell.copy()
        assert np.array_equal(cued, at == 0)
        assert np.array_equal(view[:, 3] == 1, at == t_maze.CORRIDOR + 1)
        rewards, ended = maze.step(known)
        assert np.array_equal(ended, at == t_maze.CORRIDOR + 1)
        if step > t_maze.CORRIDOR:  # agents that began beyond the cue have left
            won += (rewards[ended] > 0).tolist()
    assert np.mean(won) == (1 if memory else pytest.approx(0.5, abs=0.05))


@pytest.mark.slow
def test_memory_is_learned_in_the_maze_but_not_by_tbptt(examples):
    found = examples("t_maze").main()
    assert {len(shares) for shares in found.values()} == {5}
    assert min(found["rtrl"] + found["snap1"]) >= 0.95
    assert all(share == pytest.approx(0.5, abs=0.1) for share in found["tbptt1"])
