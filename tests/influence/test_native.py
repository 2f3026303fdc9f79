"""What the C++ kernel has that no other backend has: threads, a dispatch, and inputs to refuse."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import Generator

from snaprun.cells import GRU, LSTM, Vanilla
from snaprun.core import RecurrentCore
from snaprun.influence import naive
from snaprun.sparsity import Layout, Uniform

native = pytest.importorskip("snaprun.influence.native")
_native = pytest.importorskip("snaprun._native")

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}


def records(core, lanes, dtype, steps=5, seed=1):
    """Steps of a random trajectory, one of them without credit, in lanes that reset on the way."""
    generator = Generator().manual_seed(seed)
    weights = core.layout.scatter(core.initial_parameters(generator, dtype))
    state = core.initial_state(lanes, dtype)
    for t in range(steps):
        begins = torch.rand(lanes, generator=generator) < (1.0 if t == 0 else 0.3)
        state = state.masked_fill(begins[:, None, None], 0)
        x = torch.randn(lanes, core.inputs, generator=generator, dtype=dtype)
        state, linearise = core.step(weights, state, x)
        credit = torch.randn(state.shape, generator=generator, dtype=dtype)
        record = linearise()
        yield begins, record if t == 2 else replace(record, credit_BCK=credit)


def core_of(cell, units, level, inputs=5):
    return RecurrentCore.build(cell, Uniform(level), units, inputs, Generator().manual_seed(3))


def advanced(backend, core, n, lanes, dtype, trajectory=None):
    plan = backend.plan(core, core.pattern(n))
    J = backend.init(plan, lanes, dtype)
    for begins, record in trajectory or records(core, lanes, dtype):
        backend.reset(plan, J, begins)
        J, gradient = backend.step(plan, J, record)
        yield backend.dense(plan, J).clone(), gradient


def assert_same(got, want, tolerance):
    for (J, gradient), (J_want, gradient_want) in zip(got, want, strict=True):
        assert (J - J_want).abs().max() <= tolerance * max(1.0, float(J_want.abs().max()))
        assert (gradient is None) == (gradient_want is None)
        if gradient is not None:
            scale = max(1.0, float(gradient_want.abs().max()))
            assert (gradient - gradient_want).abs().max() <= tolerance * scale


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("lanes", [1, 3, 16, 17])
@pytest.mark.parametrize("n", [1, 2, 3, 50])
@pytest.mark.parametrize("cell", [Vanilla(), Vanilla(alpha=0.4), GRU(), LSTM()], ids=list("vagl"))
def test_equals_naive(cell, n, lanes, dtype):
    core = core_of(cell, 13, 0.8)
    got = advanced(native, core, n, lanes, dtype)
    assert_same(got, advanced(naive, core, n, lanes, dtype), TOLERANCE[dtype])


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_nothing(threads):
    core = core_of(LSTM(), 33, 0.3)
    plan = native.plan(core, core.pattern(None))
    counts = [_native.Influence64(plan.fields, 17, t).threads for t in (1, threads, 10_000)]
    assert counts[:2] == [1, threads]
    assert threads <= counts[2] < 64
    # PyTorch's own products may have other bits with other numbers of threads.
    trajectory = list(records(core, 17, torch.float64))
    one = list(advanced(native, core, 50, 17, torch.float64, trajectory))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        many = list(advanced(native, core, 50, 17, torch.float64, trajectory))
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, flat(many), flat(one)))


def test_threads_change_nothing_in_a_stack():
    core = core_of(GRU(), (20, 13, 18), 0.3)
    plan = native.plan(core, core.pattern(None))
    assert _native.Influence64(plan.fields, 17, 3).threads > 1
    trajectory = list(records(core, 17, torch.float64))
    one = list(advanced(native, core, None, 17, torch.float64, trajectory))
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        many = list(advanced(native, core, None, 17, torch.float64, trajectory))
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, flat(many), flat(one)))


def flat(tree):
    """The tensors of nested tuples and lists."""
    if isinstance(tree, torch.Tensor):
        return [tree]
    return [x for part in tree if part is not None for x in flat(part)]


def test_small_work_takes_one_thread_whatever_is_asked_for():
    core = core_of(GRU(), 13, 0.8)
    assert _native.Influence32(native.plan(core, core.pattern(2)).fields, 16, 64).threads == 1


NO_THREADS = """
import resource, sys
import torch
torch.set_num_threads(1)
from snaprun.influence import native
from tests.influence.test_native import LSTM, core_of
core = core_of(LSTM(), 33, 0.3)
fields = native.plan(core, core.pattern(None)).fields
# A thread's stack has the size of the limit at the start: there is no room for one more.
resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
kernel = native._native.Influence64(fields, 17, 4)
print(kernel.threads)
"""


def test_a_thread_that_cannot_start_means_one_less(tmp_path):
    (tmp_path / "script.py").write_text(NO_THREADS)
    command = f"ulimit -s {16 << 20} && exec '{sys.executable}' '{tmp_path / 'script.py'}'"
    env = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": "."}
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=env)
    if "ulimit" in ended.stderr:
        pytest.skip("the stack cannot be made so large here")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "1\n"


def test_arrays_that_are_written_must_not_overlap_others():
    core, step = kernel()
    given = arguments(core, step)
    with pytest.raises(ValueError, match="gradient and theta share memory"):
        step.step(**{**given, "gradient": given["theta"]})


def test_a_unit_without_a_live_input_keeps_its_bias():
    live = core_of(GRU(), 5, 0.5).layout.live_MKJ.clone()
    live[:, 2, :-1] = False
    core = RecurrentCore(GRU(), Layout.of(live))
    got = advanced(native, core, 2, 3, torch.float64)
    assert_same(got, advanced(naive, core, 2, 3, torch.float64), 1e-12)


def test_wide_blocks_are_cut_into_chunks():
    """More columns than one chunk holds, and rows enough to make the chunks narrow."""
    core = core_of(Vanilla(), 100, 0.3, inputs=40)
    got = advanced(native, core, 2, 9, torch.float32)
    assert_same(got, advanced(naive, core, 2, 9, torch.float32), 2e-4)


def test_storage_is_the_live_entries_and_one_chunk():
    core = core_of(GRU(), 128, 0.75, inputs=32)
    pattern = core.pattern(2)
    J = native.init(native.plan(core, pattern), 16, torch.float32)
    assert 1 <= native.tensors(J)[0].numel() / (16 * pattern.live) < 1.02


def kernel(lanes=3, **changes):
    core = core_of(GRU(), 4, 0.5)
    return core, _native.Influence64(native.plan(core, core.pattern(2)).fields | changes, lanes, 1)


def arguments(core, kernel):
    shapes = {
        "theta": (core.layout.size,),
        "slopes": (1, 4, 4, kernel.stride),
        "blocks": (1, 1, 4, kernel.stride),
        "src": (core.layout.live_MKJ.shape[2], kernel.stride),
        "credit": (1, 4, kernel.stride),
        "gradient": (core.layout.size,),
    }
    return {name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}


@pytest.mark.parametrize("name", ["theta", "slopes", "blocks", "src", "credit", "gradient"])
def test_bad_arrays_raise(name):
    core, step = kernel()
    right = arguments(core, step)
    step.step(**right)
    for wrong in (
        right[name].float(),
        right[name][..., :-1].contiguous(),
        right[name].unsqueeze(0),
        torch.stack((right[name], right[name]), -1)[..., 0],  # strided
        "text",
    ):
        with pytest.raises((TypeError, ValueError)):
            step.step(**{**right, name: wrong})
    for missing in ("credit", "gradient"):
        with pytest.raises((TypeError, ValueError)):
            step.step(**{**right, missing: None})


def test_bad_entries_raise():
    core, step = kernel()
    live = core.pattern(2).live
    right_BL = torch.rand(3, live, dtype=torch.float64)
    step.assign(right_BL)
    read_BL = torch.zeros_like(right_BL)
    step.read(read_BL)
    assert read_BL.equal(right_BL)
    for wrong in (right_BL.float(), right_BL[:, 1:].contiguous(), right_BL[:2], right_BL.T, None):
        for function in (step.read, step.assign):
            with pytest.raises((TypeError, ValueError)):
                function(wrong)


@pytest.mark.parametrize(
    "change",
    [
        {"rows": [10**6]},
        {"columns": [-1]},
        {"entry_row": [0, 1, 99]},
        {"unit": [0]},
        {"source": [10**9]},
        {"row_begin": [0, 5, 2]},
        {"row_begin": [0, 1, 1]},
        {"unit": ["a"]},
        {"units": 0},
        {"units": "many"},
        {"layers": []},
        {"layers": [2, 1]},
        {"layers": [4, 0]},
        {"layers": [5, -1]},
        {"layers": "several"},
        {"link_row": [0], "link_column": [99]},
        {"link_row": [0], "link_column": []},
    ],
    ids=str,
)
def test_bad_patterns_raise(change):
    with pytest.raises((TypeError, ValueError)):
        kernel(**change)


def test_more_threads_than_blocks():
    core, step = kernel()
    many = _native.Influence64(native.plan(core, core.pattern(2)).fields, 3, 100_000)
    many.step(**arguments(core, step))


@pytest.mark.parametrize("lanes", [0, -1, 2**31 - 1])
def test_bad_lanes_raise(lanes):
    with pytest.raises((TypeError, ValueError)):
        kernel(lanes=lanes)
