"""The peers compute what ours do: networks after a few updates, in float64."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from snaprun.bench import peers
from snaprun.bench.problem import CHARACTERS, COPY, Net, batches, rule_of
from snaprun.cells import CELLS
from snaprun.engine.base import SEQUENCE
from snaprun.engine.optim import Adam
from snaprun.engine.torch import TorchEngine
from snaprun.influence import BACKENDS
from snaprun.model.network import Architecture
from snaprun.seeding import stream
from snaprun.sparsity import Uniform
from tests.cases import in_pairs

peers.limit(1)
jax = pytest.importorskip("jax")


@pytest.mark.parametrize(
    ("cell", "rule", "task", "hidden"),
    in_pairs(
        (
            (cell, *case)
            for case in (("bptt", CHARACTERS, 3), ("snap1", CHARACTERS, 0), ("snap1", COPY, 3))
            for cell in ("lstm", "gru", "vanilla")
        ),
        of=2,
    ),
)
def test_a_peer_is_the_rule_on_a_dense_network(cell, rule, task, hidden):
    from snaprun.bench import in_jax

    net = replace(Net(cell, 5, 0.0, task), hidden=hidden)
    parts = Architecture(CELLS[cell](), net.units, Uniform(0), net.hidden)
    network = parts.build(net.inputs, net.outputs, 0, torch.float64)
    data = batches(task, 3, 0, steps=6, count=3)
    with jax.enable_x64(True):
        of = in_jax.shape(network, cell)
        trained = in_jax.begin(network, of)
        run = in_jax.sequence(of, rule, Adam(lr=0.01))
        for batch in data:
            trained = run(trained, *in_jax.moved(batch))
        found = {name: jax.tree.map(np.asarray, x) for name, x in trained.parameters.items()}
    engine = TorchEngine(
        network,
        rule_of(rule),
        Adam(lr=0.01),
        lanes=3,
        update_every=SEQUENCE,
        noise=stream(0, "noise"),
        backend=BACKENDS["torch"],
    )
    before = network.weights()
    for batch in data:
        engine.run(batch)
    weights_MKJ = network.weights()
    assert not np.allclose(before, weights_MKJ, rtol=1e-3, atol=0)
    slots = {"h": list(of.recurrent), "x": list(of.input), "1": slice(None)}
    sources = {"h": slice(5), "x": slice(5, -1), "1": -1}
    for name in slots:
        expected = weights_MKJ[slots[name]][:, :, sources[name]]
        np.testing.assert_allclose(found[name], expected, rtol=1e-9, atol=1e-12)
    for got, expected in zip(found["readout"], network.readout.parameters, strict=True):
        np.testing.assert_allclose(got, expected.detach(), rtol=1e-9, atol=1e-12)
    assert int(trained.updates) == engine.updates
