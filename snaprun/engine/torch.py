"""The online step in PyTorch: forward, loss, credit, rule, update."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from snaprun.core import Bank, Record
from snaprun.engine.base import SEQUENCE, Begun, Engine, require_new
from snaprun.engine.optim import newest
from snaprun.engine.rates import RateCost
from snaprun.engine.saved import copied
from snaprun.engine.window import Window
from snaprun.influence import native
from snaprun.rules import Setup
from snaprun.tasks import Batch

# The state and the bank before a predicted step, what gives the record of the step, and its inputs.
Predicted: TypeAlias = tuple[Tensor, Bank | None, Callable[[], Record], Tensor]
COUNTERS = ("updates", "longest_window", "rule_bytes", "steps", "targets")


class TorchEngine(Engine):
    """Trains in PyTorch, step by step as Engine says.

    >>> from snaprun.cells import GRU
    >>> from snaprun.engine.optim import Adam
    >>> from snaprun.influence import choose
    >>> from snaprun.model.network import Architecture
    >>> from snaprun.rules import SnAp
    >>> from snaprun.seeding import stream
    >>> from snaprun.sparsity import Dense
    >>> from snaprun.tasks import Copy
    >>> network = Architecture(GRU(), 8, Dense(), hidden=0).build(Copy.inputs, Copy.outputs, seed=0)
    >>> engine = TorchEngine(network, SnAp(1), Adam(), lanes=2, update_every=1,
    ...                      noise=stream(0, "noise"), backend=choose("auto"))
    >>> loss_TB = engine.run(Copy(fixed_length=3).batch(2, stream(0, "data")))
    >>> tuple(loss_TB.shape), engine.updates  # 3 bits, the delimiter, 3 recalled bits
    ((7, 2), 3)
    """

    in_core = False

    def reset(self) -> None:
        """Return to the state before the first step, with the network as it is now."""
        network, core = self.network, self.network.core
        self.isa = torch.backends.cpu.get_cpu_capability()
        if self.backend is native:  # the C++ core stores the influence matrix
            self.isa += f", {native.isa()}"
        self.stepper = self.optimiser.build(network.parameters)
        outputs = network.readout.parameters[-1].numel()
        setup = Setup(core, self.lanes, network.dtype, outputs, self.noise, self.backend)
        self.state_BCK = core.initial_state(self.lanes, network.dtype)
        self.bank = network.bank(self.lanes)
        self.weights_MKJ = network.weights()
        self._window: Window | None = None
        self.rule_state: Any = None
        if self.replaying:
            self._window = Window(self.replaying, setup, network, self.weights_MKJ)
        else:
            self.rule_state = self.rule.init(setup)
        self._cost = RateCost.of(core.cell, core.units, self.state_BCK)
        self._average = [torch.zeros_like(p) for p in network.parameters if self.decay]
        self._predicted: Predicted | None = None
        vars(self).update(dict.fromkeys(COUNTERS, 0))

    @property
    def owes(self) -> bool:
        """Whether a window has had its last step, and its reverse pass is yet to be finished."""
        return self._window is not None and self._window.replay.reverses

    @property
    def state_bytes(self) -> tuple[int, int]:
        """The bytes of a hidden and of an internal state on the stack of a rule that replays."""
        window = self._window
        return (0, 0) if window is None else (window.replay.hidden, window.replay.internal)

    @property
    def forwards(self) -> int | None:
        """The time steps that were made so far, replayed ones included; None: none is replayed."""
        return None if self._window is None else self._window.replay.forwards

    def advance(self, begun: Begun, steps: int) -> int:
        """Train on a batch in progress, as the base says."""
        self.require_settled()
        if (window := self._window) is None:
            return self._pass(begun, steps)
        done = 0
        while done < steps and not self.done(begun):
            left = len(begun.batch.mask) - begun.steps
            if not self.owes:
                self._open(window, left if begun.batch.ends else None)
            window.last = begun if window.left <= left else None
            done += self._pass(begun, min(steps - done, window.left))
            if self.owes:
                done += window.reverse(steps - done) if self.targets else 0
                if window.replay.over or not self.targets:
                    self.update()
        return done

    def _pass(self, begun: Begun, steps: int) -> int:
        """Make up to `steps` time steps of a batch, and return how many were made."""
        batch, first = begun.batch, begun.steps
        last = min(first + steps, len(batch.mask))
        begins = batch.resets[first:last].any(1).tolist()
        targets = batch.mask[first:last].sum(1).tolist()
        if self._window is not None and last > first:
            self._window.require_kind(batch.inputs.dim() == 2)
            self._window.add(batch, first, begins, targets)
        for t in range(first, last):
            if begins[t - first]:
                self._begin(batch.resets[t])
            if not self.steps and self.bank is not None:
                require_new(self.bank.holds)
            linearise = self._advance(batch.inputs[t])
            y, mask_B = batch.targets[t], batch.mask[t]
            if learned := self._finish(linearise, y, mask_B, targets[t - first]):
                begun.take(t, *learned)
        begun.steps = last
        ended = self._window is None and batch.ends and last == len(batch.mask)
        if ended and self.update_every == SEQUENCE:
            self.update()
        return last - first

    def _open(self, window: Window, length: int | None) -> None:
        """Open a window if none is; `length` is what is left of the sequence, None: unknown."""
        if not window.replay.open:
            window.open(self.window_steps(length), self.state_BCK, self.weights_MKJ)
            window.replay.cost_K = self._cost and self._cost.credit_K

    def predict(self, inputs: ndarray, resets_B: ndarray | None = None) -> ndarray:
        """Advance the state by one step and return the outputs, as the base says."""
        self.require_settled()
        if self.owes:
            raise ValueError("the reverse pass of a window is not finished")
        device, window = self.state_BCK.device, self._window
        if window is not None:
            window.require_kind(inputs.ndim == 1)
            self._open(window, None)
        if resets_B is not None:
            begins_B = torch.tensor(resets_B, device=device)
            self._begin(begins_B)
            if window is not None:
                window.begin(begins_B)
        before, x = (self.state_BCK, self.bank), torch.tensor(inputs, device=device)
        self._predicted = *before, self._advance(x), x
        return self.network.readout.outputs(self._output()).cpu().numpy()

    def learn(self, targets: ndarray | None = None, mask_B: ndarray | None = None) -> ndarray:
        """Take the targets of the predicted step and return its loss, as the base says."""
        if self._predicted is None:
            raise ValueError("learn follows predict")
        (_, _, linearise, x), self._predicted = self._predicted, None
        none_B = self.state_BCK.new_zeros(self.lanes)
        if targets is None:
            y, mask = self.network.readout.no_targets(self.lanes), np.zeros(self.lanes, bool)
        else:
            y = torch.tensor(targets, device=none_B.device)
            mask = np.ones(self.lanes, bool) if mask_B is None else mask_B
        has_B = torch.tensor(mask, device=y.device)
        if self._window is not None:
            self._window.last = None
            self._window.add_step(
                Batch(x[None], y[None], has_B[None], torch.zeros_like(has_B[None])), int(mask.sum())
            )
        learned = self._finish(linearise, y, has_B, int(mask.sum()))
        if self.owes:
            self.update()
        return (learned[0] if learned else none_B).cpu().numpy()

    @property
    def predicted(self) -> bool:
        """Whether a predicted step waits for its targets."""
        return self._predicted is not None

    def undo(self) -> None:
        """Forget the predicted step that waits for its targets; the reset lanes stay reset."""
        if self._predicted is not None:
            (self.state_BCK, self.bank, *_), self._predicted = self._predicted, None

    def _begin(self, resets_B: Tensor) -> None:
        self.state_BCK = self.state_BCK.masked_fill(resets_B[:, None, None], 0)
        if self._window is None:
            self.rule_state = self.rule.reset(self.rule_state, resets_B)
        if self.bank is not None:
            self.bank = self.bank.reset(resets_B)

    def _output(self) -> Tensor:
        return self.network.core.seen(self.state_BCK, self.bank)

    def _advance(self, inputs: Tensor) -> Callable[[], Record]:
        before = self.weights_MKJ, self.state_BCK, self.bank
        self.state_BCK, self.bank, linearise = self.network.core.advance(*before, inputs)
        return linearise

    def _finish(
        self, linearise: Callable[[], Record], y: Tensor, mask_B: Tensor, targets: int
    ) -> tuple[Tensor, Tensor] | None:
        """Finish a step: loss, credit, rule, update.

        Return the loss and the outputs if there are targets and the reverse pass does not find it.
        """
        readout, window, told = self.network.readout, self._window, None
        if window is not None:
            window.replay.follow(self.state_BCK, linearise)
            if targets and window.last is None:
                told = readout.judge(self._output(), y, mask_B)
        else:
            record = linearise()
            if targets:
                learned = readout.learn(self._output(), y, mask_B)
                record = record.with_credit(learned.credit_BK, learned.error_BO)
                told = learned.loss_B, learned.outputs_BO
            if self._cost is not None:
                record = record.with_cost(self._cost.credit_K)
            self.rule_state = self.rule.step(self.rule_state, record)
        if self._cost is not None:
            self._cost.count(self.state_BCK[:, 0])
        self.steps += 1
        self.targets += targets
        if self.steps == self.update_every and window is None:
            self.update()
        return told

    def update(self) -> None:
        """End the window here: the optimiser steps if the window had a target."""
        self.require_settled()
        if self._window is None:
            self.measure()
            gradient_P, self.rule_state = self.rule.gradient(self.rule_state)
        else:
            if self.targets:
                self._window.replay.close()
                self._window.reverse()
            self.measure()
            gradient_P = self._window.finish()
        if self.targets:
            parameters = self.network.parameters
            self.network.theta.grad = gradient_P if self.rule.moves else None
            of_attention = self.rule.attention(self.rule_state)
            for parameter, gradient in zip(self.network.attention, of_attention, strict=True):
                parameter.grad = gradient
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad /= self.targets
            if self.optimiser.clip is not None:
                torch.nn.utils.clip_grad_norm_(parameters, self.optimiser.clip)
            for group in self.stepper.param_groups:
                group["lr"] = self.optimiser.rate(self.updates)
            read = self.network.readout.parameters[0]
            before = read.clone() if self.rule.adapts else read
            self.stepper.step()
            self.stepper.zero_grad()
            if self.rule.adapts:
                self.rule_state = self.rule.follow(self.rule_state, read.data, before)
            self.weights_MKJ = self.network.weights()
            self.updates += 1
            if self.decay:
                weight = newest(self.decay, self.updates)
                for mean, parameter in zip(self._average, parameters, strict=True):
                    mean.lerp_(parameter, weight)
        if self._cost is not None:
            self._cost.follow(self.steps * self.lanes)
        self.steps = self.targets = 0
        if self.bank is not None:
            self.bank = self.bank.opened()

    def average(self) -> list[Tensor] | None:
        """Return a copy of the averaged parameters; None if none is kept or before an update."""
        return copied(self._average) if self._average and self.updates else None

    def measure(self) -> None:
        """Record the length of the open window and the bytes that the rule keeps."""
        self.longest_window = max(self.longest_window, self.steps)
        self._measure_bytes()

    def _measure_bytes(self) -> None:
        if self._window is not None:
            kept = self._window.replay.peak
        else:
            kept = sum(x.numel() * x.element_size() for x in self.rule.kept(self.rule_state))
        self.rule_bytes = max(self.rule_bytes, kept)

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of everything needed to continue, in the form of snaprun.engine.saved."""
        self.require_settled()
        of, parameters = self.stepper.state, self.network.parameters
        if (window := self._window) is not None:
            self._measure_bytes()  # the most may be kept before the window's end
        rule = self.rule.state_dict(self.rule_state) if window is None else window.state_dict()
        return {
            "network": copied(self.network.state_dict()),
            "optimiser": {
                name: [of[p][name].clone() if p in of else torch.zeros_like(p) for p in parameters]
                for name in self.optimiser.moments
            },
            **({"average": copied(self._average)} if self.decay else {}),
            "gradient": [
                torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters[1:]
            ],
            "state": self.state_BCK.clone(),
            **({} if self.bank is None else {"bank": self.bank.state_dict()}),
            **({} if self._cost is None else {"rates": self._cost.state_dict()}),
            "rule": rule,
            "noise": self.noise.get_state(),
            **{name: getattr(self, name) for name in COUNTERS},
        }

    def _load(self, saved: dict[str, Any]) -> None:
        self.weights_MKJ = self.network.weights()
        self.state_BCK = saved["state"].to(self.state_BCK, copy=True)
        if self.bank is not None:
            self.bank = self.bank.restored(saved["bank"], saved["steps"])
            self.rule_state = self.rule.with_bank(self.rule_state, self.bank)
        if self._cost is not None:
            self._cost.load_state_dict(saved["rates"])
        if self._window is not None:
            self._window.load_state_dict(saved["rule"], self.weights_MKJ)
            self._window.replay.cost_K = self._cost and self._cost.credit_K
        else:
            self.rule_state = self.rule.load_state_dict(
                self.rule_state, saved["rule"], self.weights_MKJ
            )
        for own, taken in zip(self._average, saved.get("average", []), strict=True):
            own.copy_(taken)
        vars(self).update({name: saved[name] for name in COUNTERS})
        kept = {
            i: {"step": torch.tensor(float(self.updates))}
            | {name: of_all[i].to(p, copy=True) for name, of_all in saved["optimiser"].items()}
            for i, p in enumerate(self.network.parameters)
            if self.updates
        }
        groups = self.stepper.state_dict()["param_groups"]
        self.stepper.load_state_dict({"state": kept, "param_groups": groups})
        for parameter, summed in zip(self.network.parameters[1:], saved["gradient"], strict=True):
            parameter.grad = summed.to(parameter, copy=True) if self.targets else None
