"""The packed order of live weights, there and back."""

import pytest
import torch

from snaprun.cells import GRU
from snaprun.sparsity import Layout, Uniform
from tests.cases import STACKS, core, rng


def test_order_is_unit_slot_source():
    layout = core(GRU(), units=5).layout
    found = torch.stack((layout.unit_P, layout.slot_P, layout.source_P), 1).tolist()
    assert found == [
        [u, m, j]
        for u in range(5)
        for m in range(4)
        for j in range(5 + 3 + 1)
        if layout.live_MKJ[m, u, j]
    ]
    assert (layout.size, layout.units, layout.inputs) == (len(found), 5, 3)


def test_scatter_places_theta_and_gather_takes_it_back():
    layout = core(GRU()).layout
    theta_P = torch.randn(layout.size, generator=rng(), dtype=torch.float64)
    dense_MKJ = layout.scatter(theta_P)
    assert dense_MKJ.shape == layout.live_MKJ.shape
    assert not dense_MKJ[~layout.live_MKJ].any()
    assert layout.gather(dense_MKJ).equal(theta_P)
    for p in (0, 17, layout.size - 1):
        assert dense_MKJ[layout.slot_P[p], layout.unit_P[p], layout.source_P[p]] == theta_P[p]


def parts(units, inputs=3):
    """The mask of each layer alone, no two entries alike in another order."""
    widths = (inputs, *units)
    return [
        Uniform(0.5).mask([True] * 4, [True] * 4, k, a, rng(k))
        for a, k in zip(widths, units, strict=False)
    ]


@pytest.mark.parametrize("stack", STACKS)
def test_a_stack_is_its_layers_and_nothing_in_between(stack):
    units = STACKS[stack]
    live = parts(units)
    layout = Layout.join(live)
    below = sum(units[:-1])
    assert (layout.units, layout.inputs, layout.layers) == (sum(units), 3 + below, units)
    assert layout.size == sum(int(part.sum()) for part in live)
    for got, want in zip(layout.split(layout.live_MKJ), live, strict=True):
        assert got.equal(want)
    # Weight by weight: [h(t-1) of all layers; x; h(t) of all layers but the last; 1].
    begins = [sum(units[:i]) for i in range(len(units))]
    want_MKJ = torch.zeros_like(layout.live_MKJ)
    for i, (part, begin) in enumerate(zip(live, begins, strict=True)):
        k, first = part.shape[1], sum(units) + (3 + begins[i - 1] if i else 0)
        for m, u, j in part.nonzero().tolist():
            at = begin + j if j < k else first + j - k if j < part.shape[2] - 1 else -1
            want_MKJ[m, begin + u, at] = True
    assert layout.live_MKJ.equal(want_MKJ)
    dense_MKJ = layout.scatter(torch.randn(layout.size, generator=rng(), dtype=torch.float64))
    assert layout.each(lambda part, mask: 2 * part * mask, dense_MKJ, layout.live_MKJ).equal(
        2 * dense_MKJ
    )


def test_a_layer_alone_is_a_stack():
    (live,) = parts((5,))
    layout = Layout.join([live])
    assert layout.live_MKJ.equal(live)
    assert layout.split(live)[0].equal(live)
