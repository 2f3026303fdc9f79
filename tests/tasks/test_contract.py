"""What holds for every task of the registry."""

import pickle

import pytest
import torch

from snaprun.tasks import TASKS, Batch, Task

CASES = {
    "copy": {},
    "copy, all": {"bpc_scope": "all"},
    "copy, fixed": {"fixed_length": 7},
    "charlm": {"crop": 13},
    "charlm, stream": {"crop": 13, "mode": "stream"},
}
CASES |= {name: {} for name in TASKS if name not in CASES}
cases = pytest.mark.parametrize("case", CASES)


def build(case: str) -> Task:
    return TASKS[case.split(",")[0]](**CASES[case])


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tensors(batch: Batch) -> list[torch.Tensor]:
    return [batch.inputs, batch.targets, batch.mask, batch.resets]


def equal(a: Batch, b: Batch) -> bool:
    return all(map(torch.equal, tensors(a), tensors(b))) and a.ends == b.ends


def check(batch: Batch, task: Task) -> None:
    shape = batch.mask.shape  # (T, B)
    assert batch.mask.dtype == batch.resets.dtype == torch.bool
    assert batch.resets.shape == shape
    one_hot, classes = task.one_hot, task.loss.classes
    for tensor, indices, width in (
        (batch.inputs, one_hot, task.inputs),
        (batch.targets, classes, task.outputs),
    ):
        assert tensor.shape == (shape if indices else (*shape, width))
        assert tensor.dtype == torch.int64 if indices else tensor.is_floating_point()
        assert not indices or 0 <= int(tensor.min()) <= int(tensor.max()) < width
    assert batch.ends
    assert not batch.targets[~batch.mask].any()
    assert batch.mask.any()


@cases
@pytest.mark.parametrize("lanes", [1, 3, 16])
def test_shapes_types_and_ranges(case, lanes):
    task, generator = build(case), rng()
    for _ in range(5):
        batch = task.batch(lanes, generator)
        check(batch, task)
        assert batch.mask.shape[1] == lanes
        task.observe(0.0)
    for batch in task.validation(300) or ():
        check(batch, task)


@cases
def test_equal_seeds_give_equal_batches(case):
    a, b = build(case), build(case)
    generator_a, generator_b = rng(5), rng(5)
    for _ in range(4):
        assert equal(a.batch(4, generator_a), b.batch(4, generator_b))
        a.observe(0.1)
        b.observe(0.1)


@pytest.mark.parametrize("case", ["copy", "copy, all", "copy, fixed", "charlm"])
def test_another_seed_gives_another_batch(case):
    task = build(case)
    for _ in range(6):
        task.observe(0.0)
    first, second = task.batch(16, rng(1)), task.batch(16, rng(2))
    assert first.inputs.shape != second.inputs.shape or not equal(first, second)


@cases
def test_the_global_generator_is_left_alone(case):
    before = torch.get_rng_state()
    build(case).batch(4, rng())
    assert torch.equal(torch.get_rng_state(), before)


@cases
def test_a_restored_task_goes_on_identically(case):
    task, generator = build(case), rng()
    for _ in range(6):
        task.batch(4, generator)
        task.observe(0.0)
    saved = pickle.loads(pickle.dumps((task.state_dict(), generator.get_state())))
    expected = [task.batch(4, generator) for _ in range(3)]

    restored, generator = build(case), rng(99)
    restored.load_state_dict(saved[0])
    generator.set_state(saved[1])
    assert restored.metrics() == task.metrics()
    assert all(equal(restored.batch(4, generator), batch) for batch in expected)


@cases
def test_a_saved_state_does_not_move_with_the_task(case):
    task, generator = build(case), rng()
    task.batch(4, generator)
    state = task.state_dict()
    frozen = pickle.dumps(state)
    for _ in range(3):
        task.batch(4, generator)
        task.observe(0.0)
    assert pickle.dumps(state) == frozen
    unmoved = state == {} or case == "charlm" or "fixed" in case
    assert unmoved or pickle.dumps(task.state_dict()) != frozen


@cases
def test_validation_is_the_same_at_every_call(case):
    task = build(case)
    first = task.validation(500)
    if first is None:
        assert case.startswith("copy")
        return
    first = list(first)
    task.batch(4, rng())
    again = list(task.validation(500))
    assert len(first) == len(again) > 0
    assert all(equal(a, b) for a, b in zip(first, again, strict=True))


def test_to_moves_every_tensor():
    batch = build("copy").batch(2, rng()).to("meta")
    assert {tensor.device.type for tensor in tensors(batch)} == {"meta"}
