"""Random command lines from valid and invalid pieces: whatever they are, they end as documented."""

import logging
import random
from pathlib import Path

import pytest

from snaprun.cli import _main
from snaprun.store import read_run

QUICK, ALL = 25, 300

TINY = ["cell.units=5", "readout.hidden=4", "train.tokens=90", "train.lanes=2"]

VALID = [
    "task=copy",
    "task=copy task.fixed_length=3",
    "task=copy task.bpc_scope=all",
    "task=charlm task.text=text.txt task.crop=16",
    "task=charlm task.text=text.txt task.mode=stream",
    "task=charlm task.text=text.txt train.eval_every=30 train.eval_tokens=20",
    "cell=vanilla",
    "cell=vanilla cell.alpha=0.5",
    "cell=lstm",
    "cell.units=1",
    "cell.units=4.0",
    "sparsity=dense",
    "sparsity=diagonal",
    "sparsity.level=0",
    "sparsity.level=0.99",
    "rule=bptt",
    "rule=bptt train.update_every=sequence",
    "rule=rtrl",
    "rule=uoro",
    "rule=rflo",
    "rule=frozen",
    "rule=snap2",
    "rule=snap rule.n=4",
    "readout=linear",
    "readout.hidden=1",
    "optim=sgd optim.lr=0.1",
    "optim=sgd optim.lr=1e30",
    "optim=rmsprop",
    "optim.clip=1",
    "train.lanes=1",
    "train.update_every=7",
    "train.update_every=1000000",
    "train.checkpoint_every=20",
    "train.checkpoint_every=0.1s",
    "train.checkpoint_every=null",
    "train.tokens=1",
    "train.log_every=1",
    "dtype=float64",
    "engine=torch",
    "engine=native",
    "influence=naive engine=torch",
    "threads=2",
    "seed=3",
    "seed='3'",
    "seed=${train.lanes}",
    "name=other",
    "name='${task.name}-x'",
    "results=a/b",
    "tensorboard=true",
    "restart=true",
    "device=auto",
    "hydra.verbose=true",
    "experiment=null",
]

INVALID = [
    "cell.units=0",
    "cell.units=-1",
    "cell.units=1.5",
    "cell.units=abc",
    "cell.units=null",
    "cell.units=[4]",
    "cell.units={a:1}",
    "cell.units=1e400",
    "cell.units=???",
    "cell.units=${cell.units}",
    "cell.units=${nothing.there}",
    "cell.units=${oc.env:NO_SUCH_VARIABLE}",
    "cell.units=${nonsense:1}",
    "cell.units='${'",
    "cell=none",
    "cell=[gru]",
    "cell=../task/copy",
    "cell={name:gru}",
    "cell.name=null",
    "cell.name=[gru]",
    "~cell",
    "~cell.units",
    "~train.tokens",
    "~seed",
    "+cell=lstm",
    "++cell.nonsense=1",
    "+nonsense=1",
    "+train.nonsense=1",
    "nonsense",
    "=",
    "=1",
    "seed==1",
    "seed=",
    "seed=-1",
    "seed=1e99",
    "seed=nan",
    "seed=true",
    "seed=1,2",
    "seed=range(0,3)",
    "seed=choice(1,2)",
    "seed=interval(0,1)",
    "sparsity.level=1",
    "sparsity.level=nan",
    "sparsity=dense sparsity.level=0.5",
    "rule=snap rule.n=0",
    "rule=snap rule.n=inf",
    "rule=bptt rule.n=2",
    "rule=snap,bptt",
    "rule={name:bptt}",
    "optim.lr=0",
    "optim.lr=-inf",
    "optim.lr=null",
    "optim.lr=1e",
    "optim.clip=-1",
    "optim=adam optim.beta2=2",
    "train=null",
    "train={}",
    "train.tokens=0",
    "train.tokens=nan",
    "train.lanes=0",
    "train.lanes=1e300",
    "train.update_every=0",
    "train.update_every=sequences",
    "train.checkpoint_every=-1",
    "train.checkpoint_every=5minutes",
    "train.checkpoint_every=nans",
    "train.eval_every=0",
    "task=charlm task.text=missing.txt",
    "task=charlm task.text=empty.txt",
    "task=series task.data=.",
    "task=charlm task.text=null",
    "task=charlm task.text=text.txt task.crop=0",
    "task=charlm task.text=text.txt task.crop=100000",
    "task=copy task.fixed_length=0",
    "task.nonsense=1",
    "dtype=float16",
    "engine=fast",
    "influence=none",
    "threads=0",
    "device=tpu",
    "name=",
    "name=../../up",
    "name='a/b'",
    "name=3",
    "results=null",
    "results=text.txt/below",
    "results=/proc/nowhere",
    "tensorboard=maybe",
    "restart=2",
    "experiment=none",
    "hydra/launcher=none",
    "hydra.nonsense=1",
    "hydra.mode=SOMETIMES",
    "hydra/job_logging=none_such",
    "hydra.job_logging.root.level=LOUD",
    "hydra.run.dir=text.txt/below",
    "hydra.searchpath=[file://nowhere]",
    "--nonsense",
    "--config-name=nonsense",
    "--config-dir=nowhere",
    "é=1",
    "cell.units=５",
    "seed='a\nb'",
    "[",
    "{a:b",
    "'",
]


def drawn(number: int) -> list[str]:
    """The words of a command line: some valid pieces, and in two cases of three invalid ones."""
    draw = random.Random(number)
    pieces = draw.sample(VALID, draw.randint(0, 5))
    pieces += draw.sample(INVALID, draw.choice([1, 1, 2, 3])) if number % 3 else []
    draw.shuffle(pieces)
    words = [*TINY, *(word for piece in pieces for word in piece.split(" "))]
    return ["-m", *words] if draw.random() < 0.15 else words


def listed(folder: Path) -> list[Path]:
    """What lies there, but for the locks."""
    return sorted(path for path in folder.rglob("*") if ".locks" not in path.parts)


numbers = [pytest.param(n, marks=[pytest.mark.slow] if n >= QUICK else []) for n in range(ALL)]


@pytest.mark.parametrize("number", numbers)
def test_any_command_line_ends_as_documented(number, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    # Hydra sets up the logging of a process, here of many command lines.
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.root, "level", logging.WARNING)
    (tmp_path / "text.txt").write_bytes(b"abracadabra " * 60)
    (tmp_path / "empty.txt").touch()
    words = drawn(number)
    print(words)  # for the one who sees it fail
    before = listed(tmp_path)
    code = _main(["train", *words])
    out, err = capfd.readouterr()
    print(out, err)
    assert code in (0, 1, 2)
    assert "Traceback" not in err
    ours = [line for line in err.splitlines() if line.startswith("snaprun: ")]
    assert bool(ours) == (code != 0)
    if code == 2 and "-m" not in words:
        assert len(ours) == 1
        assert listed(tmp_path) == before
    else:
        made = [config.parent for config in tmp_path.rglob("config.yaml")]
        assert all(read_run(run).summary for run in made)
    assert _main(["train", *words]) == code
