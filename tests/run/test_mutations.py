"""A checkpoint changed by one who seals it again: the run goes on right, or ends in one line."""

import copy
import hashlib
import io
import math
import os
import random

import pytest
import torch

from snaprun.checks import UserError
from snaprun.store import read_run
from tests.cases import in_pairs
from tests.engine.engines import crossed, meets
from tests.run import test_resume
from tests.run.test_resume import launch, stopped

RULES = [name for name in test_resume.RULES if name not in ("rtrl", "rflo random")]
TREES, BYTES = 14, 6  # mutations a case, of what is pickled and of its bytes


@pytest.fixture(autouse=True)
def _quick_fsync(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


def values(draw):
    """Something else, of whatever kind."""
    number = torch.arange(6.0).view(2, 3)
    return draw.choice(
        [
            lambda: draw.choice([None, True, False, "", "x", "\x1b[2J\n", "ü" * 999, "\ud800"]),
            lambda: draw.choice(
                [-1, 0, 1, 2, 5, 2**31, 2**53, 2**53 + 1, 2**63, 10**400, -(2**70)]
            ),
            lambda: draw.choice([1.5, -1.0, math.nan, math.inf, -math.inf, 1e308, -0.0]),
            lambda: draw.choice([[], {}, [[]], {"a": 1}, (), (1, 2), {1: 2}, [0] * 99, {"x"}]),
            lambda: number.to(draw.choice([torch.int64, torch.bool, torch.half, torch.complex64])),
            lambda: draw.choice([torch.zeros(()), torch.zeros(0), torch.zeros(3), number]),
            lambda: number.to_sparse(),
            lambda: torch.nn.Parameter(number),
            lambda: torch.quantize_per_tensor(number, 0.1, 0, torch.qint8),
            lambda: torch.zeros(1).expand(10**12),
            lambda: torch.empty(10**12, device="meta"),
            lambda: torch.device("cpu"),
        ]
    )()


def tensors(draw, tensor):
    """A tensor like another but for one thing."""
    like = {
        "zero": torch.zeros_like,
        "ones": torch.ones_like,
        "negative": lambda x: -x if x.dtype != torch.bool else ~x,
        "large": lambda x: torch.full_like(x, 2**40 if x.dtype == torch.int64 else 1),
        "odd": lambda x: x + 1 if x.dtype != torch.bool else ~x,
        "unbounded": lambda x: x / 0 if x.is_floating_point() else x,
        "short": lambda x: x[:-1] if x.dim() else x[None],
        "long": lambda x: torch.cat([x, x]) if x.dim() else x[None],
        "empty": lambda x: x[:0] if x.dim() else x[None][:0],
        "deep": lambda x: x[None],
        "flat": lambda x: x.flatten(),
        "turned": lambda x: x.transpose(0, -1) if x.dim() else x,
        "other strides": lambda x: x.mT.contiguous().mT if x.dim() > 1 else x,
        "one for all": lambda x: (
            x.flatten()[:1].expand(x.numel()).view(x.shape) if x.numel() else x
        ),
        "single": lambda x: x.float(),
        "double": lambda x: x.double(),
        "byte": lambda x: x.byte(),
        "sparse": lambda x: x.to_sparse(),
        "parameter": lambda x: x.detach().double().requires_grad_(),
        "view": lambda x: torch.cat([x, x])[len(x) :] if x.dim() else x,
        "shuffled": lambda x: x.flatten()[torch.randperm(x.numel())].view(x.shape),
    }
    return like[draw.choice(sorted(like))](tensor)


def nodes(tree, way=()):
    """The ways to all that the tree holds."""
    if way:
        yield way
    if isinstance(tree, dict | list):
        for key in tree if isinstance(tree, dict) else range(len(tree)):
            yield from nodes(tree[key], (*way, key))


def mutated(tree, draw):
    """The tree with one change, and what the change is."""
    tree = copy.deepcopy(tree)
    way = draw.choice(list(nodes(tree)))
    parent = tree
    for key in way[:-1]:
        parent = parent[key]
    key, value = way[-1], parent[way[-1]]
    kind = draw.random()
    if kind < 0.15:
        del parent[key]
    elif kind < 0.25 and isinstance(parent, dict):
        parent[draw.choice(["more", "\x1b[31m", "θ", ""])] = values(draw)
    elif kind < 0.3 and isinstance(parent, dict):
        parent[f"{key}s"] = parent.pop(key)
    elif kind < 0.4:
        other = draw.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
        parent[key], parent[other] = parent[other], value
    elif kind < 0.8 and isinstance(value, torch.Tensor):
        parent[key] = tensors(draw, value)
    elif kind < 0.8 and type(value) in (int, float):
        near = [value + 1, value - 1, 2 * value + 7, -value, float(value), value * 1000, str(value)]
        parent[key] = draw.choice(near)
    elif kind < 0.8 and isinstance(value, list):
        parent[key] = draw.choice([value[::-1], value * 2, value[1:], tuple(value)])
    else:
        parent[key] = values(draw)
    return tree, f"{'.'.join(map(str, way))} ({kind:.2f})"


def sealed(data):
    return data + hashlib.sha256(data).digest()


def pickled(tree):
    buffer = io.BytesIO()
    torch.save(tree, buffer)
    return buffer.getvalue()


def mutations(saved, draw):
    """(what was changed, the file)"""
    tree = torch.load(io.BytesIO(saved), weights_only=True)
    for _ in range(TREES):
        changed, what = mutated(tree, draw)
        yield what, sealed(pickled(changed))
    pickle, end = saved.index(b"\x80\x02}"), saved.index(b"PK\x01\x02")
    # The pickle, and the table of contents behind all data.
    places = [*range(pickle, saved.index(b"PK\x03\x04", pickle)), *range(end, len(saved))]
    for _ in range(BYTES):
        data, at = bytearray(saved), draw.choice(places)
        data[at] = draw.choice([data[at] ^ 1 << draw.randrange(8), draw.randrange(256)])
        yield f"byte {at}", sealed(bytes(data))


@pytest.mark.filterwarnings("ignore")  # of quantised tensors and of warnings about them
@pytest.mark.parametrize(
    ("engine", "rule", "task"),
    in_pairs(
        (
            (*case, task)
            for case in crossed(rule=RULES)[1]
            for task in ("copy", "stream")
            if meets(case[1], task)
        ),
        of=2,
    ),
)
def test_a_mutation_that_is_sealed_again_is_refused_or_goes_on(
    rule, engine, task, tmp_path, monkeypatch
):
    text = tmp_path / "text"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 9)
    every = {"bptt": "sequence", "snap 2": 1}.get(rule, 7)
    choices = {"rule": rule, "engine": engine, "task": task, "text": text, "every": every}
    choices |= {"tokens": 150}
    original, folder = tmp_path / "original" / "run", tmp_path / "run"
    stopped(original, monkeypatch, **choices)
    files = {path.name: path.read_bytes() for path in original.iterdir()}
    draw = random.Random(f"{rule} {engine} {task}")
    refused, wrong = 0, []
    for what, data in mutations(files["checkpoint.pt"][:-32], draw):
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        for name, content in (files | {"checkpoint.pt": data}).items():
            (folder / name).write_bytes(content)
        try:
            launch(folder, **choices)
            assert read_run(folder).summary
        except UserError as error:
            refused += 1
            if not str(error).isprintable() or len(str(error)) > 1000:
                wrong.append(f"{what}: {str(error)!r:.200}")
        except Exception as error:
            wrong.append(f"{what}: {type(error).__name__} {error!s:.200}")
    assert wrong == []
    assert refused > TREES / 2
