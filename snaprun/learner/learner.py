"""The Python door: a network learns a stream that comes one time step at a time."""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from snaprun import checks, files
from snaprun.cells import Cell
from snaprun.engine.base import SEQUENCE
from snaprun.engine.optim import Optimiser
from snaprun.engine.prune import Masks
from snaprun.learner.arrays import Arrays, array, as_given, chosen_lanes
from snaprun.learner.parts import merged, naming_arguments, read, words
from snaprun.losses import Loss
from snaprun.model.network import Network
from snaprun.require import (
    mismatch,
    require_count,
    require_entries,
    require_equal,
    require_tensor,
)
from snaprun.rules import LearningRule
from snaprun.run import checkpoint, memory
from snaprun.run.build import built
from snaprun.run.machine import as_in_a_run
from snaprun.sparsity import Sparsity


class Learner:
    """Trains a recurrent network online on a stream that comes one time step at a time.

    It does what `snaprun train` does, bit by bit, and its arguments are the keys of that command:
    `inputs` and `outputs` are numbers of features, `lanes` the streams side by side, `units` a
    number, or a list with the number of each layer of a stack. A part is named as in YAML with its
    further keys in `…_args`, or is an object such as `snaprun.cells.GRU()`; `rule="snap2"` is
    `rule="snap", rule_args={"n": 2}`, `rule="tbptt8"` is BPTT with `update_every=8`, and a
    `sparsity` that is a number is the share of dead weights. `loss` says what outputs and targets
    are: numbers ("mse"), bits ("sigmoid") or a class ("softmax"). The optimiser steps after
    `update_every` time steps (None: as the rule's word says, else after each), or with "sequence"
    where `reset` is called. `average` is the decay of an average of the parameters (`averaged`).

    The time step x is an array of numpy or torch, numbers of the shape (lanes, inputs), or integers
    (lanes,) that stand for one-hot inputs; the target y is (lanes, outputs), or classes (lanes,).
    With one lane the first axis may be left out, and results then lack it, too. Results are of
    numpy or torch, as what was given. Raises ValueError, in one line, for every mistake; the
    learner is then unchanged.

    >>> import numpy as np
    >>> import snaprun
    >>> learner = snaprun.Learner(inputs=1, outputs=1, units=16, sparsity=0, lr=0.003)
    >>> wave = np.sin(np.arange(1000) / 5)
    >>> losses = []
    >>> for now, following in zip(wave, wave[1:]):
    ...     guess, loss = learner.step(now, following)
    ...     losses.append(loss)
    >>> bool(np.mean(losses[-100:]) < 0.2 * np.mean(losses[:100]))
    True
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        cell: str | Cell = "gru",
        cell_args: Mapping[str, Any] | None = None,
        units: int | Sequence[int] = 128,
        layers: int = 1,
        rule: str | LearningRule[Any] = "snap1",
        rule_args: Mapping[str, Any] | None = None,
        sparsity: float | str | Sparsity = 0.75,
        sparsity_args: Mapping[str, Any] | None = None,
        readout: str = "mlp",
        hidden: int | None = None,
        loss: str | Loss = "mse",
        optim: str | Optimiser = "adam",
        lr: float | None = None,
        optim_args: Mapping[str, Any] | None = None,
        lanes: int = 1,
        update_every: int | str | None = None,
        average: float | None = None,
        seed: int = 0,
        dtype: str = "float32",
        device: str = "cpu",
        engine: str = "auto",
        threads: int = 1,
    ):
        given = {key: x.item() if isinstance(x, np.generic) else x for key, x in locals().items()}
        del given["self"]
        self._given, self._parts = given, read(given)
        parts, machine = self._parts, self._parts.machine
        self.lanes, self._dtype = parts.options.lanes, np.dtype(dtype)
        self._arrays = Arrays(self.lanes, self._dtype)
        self._inputs, self._outputs = parts.task.inputs, parts.task.outputs
        self._sparsity, self._loss = parts.architecture.sparsity, parts.task.loss
        # Whether the loss takes some numbers only; a tensor is made of y for such a loss alone.
        self._picks = type(self._loss).accepts is not Loss.accepts
        with naming_arguments(), checks.telling_exhaustion(lambda: memory.exhausted(parts)):
            self._engine = built(parts)
        self._masks = Masks(self._engine, self._sparsity, machine.seed)
        self._computing = nullcontext if self._engine.in_core else as_in_a_run(machine.threads)
        self._advance, self._finish = self._engine.predict, self._engine.learn
        if not self._engine.in_core:
            self._advance = _inside(self._computing, self._advance)
            self._finish = _inside(self._computing, self._finish)
        self._begins: ndarray | None = None  # the lanes in which the next step begins a sequence
        # The predicted step that waits for its target: its inputs, and where sequences began.
        self._waiting: tuple[ndarray, ndarray | None] | None = None
        self._steps = 0

    def __repr__(self) -> str:
        keys = ("inputs", "outputs", "cell", "units", "rule", "loss", "lanes")
        own = {key: self._given[key] for key in keys}
        shown = str | int | list | tuple
        plain = {k: x if isinstance(x, shown) else type(x).__name__ for k, x in own.items()}
        said = ", ".join(f"{key}={value!r}" for key, value in plain.items())
        return f"Learner({said}): {self.steps} steps, {self.updates} updates"

    def __reduce__(self) -> Any:
        raise checks.UserError("A Learner is neither copied nor pickled: use save and load.")

    @property
    def steps(self) -> int:
        """The time steps that were predicted."""
        return self._steps

    @property
    def updates(self) -> int:
        """The steps that the optimiser has made."""
        return self._engine.updates

    @property
    def network(self) -> Network:
        """The network; its `parameters` are the live ones, θ (P,) and those of the readout."""
        return self._engine.network

    @property
    def averaged(self) -> Network | None:
        """The network with averaged parameters, a copy; None if none are kept or none exist yet."""
        average = self._engine.average()
        return None if average is None else self.network.at(average)

    @property
    def finite(self) -> bool:
        """Whether all parameters are finite now.

        A learning rate that is too large makes them infinite or NaN. `snaprun train` then ends the
        run. A learner does not stop: it predicts NaN, and the caller has to ask here.
        """
        return self.network.finite

    def predict(self, x: Any) -> Any:
        """Advance the state by one time step and return the outputs ŷ, shape (lanes, outputs).

        A step that still waits for its target then has none. For "softmax" and "sigmoid" the
        outputs are logits.
        """
        inputs, flat = self._inputs_of(x)
        return as_given(x, flat, self._predict(inputs))

    def learn(self, y: Any = None, mask: Any = None) -> Any:
        """Take the target of the step just predicted; return its loss, shape (lanes,), or None.

        Without `y` the step has no target, and the result is None. A boolean `mask` (lanes,) says
        which lanes have one: what `y` holds in the others is not read, and their loss is 0.
        """
        if self._waiting is None:
            raise checks.UserError("No step waits for a target: call predict first.")
        if y is None:
            if mask is not None:
                checks.refuse("mask", mask, "a target y beside it")
            self._learn(None, None)
            return None
        targets, mask_B, flat = self._targets_of(y, mask)
        return as_given(y, flat, self._learn(targets, mask_B))

    def step(self, x: Any, y: Any, mask: Any = None) -> tuple[Any, Any]:
        """Return `predict(x)` and `learn(y, mask)`; a mistake in either leaves all unchanged."""
        inputs, flat = self._inputs_of(x)
        targets, mask_B, flat_y = self._targets_of(y, mask)
        guess = as_given(x, flat, self._predict(inputs))
        return guess, as_given(y, flat_y, self._learn(targets, mask_B))

    def reset(self, lanes: Any = None) -> None:
        """Begin a new sequence in some lanes with the next step.

        `lanes` are their numbers, or booleans (lanes,); None stands for all lanes. State and
        influence of the past are zeroed there; the parameters stay. A step that still waits for its
        target has none. With `update_every="sequence"` the optimiser steps. Without any lane
        nothing happens.
        """
        chosen_B = chosen_lanes(lanes, self.lanes)
        if not chosen_B.any():
            return
        if self._waiting is not None:
            self._learn(None, None)
        if self._engine.update_every == SEQUENCE:
            with self._computing():
                self._engine.update()
                self._masks.follow(self._steps * self.lanes, self._steps * self.lanes)
        self._begins = chosen_B if self._begins is None else self._begins | chosen_B

    def save(self, path: str | Path) -> None:
        """Write everything to the file `path`; a learner loaded from it computes the same bits."""
        said, waiting = json.dumps(words(self._given, self._parts)), self._waiting
        self._engine.undo()
        contents = {
            "learner": said,
            "steps": self._steps,
            "begins": _tensors(self._begins),
            "waiting": [] if waiting is None else [_tensors(x) for x in waiting],
            "engine": self._engine.state_dict(),
        }
        self._again(waiting)
        with files.atomic(Path(path)) as file:
            checkpoint.write(file, contents)

    @classmethod
    def load(cls, path: str | Path, **others: Any) -> "Learner":
        """Return the learner that was saved to the file `path`; nothing in the file is run.

        `others` are arguments that replace saved ones: device, engine, threads, and a part that was
        given as an object of one's own, which has to be given again. Raises ValueError, in one
        line, if the file is missing, damaged or no learner's.
        """
        names = ("version", "learner", "steps", "begins", "waiting", "engine")
        try:
            with files.Folder.open(Path(path).parent, follow=True) as folder:
                saved = checkpoint.tree(folder, Path(path).name)
            if saved is None:
                raise ValueError("no such file")
            require_entries("file", saved, names)
            require_equal("version", saved["version"], checkpoint.VERSION)
            said = json.loads(saved["learner"])
            # One that is absent came with a later version, and its default is what was then done.
            if unknown := said.keys() - inspect.signature(cls).parameters:
                mismatch("learner", "arguments of Learner", ", ".join(sorted(unknown)))
            learner = cls(**merged(said, others))
            learner._resume(saved)
        except checks.UserError:
            raise
        except (ValueError, TypeError, AttributeError, OSError, RuntimeError, MemoryError) as error:
            accepted = f"a file that Learner.save wrote (found: {checkpoint.one_line(error)})"
            checks.refuse("path", str(path), accepted)
        return learner

    def _predict(self, inputs: ndarray) -> ndarray:
        if self._waiting is not None:
            self._learn(None, None)
        begins = self._begins
        try:
            outputs_BO = self._advance(inputs, begins)
        except BaseException:  # no memory, or an interrupt: the step has not been
            self._engine.undo()
            raise
        self._waiting, self._begins = (inputs, begins), None
        self._steps += 1
        return outputs_BO

    def _learn(self, targets: ndarray | None, mask_B: ndarray | None) -> ndarray:
        self._waiting = None
        loss_B = self._finish(targets, mask_B)
        if self._sparsity.prunes:
            tokens = self._steps * self.lanes
            with self._computing():
                self._masks.follow(tokens - self.lanes, tokens)
        return loss_B

    def _again(self, waiting: tuple[ndarray, ndarray | None] | None) -> None:
        """Predict a step again that was undone."""
        if waiting is not None:
            self._advance(*waiting)
        self._waiting = waiting

    def _inputs_of(self, x: Any) -> tuple[ndarray, bool]:
        """Return a copy of x as numbers (B, a) or indices (B,), and whether x lacks the lanes."""
        taken, width = array("x", x), self._inputs
        if width > 1 and self._arrays.one_a_lane(taken, "iu"):
            return self._arrays.classes("x", taken, width)
        return self._arrays.numbers("x", taken, width)

    def _targets_of(self, y: Any, mask: Any) -> tuple[ndarray, ndarray | None, bool]:
        """Return a copy of y as the loss wants it, its mask (B,), and whether y lacks the lanes."""
        taken = array("y", y)
        mask_B = None if mask is None else self._arrays.mask(mask)
        if mask_B is not None and not mask_B.all():
            one = self.lanes == 1  # y may lack the lanes
            if one or taken.shape[:1] == mask_B.shape:
                taken = taken.copy()
                taken[... if one else ~mask_B] = 0
        if self._loss.classes:
            targets, flat = self._arrays.classes("y", taken, self._outputs)
        else:
            targets, flat = self._arrays.numbers("y", taken, self._outputs)
            if self._picks and (accepted := self._loss.accepts(torch.from_numpy(targets))):
                checks.refuse("y", y, accepted)
        return targets, mask_B, flat

    def _resume(self, saved: Mapping[str, Any]) -> None:
        require_count("steps", saved["steps"])
        self._masks.resume(saved["engine"])
        self._steps = saved["steps"]
        self._begins = self._lanes_in("begins", saved["begins"])
        if waiting := saved["waiting"]:
            (x,), begins = waiting
            if x.dtype == torch.int64:
                require_tensor("waiting.x", x, torch.int64, (self.lanes,), below=self._inputs)
            else:
                require_tensor("waiting.x", x, self.network.dtype, (self.lanes, self._inputs))
            self._again((x.numpy(), self._lanes_in("waiting.begins", begins)))

    def _lanes_in(self, where: str, saved: Any) -> ndarray | None:
        if not saved:
            return None
        (begins_B,) = saved
        require_tensor(where, begins_B, torch.bool, (self.lanes,))
        return begins_B.numpy()


def _inside(
    context: Callable[[], AbstractContextManager[None]], work: Callable[..., ndarray]
) -> Callable[..., ndarray]:
    def worked(*given: ndarray | None) -> ndarray:
        with context():
            return work(*given)

    return worked


def _tensors(array: ndarray | None) -> list[Tensor]:
    """Return a list of one tensor, or of none."""
    return [] if array is None else [torch.from_numpy(array)]
