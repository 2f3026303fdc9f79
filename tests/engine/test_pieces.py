"""A batch may be cut anywhere: training on its pieces is training on the whole, bit by bit."""

import pytest
import torch

from snaprun.tasks import Batch
from tests.cases import rng
from tests.engine.engines import GRID_NAMES, QUICK, batches, build


def cut(batch: Batch, generator: torch.Generator):
    first = 0
    while first < len(batch.mask):
        steps = int(torch.randint(1, 9, (), generator=generator))
        yield batch.piece(first, steps)
        first += steps


def test_pieces_are_the_whole(tmp_path):
    (whole,) = batches("copy", 3, 1, tmp_path)
    pieces = list(cut(whole, rng()))
    assert len(pieces) > 1
    for name in ("inputs", "targets", "mask", "resets"):
        together = torch.cat([getattr(piece, name) for piece in pieces])
        assert together.equal(getattr(whole, name))
    assert [piece.ends for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert not pieces[0].piece(0, 99).ends
    assert whole.to("meta").ends
    assert not pieces[0].to("meta").ends


@pytest.mark.parametrize(GRID_NAMES, QUICK)
def test_trains_as_on_the_whole(engine, rule, every, task, cell, optimiser, lanes, dtype, tmp_path):
    at_once, by_piece = (
        build(engine, rule, every, cell, optimiser, lanes, dtype, task) for _ in range(2)
    )
    generator = rng(2)
    for batch in batches(task, lanes, 3, tmp_path):
        nats_TB = torch.cat([by_piece.run(piece) for piece in cut(batch, generator)])
        assert nats_TB.equal(at_once.run(batch))
    for got, want in zip(by_piece.network.parameters, at_once.network.parameters, strict=True):
        assert got.equal(want)
    assert by_piece.updates == at_once.updates > 0
    assert by_piece.longest_window == at_once.longest_window
    assert by_piece.rule_bytes == at_once.rule_bytes
