"""The picture of what SnAp-n keeps."""

import numpy as np
import pandas as pd
import pytest

from snaprun.cli import _main
from snaprun.figures import pattern
from tests.figures.drawn import assert_legible

# Unit 0 feeds unit 1, which feeds unit 2; one parameter for unit 0, two for each other.
UNIT_P = np.array([0, 1, 1, 2, 2])
REACH = {"SnAp-1": 0, "SnAp-2": 1, "SnAp-3": 2, "RTRL": 2}
KEPT = {
    rule: (np.arange(3)[:, None] >= UNIT_P) & (np.arange(3)[:, None] <= UNIT_P + steps)
    for rule, steps in REACH.items()
}


def test_an_entry_has_the_colour_of_a_rule_where_that_one_keeps_it_first(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("snaprun.figures.influence.save", lambda figure, *_: drawn.append(figure))
    pattern("GRU-3", KEPT, UNIT_P, tmp_path)
    (figure,) = drawn
    meshes = [axes.collections[0].get_array() for axes in figure.axes]
    # By hand: 0 for what a rule before keeps, 1 for what this one adds, 2 for what is dropped.
    first = [[1, 2, 2, 2, 2], [2, 1, 1, 2, 2], [2, 2, 2, 1, 1]]
    second = [[0, 2, 2, 2, 2], [1, 0, 0, 2, 2], [2, 1, 1, 0, 0]]
    third = [[0, 2, 2, 2, 2], [0, 0, 0, 2, 2], [1, 0, 0, 0, 0]]
    last = [[0, 2, 2, 2, 2], [0, 0, 0, 2, 2], [0, 0, 0, 0, 0]]
    for mesh, expected in zip(meshes, (first, second, third, last), strict=True):
        assert np.reshape(mesh, (3, 5)).tolist() == expected
    assert [axes.get_title("left") for axes in figure.axes] == [
        f"{rule}: {percent} % of the entries"
        for rule, percent in zip(KEPT, ("33.3", "53.3", "60", "60"), strict=True)
    ]
    figure.draw_without_rendering()
    assert_legible(figure)


@pytest.mark.parametrize("units", [20, 100])
def test_the_numbers_of_many_units_do_not_touch(tmp_path, monkeypatch, units):
    drawn = []
    monkeypatch.setattr("snaprun.figures.influence.save", lambda figure, *_: drawn.append(figure))
    kept = dict.fromkeys(KEPT, np.eye(units, dtype=bool))
    pattern(f"vanilla-{units}", kept, np.arange(units), tmp_path)
    drawn[0].draw_without_rendering()
    assert_legible(drawn[0])


def test_the_command_draws_a_network_whose_densities_are_powers_of_its_graph(tmp_path):
    keys = {"cell": "gru", "units": 7, "inputs": 2, "level": 0.8, "seed": 3}
    words = [f"pattern.{key}={value}" for key, value in keys.items()]
    out = tmp_path / "deep" / "out"
    assert _main(["plot", "kind=pattern", f"out={out}", *words]) == 0
    assert {file.name for file in out.iterdir()} == {f"pattern.{k}" for k in ("png", "pdf", "csv")}

    from snaprun.cells import GRU
    from snaprun.core import RecurrentCore
    from snaprun.seeding import stream
    from snaprun.sparsity import Uniform

    live_MKJ = RecurrentCore.build(GRU(), Uniform(0.8), 7, 2, stream(3, "mask")).layout.live_MKJ
    columns_K = live_MKJ.sum((0, 2)).numpy()  # parameters that feed a unit
    graph_KK = live_MKJ[:, :, :7].any(0).numpy() | np.eye(7, dtype=bool)
    kept = [
        int(((np.linalg.matrix_power(graph_KK.astype(int), steps) > 0) * columns_K).sum())
        for steps in (0, 1, 2, 7)
    ]
    table = pd.read_csv(out / "pattern.csv")
    assert table["kept"].tolist() == kept
    assert table["entries"].tolist() == [7 * columns_K.sum()] * 4


@pytest.mark.parametrize(
    ("word", "named"),
    [("cell=foo", "gru"), ("units=65", "≤ 64"), ("level=1", "pattern.level"), ("inputs=0", "≥ 1")],
)
def test_a_network_that_cannot_be_is_refused(tmp_path, word, named, capfd):
    assert _main(["plot", "kind=pattern", f"out={tmp_path}", f"pattern.{word}"]) == 2
    assert named in capfd.readouterr().err
    assert not list(tmp_path.iterdir())
