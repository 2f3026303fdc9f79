"""A run that is stopped after any step, saved and continued elsewhere is the run that went on."""

import copy
from itertools import chain, pairwise

import pytest
import torch

from snaprun.influence import BACKENDS
from tests.cases import RULES, close, in_pairs
from tests.engine.engines import CELLS, GRID_NAMES, QUICK, STACK, batches, build, crossed, whole


def through_a_file(state, path):
    torch.save(state, path)
    return torch.load(path, weights_only=True)


def cut(data, stops):
    """The steps of all batches in parts, which end after so many steps; each a list of pieces."""
    parts, done = [[] for _ in range(len(stops) + 1)], 0
    for batch in data:
        ends = [min(max(stop - done, 0), len(batch.mask)) for stop in stops] + [len(batch.mask)]
        for part, (first, last) in zip(parts, pairwise([0, *ends]), strict=True):
            if last > first:
                part.append(batch.piece(first, last - first))
        done += len(batch.mask)
    return parts


def flat(parts):
    return list(chain.from_iterable(parts))


def assert_equal(got, want):
    assert type(got) is type(want)
    if isinstance(want, torch.Tensor):
        assert got.dtype == want.dtype
        assert got.equal(want)
    elif isinstance(want, dict):
        assert got.keys() == want.keys()
        for name in want:
            assert_equal(got[name], want[name])
    elif isinstance(want, list):
        assert len(got) == len(want)
        for one, other in zip(got, want, strict=True):
            assert_equal(one, other)
    else:
        assert got == want


# Of batches of 19 steps: before all, within the first, where a window of 7 ends, between two.
STOPS = (0, 5, 28, 38)


@pytest.mark.parametrize(GRID_NAMES, QUICK)
def test_goes_on_bit_by_bit(engine, rule, every, task, cell, optimiser, lanes, dtype, tmp_path):
    parts = (engine, rule, every, cell, optimiser, lanes, dtype, task)
    pieces = cut(batches(task, lanes, 3, tmp_path), STOPS)
    through = build(*parts)
    states, losses = [], []
    for part in pieces:
        losses.append([through.run(piece) for piece in part])
        states.append(through.state_dict())
    assert states[-1]["updates"] > 0
    kept = copy.deepcopy(states)
    for i in range(len(STOPS)):
        other = build(*parts, fresh=False)
        other.load_state_dict(through_a_file(states[i], tmp_path / "saved.pt"))
        assert_equal(other.state_dict(), states[i])
        for piece, want_TB in zip(flat(pieces[i + 1 :]), flat(losses[i + 1 :]), strict=True):
            assert other.run(piece).equal(want_TB)
        assert_equal(other.state_dict(), states[-1])
    assert_equal(states, kept)


@pytest.mark.parametrize(*crossed(rule=RULES))
def test_saving_changes_nothing(engine, rule, tmp_path):
    parts = (engine, rule, 7, "lstm", "adam", 3, torch.float32, "copy")
    alone, saves = build(*parts), build(*parts)
    for piece in flat(cut(batches("copy", 3, 3, tmp_path), range(1, 57))):
        assert saves.run(piece).equal(alone.run(piece))
        saves.state_dict()
    assert_equal(saves.state_dict(), alone.state_dict())


def assert_close(got, want, where="state"):
    """Equal but for rounding; what the rule keeps takes other room in another engine."""
    if isinstance(want, dict):
        assert got.keys() == want.keys()
        for name in want.keys() - {"rule_bytes"}:
            assert_close(got[name], want[name], f"{where}.{name}")
    elif isinstance(want, list):
        for one, other in zip(got, want, strict=True):
            assert_close(one, other, where)
    elif isinstance(want, torch.Tensor) and want.is_floating_point():
        assert got.dtype == want.dtype
        scale = max(float(want.abs().max()) if want.numel() else 0.0, 1e-3)
        torch.testing.assert_close(got, want, rtol=0, atol=1e-9 * scale, msg=where)
    else:
        assert_equal(got, want)


@pytest.mark.parametrize(
    ("engine", "rule", "cell"), in_pairs(crossed(rule=RULES, cell=CELLS)[1], 2)
)
def test_a_stack_goes_on_bit_by_bit(engine, rule, cell, tmp_path):
    parts = (engine, rule, 7, cell, "adam", 3, torch.float32, "copy")
    before, after = cut(batches("copy", 3, 2, tmp_path), [26])
    through, other = build(*parts, units=STACK), build(*parts, units=STACK, fresh=False)
    for piece in before:
        through.run(piece)
    other.load_state_dict(through_a_file(through.state_dict(), tmp_path / "saved.pt"))
    for piece in after:
        assert other.run(piece).equal(through.run(piece))
    assert_equal(other.state_dict(), through.state_dict())
    assert through.updates > 0


@pytest.mark.parametrize(
    ("engine", "rule", "every", "units", "cell"),
    in_pairs(
        (
            (engine, rule, *window, cell)
            for engine, rule, cell in crossed(["native"], rule=RULES, cell=CELLS)[1]
            for window in ((1, 7), (7, 7), ("sequence", 7), (7, STACK))
        ),
        of=4,
    ),
)
def test_one_engine_goes_on_where_another_stopped(engine, rule, every, units, cell, tmp_path):
    before, after = cut(batches("copy", 3, 3, tmp_path), [19 if whole(rule, every) else 26])

    def built(kind, fresh):
        case = (kind, rule, every, cell, "adam", 3, torch.float64, "copy")
        return build(*case, fresh=fresh, units=units)

    for kind, other in ((engine, "torch"), ("torch", engine)):
        through, goes_on = built(kind, True), built(other, False)
        for piece in before:
            through.run(piece)
        state = through.state_dict()
        goes_on.load_state_dict(through_a_file(state, tmp_path / "saved.pt"))
        assert_equal(goes_on.state_dict(), state)
        for piece in after:
            close(goes_on.run(piece), through.run(piece), 1e-9)
        assert_close(goes_on.state_dict(), through.state_dict())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rule", ["snap 1", "snap 2", "rtrl"])
@pytest.mark.parametrize("cell", CELLS)
def test_goes_on_bit_by_bit_with_every_backend(backend, rule, cell, tmp_path):
    parts = ("torch", rule, 7, cell, "rmsprop", 3, torch.float32, "copy")
    through, other = (build(*parts, fresh=new, backend=backend) for new in (True, False))
    before, after = cut(batches("copy", 3, 2, tmp_path), [24])
    for piece in before:
        through.run(piece)
    other.load_state_dict(through.state_dict())
    for piece in after:
        assert other.run(piece).equal(through.run(piece))
    assert_equal(other.state_dict(), through.state_dict())


def paths(tree, path=()):
    """The way to every tensor and number."""
    if not isinstance(tree, dict | list):
        yield path
        return
    for key in tree if isinstance(tree, dict) else range(len(tree)):
        yield from paths(tree[key], (*path, key))


def damaged(value):
    """A value of another kind, each in its own way."""
    if isinstance(value, int):
        return [-1, 1.5, None, True, torch.zeros(()), "1", 10**400]
    wrong = [None, value.tolist(), value.unsqueeze(0), value.flatten()[:-1], value.short()]
    return [*wrong, value[:1]] if value.dim() and len(value) > 1 else wrong


@pytest.mark.parametrize(*crossed(rule=RULES))
def test_damage_is_refused_in_one_line(engine, rule, tmp_path):
    parts = (engine, rule, 7, "lstm", "adam", 3, torch.float32, "copy")
    stopped, goes_on = build(*parts), build(*parts)
    stopped.run(batches("copy", 3, 1, tmp_path)[0].piece(0, 12))  # within a window
    state = stopped.state_dict()

    def refused(broken):
        with pytest.raises(ValueError, match=r"mismatch|generator") as caught:
            goes_on.load_state_dict(broken)
        assert "\n" not in str(caught.value)

    ways = list(paths(state))
    assert len(ways) > 15
    for way in ways:
        for value in damaged(at(state, way)):
            refused(changed(state, way, value))
        refused(without(state, way))
    refused(state | {"more": 1})
    refused(None)
    refused(changed(state, ("noise",), torch.zeros_like(state["noise"])))
    refused(changed(state, ("steps",), 7))
    live = state["network"]["live"]
    with pytest.raises(ValueError, match="mask"):
        goes_on.load_state_dict(changed(state, ("network", "live"), ~live))
    goes_on.load_state_dict(state)
    assert_equal(goes_on.state_dict(), state)


def at(tree, way):
    for key in way:
        tree = tree[key]
    return tree


def changed(tree, way, value):
    """The tree with another value there; all else is shared with the tree."""
    if not way:
        return value
    other = tree.copy()
    other[way[0]] = changed(tree[way[0]], way[1:], value)
    return other


def without(tree, way):
    branch = at(tree, way[:-1]).copy()
    del branch[way[-1]]
    return changed(tree, way[:-1], branch)
