"""snaprun evaluate, from the outside: a run's metrics with frozen weights on any data."""

import json
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy, one_hot

from snaprun.cli import _main
from snaprun.commands.trained import trained
from snaprun.store import read_run
from snaprun.tasks import TASKS
from tests.test_cli import SMALL, only_run

SHORT = [*SMALL, "train.eval_tokens=500", "train.tokens=1500"]
# Everything is mastered, so that `mastered` tells the level at which its search begins.
LENIENT = ["task=copy", "task.threshold=9", "train.average=0.9"]


def metrics(folder: Path, *words: str) -> dict[str, float]:
    """What evaluate writes to its file."""
    assert _main(["evaluate", f"run={folder}", *words, "json=all.json"]) == 0
    return json.loads(Path("all.json").read_text())["metrics"]


def own(folder: Path) -> dict[str, float]:
    """The held-out metrics of the run's last validation."""
    run = read_run(folder)
    assert run.summary is not None
    columns = {key: values.tolist() for key, values in run.columns.items()}
    keys = [key for key in run.summary.metrics if "validation_" in key or "mastered" in key]
    return {key: columns[key][-1] for key in keys}


def refused(capfd, folder: Path, *words: str) -> str:
    capfd.readouterr()
    assert _main(["evaluate", f"run={folder}", *words]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    "words",
    [
        LENIENT,
        ["task=charlm", "task.text=text.txt", "task.crop=7", "cell=lstm", "rule=rflo"],
        ["task=charlm", "task.text=text.txt", "task.crop=7", "task.mode=stream", "engine=torch"],
        ["task=recall_after_delay", "task.delay=3", "cell.layers=2", "train.average=0.9"],
        ["task=recall_after_delay", "task.code=scalar", "task.scope=recall", "influence=torch"],
        ["task=adding", "task.length=7", "dtype=float64", "cell=vanilla", "sparsity=dense"],
        ["task=series", "task.length=900", "task.crop=20", "train.eval_tokens=null"],
        ["task=copy", "task.fixed_length=3", "sparsity=magnitude", "sparsity.level=0.5",
         "sparsity.begin=0", "sparsity.end=1000", "sparsity.every=100", "train.average=0.9"],
    ],
)  # fmt: skip
def test_the_numbers_are_those_of_the_runs_last_validation(words, here):
    (here / "text.txt").write_text("abracadabra " * 200)
    assert _main(["train", *SHORT, *words]) == 0
    folder = only_run(here / "results")
    before = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in folder.iterdir()}
    assert own(folder)
    assert metrics(folder) == own(folder)
    assert {
        file: (file.stat().st_mtime_ns, file.read_bytes()) for file in folder.iterdir()
    } == before


def test_a_longer_delay_gives_what_the_network_computes_on_it(here, capfd):
    words = ["task=recall_after_delay", "task.delay=3", "dtype=float64", "cell.layers=2"]
    assert _main(["train", *SHORT, *words]) == 0
    folder = only_run(here / "results")
    found = metrics(folder, "task.delay=8", "tokens=100")
    (batch,) = TASKS["recall_after_delay"](delay=8).validation(100)

    _, network = trained(str(folder))
    state_BCK = network.core.initial_state(batch.mask.shape[1], network.dtype)
    outputs = []
    for x_B in batch.inputs:
        state_BCK, _ = network.core.step(network.weights(), state_BCK, one_hot(x_B, 10).double())
        outputs.append(network.readout.outputs(network.core.output(state_BCK)))
    outputs_TBO = torch.stack(outputs)
    loss = cross_entropy(outputs_TBO.flatten(0, 1), batch.targets.flatten())
    recalled = cross_entropy(outputs_TBO[-10:].flatten(0, 1), batch.targets[-10:].flatten())
    right = (outputs_TBO[-10:].argmax(2) == batch.targets[-10:]).double().mean()
    assert found["validation_cross_entropy"] == pytest.approx(loss.item(), rel=1e-12)
    assert found["validation_recall_cross_entropy"] == pytest.approx(recalled.item(), rel=1e-12)
    assert found["validation_accuracy"] == pytest.approx(right.item(), rel=1e-12)
    assert found != metrics(folder, "tokens=100")

    said = capfd.readouterr().out
    assert "finished; its last checkpoint, at token 1518, on task.delay=8" in said
    assert "held-out cross-entropy of the recall (nats)" in said


def test_another_text_gives_what_a_run_that_validates_on_it_gives(here, capfd):
    for name, text in {"a": "abracadabra ", "b": "barbarian ", "c": "cabbage, drab "}.items():
        (here / f"{name}.txt").write_text(text * 200)
    line = ["train", *SHORT, "task=charlm", "task.crop=7", "task.text=a.txt"]
    assert _main([*line, "task.valid_text=b.txt", "results=one"]) == 0
    assert _main([*line, "task.valid_text=c.txt", "results=two"]) == 0
    one, two = (only_run(here / results) for results in ("one", "two"))
    assert own(one) != own(two)
    assert metrics(one, "task.valid_text=c.txt") == own(two)

    (here / "a.txt").write_text("another " * 200)
    assert "task.text='a.txt' is not accepted: expected what" in refused(capfd, one)
    assert metrics(one, "task.text=a.txt") == own(one)  # as it is now
    (here / "a.txt").unlink()
    assert "task.text='a.txt'" in refused(capfd, one)
    assert metrics(one, "task.text=c.txt", "task.valid_text=c.txt") == own(two)


def test_a_curriculum_begins_at_its_level_unless_the_keys_set_it(here):
    assert _main(["train", *SHORT, *LENIENT]) == 0
    folder = only_run(here / "results")
    level = own(folder)["mastered"] // 2
    assert level > 2
    assert metrics(folder, "task.threshold=8")["mastered"] == 2 * level + 1
    assert metrics(folder, "task.fixed_length=2")["mastered"] == 2


def test_the_last_checkpoint_of_a_run_that_is_not_done_counts(here, capfd):
    assert _main(["train", *SHORT, *LENIENT]) == 0
    folder = only_run(here / "results")
    before = own(folder)
    (folder / "summary.json").unlink()
    assert metrics(folder) == before
    assert "stopped; its last checkpoint, at token 1" in capfd.readouterr().out

    words = ["optim=sgd", "optim.lr=1e30", "train.checkpoint_every=1", "results=wild"]
    assert _main(["train", *SMALL, *words]) == 1
    metrics(only_run(here / "wild"))
    assert "diverged; its last checkpoint, at token" in capfd.readouterr().out


def test_the_best_checkpoint_gives_the_best_of_the_runs_validations(here, capfd):
    (here / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 9)
    line = ["train", *SMALL, "task=charlm", "task.text=text.txt", "task.crop=7", "optim=sgd"]
    line += ["optim.lr=1", "train.eval_every=70", "dtype=float64", "train.tokens=2000"]
    assert _main(line) == 0
    folder = only_run(here / "results")
    run = read_run(folder)
    assert run.summary is not None
    best = run.columns["validation_bpc"][run.columns["validation_bpc"] > 0].min()
    assert run.summary.extras["best"]["value"] == best < own(folder)["validation_bpc"]
    assert metrics(folder, "checkpoint=best") == {"validation_bpc": best}
    assert metrics(folder) == own(folder)
    said = capfd.readouterr().out
    assert f"its best checkpoint, at token {run.summary.extras['best']['tokens']}" in said
    assert f"validation_bpc  {best:.4g}       {best:.4g}" in said
    assert _main(["export", f"run={folder}", "checkpoint=best", "out=best.pt"]) == 0
    assert _main(["export", f"run={folder}", "out=last.pt"]) == 0
    exported = [torch.load(here / f"{name}.pt")["readout"]["0.bias"] for name in ("best", "last")]
    assert not torch.equal(*exported)
    assert _main(["sample", f"run={folder}", "checkpoint=best", "length=5"]) == 0

    (folder / "best.pt").unlink()
    assert "expected last, as" in refused(capfd, folder, "checkpoint=best")
    assert "expected one of last, best" in refused(capfd, folder, "checkpoint=first")
    # A validation that comes only at the end finds its network in the last checkpoint.
    assert _main([*line, "train.eval_every=99999", "results=once"]) == 0
    once = only_run(here / "once")
    assert not (once / "best.pt").exists()
    assert metrics(once, "checkpoint=best") == own(once)


def test_both_engines_agree_and_a_sweep_writes_a_file_each(here, capfd):
    assert _main(["train", *SHORT, "task=adding", "task.length=5", "dtype=float64"]) == 0
    folder = only_run(here / "results")
    core, torch_ = (metrics(folder, f"engine={name}") for name in ("auto", "torch"))
    assert core == pytest.approx(torch_, rel=1e-12)
    capfd.readouterr()
    line = ["evaluate", "-m", f"run={folder}", "task.length=6,9", "json=of${task.length}.json"]
    assert _main(line) == 0
    for length in (6, 9):
        written = json.loads((here / f"of{length}.json").read_text())
        assert written["task"] == {"name": "adding", "length": length}
        assert written["metrics"] == metrics(folder, f"task.length={length}")
    assert "on task.length=6" in capfd.readouterr().out


def test_a_run_of_align_is_evaluated(here):
    words = ["task=copy", "task.threshold=9", "align.rules=[snap1]"]
    assert _main(["align", *SMALL, *words]) == 0
    folder = only_run(here / "results")
    assert metrics(folder) == own(folder)


def test_what_does_not_fit_the_run_is_told_in_a_line(here, capfd):
    assert _main(["train", *SMALL, "task=recall_after_delay", "task.delay=3"]) == 0
    folder = only_run(here / "results")
    line = refused(capfd, folder, "task.dellay=8")
    assert "task.dellay is not a key here" in line
    assert "Did you mean task.delay?" in line
    assert "task.delay='long' is not accepted" in refused(capfd, folder, "task.delay=long")
    for word in ("task=adding", "task.name=adding"):
        line = refused(capfd, folder, word)
        assert "task.name='adding' is not accepted: expected recall_after_delay" in line
    line = refused(capfd, folder, "task.code=scalar")
    assert "task.code=scalar makes inputs=1 and outputs=10" in line
    assert "has inputs=10 and outputs=10" in line
    assert "engine='fast' is not accepted" in refused(capfd, folder, "engine=fast")
    before = (folder / "metrics.jsonl").read_bytes()
    line = refused(capfd, folder, f"json={folder}/metrics.jsonl")
    assert "expected a file outside the folders of runs" in line
    assert (folder / "metrics.jsonl").read_bytes() == before
    (folder / "checkpoint.pt").write_bytes(b"garbage")
    assert "a readable checkpoint" in refused(capfd, folder)
    (folder / "checkpoint.pt").unlink()
    assert "a folder that holds checkpoint.pt" in refused(capfd, folder)


def test_a_setting_that_holds_nothing_out_is_refused(here, capfd):
    (here / "text.txt").write_text("abracadabra " * 200)
    assert _main(["train", *SMALL, "task=charlm", "task.text=text.txt", "task.crop=7"]) == 0
    folder = only_run(here / "results")
    assert "holds out no data" in refused(capfd, folder, "task.valid_fraction=0")
