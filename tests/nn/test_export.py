"""snaprun export, from the outside: what PyTorch loads computes what the run's network computes."""

import re

import pytest
import torch

from snaprun.cli import _main
from snaprun.commands.trained import trained
from tests.cases import close, rng
from tests.test_cli import SMALL, only_run

SHORT = [*SMALL, "dtype=float64", "optim.lr=0.1"]


@pytest.mark.parametrize(
    "words",
    [
        ["cell=gru", "cell.layers=2", "train.average=0.9"],
        ["cell=lstm", "readout=linear", "readout.hidden=0", "rule=rflo"],
        ["cell=vanilla", "sparsity=dense", "rule=bptt", "train.update_every=sequence"],
        ["task=digits", "task.by=row"],
        ["cell=gru", "sparsity=magnitude", "sparsity.level=0.5", "sparsity.begin=0",
         "sparsity.end=300", "sparsity.every=50", "dtype=float32"],
    ],
)  # fmt: skip
def test_the_page_loads_the_file(words, here, capfd):
    assert _main(["train", *SHORT, *words]) == 0
    folder = only_run(here / "results")
    capfd.readouterr()
    (here / "there").mkdir()
    (here / "there/mine.md").write_text("an older page")
    for _ in range(2):  # the second time it replaces the file
        assert _main(["export", f"run={folder}", "out=there/mine.pt"]) == 0
    said = capfd.readouterr().out
    assert "mine.md" in said
    assert sorted(file.name for file in (here / "there").iterdir()) == ["mine.md", "mine.pt"]

    page = (here / "there/mine.md").read_text()
    assert folder.name in page
    assert "not their average" in said
    assert "not their average" in page
    _, network = trained(str(folder))
    core, weights_MKJ = network.core, network.weights()
    x_TBA = torch.eye(core.inputs, dtype=network.dtype)[
        torch.randint(core.inputs, (20, 3), generator=rng())
    ]
    scope = {"x": x_TBA}
    lines = re.findall(r"^    (.*)$", page, re.M)
    assert len(lines) == 5
    exec("\n".join(lines).replace("mine.pt", str(here / "there/mine.pt")), scope)
    state_BCK = core.initial_state(3, network.dtype)
    for t, x_BA in enumerate(x_TBA):
        state_BCK, _ = core.step(weights_MKJ, state_BCK, x_BA)
        want = network.readout.outputs(core.output(state_BCK))
        close(scope["outputs"][t].detach(), want, 1e-12 if x_BA.dtype == torch.float64 else 1e-5)

    saved = torch.load(here / "there/mine.pt", weights_only=True)
    assert {type(x) for x in saved.values()} == {str, dict, list}
    assert all(type(x) is int for x in saved["rnn_arguments"].values())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cell=vanilla", "cell.alpha=0.5"], "alpha=0.5 is not accepted"),
        (["cell=gru", "cell.units=[6,5]"], "units=[6, 5] is not accepted"),
    ],
)
def test_what_torch_lacks_is_told_in_a_line(words, said, here, capfd):
    assert _main(["train", *SHORT, *words]) == 0
    capfd.readouterr()
    assert _main(["export", f"run={only_run(here / 'results')}"]) == 2
    err = capfd.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not (here / "model.pt").exists()
