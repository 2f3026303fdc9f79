"""The packed order of live weights, there and back."""

import torch

from snaprun.cells import GRU
from tests.cases import core, rng


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
