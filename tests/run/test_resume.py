"""A run that is stopped between any two time steps and launched again is the run that was not."""

import itertools
import json
import shutil
from pathlib import Path

import pytest
import torch

from snaprun.cells import GRU, LSTM
from snaprun.checks import Stopped, UserError
from snaprun.cli import _main
from snaprun.engine.optim import OPTIMISERS as OPTIMISER_TYPES
from snaprun.engine.optim import SGD, Adam
from snaprun.files import atomic
from snaprun.model.network import Architecture
from snaprun.rules import BPTT
from snaprun.run import checkpoint, loop
from snaprun.run import launch as running
from snaprun.run.machine import Machine
from snaprun.run.options import TrainOptions
from snaprun.sparsity import Magnitude, Uniform
from snaprun.store import read_run
from snaprun.tasks import CharLM, Copy
from tests import cases
from tests.cases import in_pairs
from tests.engine.engines import crossed, meets, trains, window
from tests.of_numbers import Bits, Echo

RULES = [name for name in cases.RULES if name != "snap 3"]  # which is kept as SnAp-2 is
PRUNED = Magnitude(level=0.8, begin=0, end=200, every=40)
OPTIMISERS = {
    **OPTIMISER_TYPES,
    "adam": lambda: Adam(1e-2, clip=0.5, half_life=20),
    "sgd": lambda: SGD(1e-1, momentum=0.9),
    "wild": lambda: SGD(1e10),
    "infinite": lambda: SGD(1e300),  # an infinite step of float32
}


@pytest.fixture
def text(tmp_path) -> Path:
    path = tmp_path / "text"
    path.write_text("the quick brown fox jumps over the lazy dog. " * 9)
    return path


@pytest.fixture(autouse=True)
def few_held_out_sequences(monkeypatch):
    """A stopped validation is made again: 256 sequences of each length would be most of a run."""
    monkeypatch.setattr("snaprun.tasks.copy.HELD_OUT", (1, 2))


def parts(task="copy", rule="snap 2", engine="torch", every=1, text=None, **more):
    tasks = {
        "copy": lambda: Copy(threshold=2.0, spread=2),  # every batch raises the level
        "crops": lambda: CharLM(str(text), crop=11),
        "stream": lambda: CharLM(str(text), mode="stream", crop=13),
        "echo": Echo,
        "bits": Bits,
    }
    options = {"tokens": 240, "lanes": 3, "log_every": 40, "eval_every": 90, **more}
    dtype = options.pop("dtype", "float64")
    optimiser = OPTIMISERS[options.pop("optimiser", "adam")]()
    chosen = cases.RULES[rule]
    if chosen.replays and every in (1, 2):  # so short a window needs all of its tape
        chosen = BPTT(1.0)
    return running.Parts(
        task=tasks[task](),
        architecture=Architecture(
            options.pop("cell", GRU()),
            5,
            options.pop("sparsity", Uniform(0.4)),
            0 if chosen.adapts else 4,
            chosen.reminder,
        ),
        rule=chosen,
        optimiser=optimiser,
        options=TrainOptions(update_every=window(rule, every), checkpoint_every=None, **options),
        machine=Machine(seed=3, dtype=dtype, engine=engine),
    )


class StopAfter:
    """Signals that ask to stop at the `looks`-th look."""

    def __init__(self, looks):
        self.looks = looks

    @property
    def requested(self):
        return self.looks <= 0

    def check(self):
        self.looks -= 1
        if self.looks < 0:
            raise Stopped(15)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass


def launch(folder, **choices):
    return running.run(parts(**choices), folder, {}, bar=False)


def broken(folder, monkeypatch, looks, **choices):
    """Launch until the run is done, each launch but the last stopped after so many looks."""
    # Whatever the machine's speed, a look before every single step.
    monkeypatch.setattr(loop, "PIECE_SECONDS", 0.0)
    for count in itertools.count():
        monkeypatch.setattr(running, "StopSignals", lambda looks=looks: StopAfter(looks))
        try:
            return count, launch(folder, **choices)
        except Stopped:
            looks += 2


def rows(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(x).items() if k != "seconds"} for x in lines]


def assert_equal(first, second):
    """All that two runs left but the clocks, bit by bit."""
    assert rows(first) == rows(second)
    one, two = (checkpoint.load(folder) for folder in (first, second))
    same(one["engine"], two["engine"])
    same([one["task"], one["data"]], [two["task"], two["data"]])
    summaries = [read_run(folder).summary for folder in (first, second)]
    assert summaries[0].metrics == summaries[1].metrics
    for name in ("tokens", "updates", "status"):
        assert getattr(summaries[0], name) == getattr(summaries[1], name)
    for name in ("state_bytes", "state_bytes_analytic"):
        assert summaries[0].cost[name] == summaries[1].cost[name]


def same(one, two):
    if isinstance(one, torch.Tensor):
        assert one.dtype == two.dtype
        assert torch.equal(one, two)
    elif isinstance(one, dict):
        assert one.keys() == two.keys()
        for key in one:
            same(one[key], two[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            same(a, b)
    else:
        assert one == two


@pytest.mark.parametrize(
    ("engine", "rule", "task", "every"),
    in_pairs(
        (
            (*case, task, every)
            for case in crossed(rule=RULES)[1]
            for task, every in itertools.product(("copy", "crops", "stream"), (1, 7, "sequence"))
            if meets(case[1], task) and every == window(case[1], every)
        ),
        of=3,
    ),
)
def test_a_broken_run_equals_the_whole_one(rule, engine, task, every, text, tmp_path, monkeypatch):
    choices = {"rule": rule, "engine": engine, "task": task, "every": every, "text": text}
    launch(tmp_path / "whole" / "run", **choices)
    stops, summary = broken(tmp_path / "broken" / "run", monkeypatch, 5, **choices)
    assert stops >= 5
    assert summary.extras["resumed"] == stops
    assert_equal(tmp_path / "whole" / "run", tmp_path / "broken" / "run")


def masked():
    """The core trains what PyTorch's engine does, so of that three ways to keep a past suffice."""
    cases = [
        (*case, every)
        for case in crossed(rule=RULES)[1]
        for every in (1, 7, "sequence")
        if every == window(case[1], every)
    ]
    kept = ("snap 2", "bptt", "uoro")
    again = [c for c in cases if c[0] == "torch" and c[1] not in kept and trains("native", c[1])]
    return [
        *in_pairs([case for case in cases if case not in again], of=2),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in again),
    ]


@pytest.mark.parametrize(("engine", "rule", "every"), masked())
def test_with_a_mask_that_changes(rule, engine, every, tmp_path, monkeypatch):
    choices = {"rule": rule, "engine": engine, "every": every, "sparsity": PRUNED}
    whole = launch(tmp_path / "whole" / "run", **choices)
    stops, _ = broken(tmp_path / "broken" / "run", monkeypatch, 6, **choices)
    assert stops >= 4
    assert_equal(tmp_path / "whole" / "run", tmp_path / "broken" / "run")
    dense = launch(tmp_path / "dense" / "run", **choices, tokens=1)
    sizes = [summary.extras["parameters"]["recurrent"] for summary in (whole, dense)]
    assert sizes[0] < 0.6 * sizes[1]


@pytest.mark.parametrize(*crossed(optimiser=OPTIMISER_TYPES))
def test_with_every_optimiser(optimiser, engine, tmp_path, monkeypatch):
    choices = {"optimiser": optimiser, "engine": engine, "cell": LSTM(), "rule": "snap 1"}
    launch(tmp_path / "whole" / "run", **choices)
    broken(tmp_path / "broken" / "run", monkeypatch, 9, **choices)
    assert_equal(tmp_path / "whole" / "run", tmp_path / "broken" / "run")


@pytest.mark.parametrize("sparsity", [Uniform(0.4), PRUNED])
def test_a_run_whose_tokens_are_raised_is_the_longer_run(sparsity, text, tmp_path):
    choices = {"task": "stream", "text": text, "sparsity": sparsity}
    launch(tmp_path / "whole" / "run", **choices, tokens=500)
    for tokens in (100, 230, 230, 500):
        launch(tmp_path / "raised" / "run", **choices, tokens=tokens)
    assert_equal(tmp_path / "whole" / "run", tmp_path / "raised" / "run")


def test_a_finished_run_is_left_as_it_is(tmp_path):
    first = launch(tmp_path / "run")
    stamp = (tmp_path / "run" / "checkpoint.pt").stat().st_mtime_ns
    again = launch(tmp_path / "run")
    assert again.to_json() == json.loads(json.dumps(first.to_json()))
    assert (tmp_path / "run" / "checkpoint.pt").stat().st_mtime_ns == stamp


def stopped(folder, monkeypatch, **choices):
    with monkeypatch.context() as patch:
        patch.setattr(loop, "PIECE_SECONDS", 0.0)
        patch.setattr(running, "StopSignals", lambda: StopAfter(31))
        with pytest.raises(Stopped):
            launch(folder, **choices)


def reseal(folder, contents):
    """A checkpoint of other contents, with a sum that holds."""
    with atomic(folder / "checkpoint.pt") as file:
        checkpoint.write(file, contents)


WRONG = {
    "list": lambda saved: saved.update(metrics=[]),
    "no mark": lambda saved: saved.pop("metrics"),
    "mark of words": lambda saved: saved["metrics"].update(size="x"),
    "mark of nothing": lambda saved: saved["metrics"].update(size=0),
    "no mark of rows": lambda saved: saved["metrics"].update(size=0, crc32=0),
    "negative tokens": lambda saved: saved["course"].update(tokens=-5),
    "no tokens": lambda saved: saved["course"].pop("tokens"),
    "tokens of words": lambda saved: saved["course"].update(tokens="x"),
}


@pytest.mark.parametrize(
    "damage", ["torn", "empty", "flipped", "version", "other run", "shape", *WRONG]
)
def test_a_checkpoint_that_is_none_is_refused_in_one_line(damage, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    stopped(folder, monkeypatch)
    path = folder / "checkpoint.pt"
    data = bytearray(path.read_bytes())
    if damage == "torn":
        data = data[: len(data) // 2]
    elif damage == "empty":
        data = b""
    elif damage == "flipped":
        data[len(data) // 2] ^= 1
    else:
        saved = checkpoint.load(folder)
        if damage == "other run":
            saved["run"] = "another"
        elif damage in WRONG:
            WRONG[damage](saved)
        elif damage == "shape":
            saved["engine"]["network"]["theta"] = torch.zeros(3)
        else:
            monkeypatch.setattr(checkpoint, "VERSION", 99)
        reseal(folder, saved)
        monkeypatch.undo()
        data = path.read_bytes()
    path.write_bytes(data)
    before = (folder / "metrics.jsonl").read_bytes()
    with pytest.raises(UserError, match="checkpoint") as refused:
        launch(folder)
    assert "\n" not in str(refused.value)
    assert "restart=true" in str(refused.value)
    assert (folder / "metrics.jsonl").read_bytes() == before


def test_a_checkpoint_never_runs_code(tmp_path, monkeypatch):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "pwned",))

    folder = tmp_path / "run"
    stopped(folder, monkeypatch)
    saved = checkpoint.load(folder)
    reseal(folder, {**saved, "task": Evil()})
    with pytest.raises(UserError, match="readable checkpoint"):
        launch(folder)
    assert not (tmp_path / "pwned").exists()


def test_metrics_that_the_checkpoint_does_not_know_are_refused(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    stopped(folder, monkeypatch)
    path = folder / "metrics.jsonl"
    path.write_bytes(path.read_bytes().replace(b"3", b"4", 1))
    with pytest.raises(UserError, match="metrics"):
        launch(folder)


def test_a_text_that_has_changed_is_refused(text, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    stopped(folder, monkeypatch, task="crops", text=text)
    text.write_text(text.read_text().replace("fox", "cat"))
    with pytest.raises(UserError, match="data"):
        launch(folder, task="crops", text=text)


def test_a_finished_run_that_was_damaged_is_not_skipped(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = ["train", "cell.units=6", "readout.hidden=5", "train.tokens=400", "train.lanes=3"]
    assert _main(small) == 0
    (path,) = tmp_path.glob("results/*/*/metrics.jsonl")
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    assert _main(small) == 2
    path.unlink()
    assert _main(small) == 2
    for line, found in zip(capsys.readouterr().err.splitlines(), ("changed", "file"), strict=True):
        assert "metrics.jsonl" in line
        assert found in line


def test_a_finished_run_whose_text_has_changed_is_not_skipped(text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["train", "task=charlm", "task.text=text", "task.crop=9", "cell.units=6"]
    words += ["readout.hidden=5", "train.tokens=100", "train.lanes=3"]
    assert _main(words) == 0
    (folder,) = (path.parent for path in tmp_path.glob("results/*/*/summary.json"))
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert _main(words) == 0
    assert "skipped" in capsys.readouterr().out
    original = text.read_bytes()
    text.write_bytes(original.replace(b"fox", b"cat"))
    assert _main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "task.text='text'" in line
    assert "restart=true" in line
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    text.write_bytes(original)
    assert _main(words) == 0
    text.write_bytes(original.replace(b"fox", b"cat"))
    assert _main([*words, "restart=true"]) == 0
    assert _main(words) == 0
    assert "skipped" in capsys.readouterr().out


def test_a_finished_run_without_its_checkpoint_goes_no_further(tmp_path):
    launch(tmp_path / "run")
    (tmp_path / "run" / "checkpoint.pt").unlink()
    with pytest.raises(UserError, match="restart=true"):
        launch(tmp_path / "run", tokens=1000)
    assert read_run(tmp_path / "run").summary is not None


def test_a_run_whose_folder_was_removed_ends_in_one_line(tmp_path, monkeypatch):
    folder = tmp_path / "copy" / "run"
    second: dict[str, bytes] = {}

    def contents():
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    class Removing(StopAfter):
        def check(self):
            super().check()
            if self.looks == 20:
                shutil.rmtree(tmp_path / "copy")
                launch(folder, tokens=10)
                second.update(contents())

    monkeypatch.setattr(loop, "PIECE_SECONDS", 0.0)
    first = Removing(40)
    stops = iter([first, StopAfter(10**6)])
    monkeypatch.setattr(running, "StopSignals", lambda: next(stops))
    with pytest.raises(UserError, match="removed or replaced"):
        launch(folder)
    assert "summary.json" in second
    assert contents() == second
    assert first.looks < 20
