"""The batches of a task, checked: a mistake in one ends a run in one line."""

from typing import NoReturn

import torch
from torch import Generator, Tensor

from snaprun.checks import refuse
from snaprun.tasks.base import Batch, Task


def draw(task: Task, lanes: int, generator: Generator, first: bool = True) -> Batch:
    """Return the next training batch of `lanes` lanes; raises UserError if `checked` does.

    After the `first` batch, only batches of numbers are checked: data may hold a NaN anywhere.
    """
    batch = task.batch(lanes, generator)
    of_numbers = not (task.one_hot and task.loss.classes)
    return checked(task, batch, lanes) if first or of_numbers else batch


def checked(task: Task, batch: Batch, lanes: int | None = None) -> Batch:
    """Return `batch` if it fits the task's inputs, outputs and loss.

    Raises UserError if a tensor has another type or shape, an index or a class is out of range, a
    number is not finite, or a target is none that the loss accepts.

    >>> from snaprun.tasks import Copy
    >>> batch = Copy().batch(2, Generator())
    >>> checked(Copy(), batch) is batch
    True
    >>> batch.targets[0, 0] = 7
    >>> checked(Copy(), batch)
    Traceback (most recent call last):
    snaprun.checks.UserError: targets of Copy='0 … 7' is not accepted: expected classes in [0, 4).
    """
    if batch.mask.dim() != 2 or lanes not in (None, batch.mask.shape[1]):
        what = f"a shape (T, {'B' if lanes is None else lanes}), T steps of every lane"
        _refuse(task, "mask", _kind(batch.mask), what)
    shape = tuple(batch.mask.shape)
    for name, flags in (("mask", batch.mask), ("resets", batch.resets)):
        if flags.dtype != torch.bool or tuple(flags.shape) != shape:
            _refuse(task, name, _kind(flags), f"torch.bool {shape}")
    loss, baseline = task.loss, batch.baseline
    if task.one_hot:
        _indices(task, "inputs", batch.inputs, shape, task.inputs)
    else:
        _numbers(task, "inputs", batch.inputs, (*shape, task.inputs))
    if loss.classes:
        _indices(task, "targets", batch.targets, shape, task.outputs)
    else:
        _numbers(task, "targets", batch.targets, (*shape, task.outputs))
        if accepted := loss.accepts(batch.targets[batch.mask]):
            _refuse(task, "targets", _range(batch.targets), accepted)
    if baseline is not None:
        _numbers(task, "baseline", baseline, (*shape, task.outputs))
    return batch


def _indices(task: Task, name: str, tensor: Tensor, shape: tuple[int, ...], below: int) -> None:
    if tensor.dtype != torch.int64 or tuple(tensor.shape) != shape:
        _refuse(task, name, _kind(tensor), f"torch.int64 {shape}, as {_why(task, name)}")
    if tensor.numel() and not 0 <= tensor.min() <= tensor.max() < below:
        kind = "classes" if name == "targets" else "indices"
        _refuse(task, name, _range(tensor), f"{kind} in [0, {below})")


def _numbers(task: Task, name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if not tensor.is_floating_point() or tuple(tensor.shape) != shape:
        _refuse(task, name, _kind(tensor), f"floats {shape}, as {_why(task, name)}")
    if not tensor.isfinite().all():
        bad = (~tensor.isfinite()).nonzero()[0].tolist()
        _refuse(task, name, tensor[tuple(bad)].item(), f"finite numbers (this one is at {bad})")


def _why(task: Task, name: str) -> str:
    """Return in words what wants such a tensor."""
    loss = type(task.loss).__name__
    if name == "inputs":
        return f"one_hot={task.one_hot} and inputs={task.inputs} say"
    return f"{loss} and outputs={task.outputs} want them"


def _kind(tensor: Tensor) -> str:
    return f"{tensor.dtype} {tuple(tensor.shape)}"


def _range(tensor: Tensor) -> str:
    return f"{tensor.min().item():g} … {tensor.max().item():g}"


def _refuse(task: Task, name: str, value: object, accepted: str) -> NoReturn:
    refuse(f"{name} of {type(task).__name__}", value, accepted)
