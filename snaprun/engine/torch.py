"""The online step in PyTorch: forward, loss, credit, rule, update."""

import math
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from snaprun.engine.optim import Optimiser, newest
from snaprun.engine.saved import copied, require_fit, set_noise
from snaprun.influence import native
from snaprun.model.network import Network
from snaprun.rules import LearningRule, Setup
from snaprun.tasks import Batch

SEQUENCE = "sequence"


class TorchEngine:
    """Trains a network on batches of sequences, one time step at a time, in PyTorch.

    After `update_every` steps, or at the end of every batch for "sequence", the optimiser steps
    along the mean gradient over the (lane, step) pairs with a target since the last update; a
    window without a target makes no update. The network's state and the rule's state are carried
    across updates and batches, and are zeroed only in lanes where a sequence begins. `noise`
    is the rule's generator, `backend` the module that stores the influence matrix, `average` the
    decay of the average of the parameters (None: no average is kept).

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

    def __init__(
        self,
        network: Network,
        rule: LearningRule,
        optimiser: Optimiser,
        *,
        lanes: int,
        update_every: int | str,
        noise: torch.Generator,
        backend: ModuleType,
        average: float | None = None,
    ):
        self.network = network
        self.rule = rule
        self.noise = noise
        self.clip = optimiser.clip
        self.update_every = update_every
        self.moments = optimiser.moments
        self._build_optimiser, self._rate = optimiser.build, optimiser.rate
        self._lanes, self._backend, self._decay = lanes, backend, average
        self.reset()

    @property
    def isa(self) -> str:
        """The instruction sets of PyTorch and, if it stores the influence matrix, the C++ core."""
        own = torch.backends.cpu.get_cpu_capability()
        return f"{own}, {native.isa()}" if self._backend is native else own

    @property
    def finite(self) -> bool:
        """Whether all parameters are finite."""
        # A sum takes a tenth of the time, but a sum of finite numbers may overflow.
        return all(
            math.isfinite(p.sum().item()) or bool(p.isfinite().all())
            for p in self.network.parameters
        )

    def reset(self) -> None:
        """Return to the state before the first step, with the network as it is now."""
        network, core = self.network, self.network.core
        self.optimiser = self._build_optimiser(network.parameters)
        outputs = network.readout.parameters[-1].numel()
        setup = Setup(core, self._lanes, network.dtype, outputs, self.noise, self._backend)
        self.rule_state = self.rule.init(setup)
        self.state_BCK = core.initial_state(self._lanes, network.dtype)
        self.weights_MKJ = network.weights()
        self._average = [torch.zeros_like(p) for p in network.parameters if self._decay]
        self.updates = 0
        self.longest_window = 0  # the most steps between two updates so far
        self.rule_bytes = 0  # the most bytes that the rule has kept at the end of a window
        self._steps = 0  # since the last update
        self._targets = 0

    def run(self, batch: Batch) -> Tensor:
        """Train on a batch, or on a piece of one.

        A batch may be cut into pieces anywhere: the results are the same bit by bit. Returns the
        loss of every step, computed before the update of that step, shape (T, B).
        """
        steps = len(batch.mask)
        loss_TB = torch.zeros(batch.mask.shape, dtype=self.network.dtype, device=batch.mask.device)
        begins = batch.resets.any(1).tolist()
        targets = batch.mask.sum(1).tolist()
        for t in range(steps):
            if begins[t]:
                self._begin(batch.resets[t])
            self._step(batch, t, targets[t], loss_TB[t])
            if self._steps == self.update_every:
                self.update()
        if self.update_every == SEQUENCE and batch.ends:
            self.update()
        return loss_TB

    def _begin(self, lanes_B: Tensor) -> None:
        self.state_BCK = self.state_BCK.masked_fill(lanes_B[:, None, None], 0)
        self.rule_state = self.rule.reset(self.rule_state, lanes_B)

    def _step(self, batch: Batch, t: int, targets: int, loss_B: Tensor) -> None:
        core, readout = self.network.core, self.network.readout
        self.state_BCK, linearise = core.step(self.weights_MKJ, self.state_BCK, batch.inputs[t])
        record = linearise()
        if targets:
            learned = readout.learn(self.state_BCK[:, 0], batch.targets[t], batch.mask[t])
            record = record.with_credit(learned.credit_BK, learned.error_BO)
            loss_B.copy_(learned.loss_B)
        self.rule_state = self.rule.step(self.rule_state, record)
        self._steps += 1
        self._targets += targets

    def update(self) -> None:
        """End the window here: the optimiser steps if the window had a target."""
        self.measure()
        gradient_P, self.rule_state = self.rule.gradient(self.rule_state)
        if self._targets:
            parameters = self.network.parameters
            self.network.theta.grad = gradient_P
            for parameter in parameters:
                assert parameter.grad is not None
                parameter.grad /= self._targets
            if self.clip is not None:
                torch.nn.utils.clip_grad_norm_(parameters, self.clip)
            for group in self.optimiser.param_groups:
                group["lr"] = self._rate(self.updates)
            self.optimiser.step()
            self.optimiser.zero_grad()
            self.weights_MKJ = self.network.weights()
            self.updates += 1
            if self._decay:
                weight = newest(self._decay, self.updates)
                for mean, parameter in zip(self._average, parameters, strict=True):
                    mean.lerp_(parameter, weight)
        self._steps = self._targets = 0

    def average(self) -> list[Tensor] | None:
        """Return a copy of the averaged parameters; None if none is kept or before an update."""
        return copied(self._average) if self._average and self.updates else None

    def measure(self) -> None:
        """Record the length of the open window and the bytes that the rule keeps."""
        self.longest_window = max(self.longest_window, self._steps)
        kept = sum(x.numel() * x.element_size() for x in self.rule.kept(self.rule_state))
        self.rule_bytes = max(self.rule_bytes, kept)

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of everything needed to continue, in the form of snaprun.engine.saved."""
        of, parameters = self.optimiser.state, self.network.parameters
        return {
            "network": copied(self.network.state_dict()),
            "optimiser": {
                name: [of[p][name].clone() if p in of else torch.zeros_like(p) for p in parameters]
                for name in self.moments
            },
            **({"average": copied(self._average)} if self._decay else {}),
            "gradient": [
                torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters[1:]
            ],
            "state": self.state_BCK.clone(),
            "rule": self.rule.state_dict(self.rule_state),
            "noise": self.noise.get_state(),
            "updates": self.updates,
            "longest_window": self.longest_window,
            "rule_bytes": self.rule_bytes,
            "steps": self._steps,
            "targets": self._targets,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue from `saved`, a `state_dict`.

        Raises ValueError if `saved` does not fit; the engine is then unusable.
        """
        require_fit(saved, self.state_dict(), self.update_every)
        self.network.load_state_dict(saved["network"])
        set_noise(self.noise, saved["noise"])
        self.weights_MKJ = self.network.weights()
        self.state_BCK = saved["state"].to(self.state_BCK, copy=True)
        self.rule_state = self.rule.load_state_dict(
            self.rule_state, saved["rule"], self.weights_MKJ
        )
        for own, taken in zip(self._average, saved.get("average", []), strict=True):
            own.copy_(taken)
        self.updates = saved["updates"]
        self.longest_window = saved["longest_window"]
        self.rule_bytes = saved["rule_bytes"]
        self._steps, self._targets = saved["steps"], saved["targets"]
        self._load_optimiser(saved["optimiser"], saved["gradient"])

    def _load_optimiser(self, moments: dict[str, list[Tensor]], gradient: list[Tensor]) -> None:
        groups = self.optimiser.state_dict()["param_groups"]
        kept = {
            i: {"step": torch.tensor(float(self.updates))}
            | {name: of_all[i].to(p, copy=True) for name, of_all in moments.items()}
            for i, p in enumerate(self.network.parameters)
            if self.updates
        }
        self.optimiser.load_state_dict({"state": kept, "param_groups": groups})
        for parameter, summed in zip(self.network.parameters[1:], gradient, strict=True):
            parameter.grad = summed.to(parameter, copy=True) if self._targets else None
