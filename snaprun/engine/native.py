"""The C++ engine runs the online step of snaprun.engine.torch on whole batches without Python."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from snaprun.cells import CELLS, Cell
from snaprun.checks import UserError
from snaprun.engine.adapters import adapter, fill, lanes_first
from snaprun.engine.base import SEQUENCE, Begun, Engine, require_new
from snaprun.engine.optim import OPTIMISERS, SHARED, Optimiser
from snaprun.engine.saved import copied
from snaprun.influence.native import _native, isa, layout_fields
from snaprun.losses import LOSSES, Loss
from snaprun.model.network import Network
from snaprun.require import MOST
from snaprun.rules import LearningRule
from snaprun.rules.replay import stored
from snaprun.rules.schedule import Plan, Schedule

COUNTERS = ("steps", "targets", "updates", "longest_window", "rule_bytes")
PLACE = ("at", "part", "forwards")  # of a rule that replays, as in snaprun.rules.replay
# What the C++ core was built with, by registry name (snaprun/native/README.md).
_KNOWN: dict[str, Any] = _native.capabilities() if _native else {}


def supports(network: Network, rule: LearningRule, optimiser: Optimiser) -> str | None:
    """Return in words why the native engine cannot train this, or None if it can."""
    core, loss = network.core, network.readout.loss
    reason = lacks(core.cell, core.device.type, network.dtype, rule, optimiser, loss)
    suited = adapter(rule)
    if reason or suited is None or core.reminder is None or _KNOWN["rules"][suited.name]["attends"]:
        return reason
    return f"its rule {type(rule).__name__} has no attention over memories"


def lacks(
    cell: Cell,
    device: str,
    dtype: torch.dtype,
    rule: LearningRule,
    optimiser: Optimiser,
    loss: Loss,
) -> str | None:
    """Return the same as `supports`, from the choices alone, before the network is built."""
    if _native is None:
        return "the C++ core was not built"
    if device != "cpu":
        return f"it runs on the CPU, not on {device}"
    if dtype not in (torch.float32, torch.float64):
        return f"it computes in float32 or float64, not in {dtype}"
    if CELLS.name_of(cell) not in _KNOWN["cells"]:
        return f"it does not know the cell {type(cell).__name__}"
    suited = adapter(rule)
    if suited is None or suited.name not in _KNOWN["rules"]:
        return f"it does not know the rule {type(rule).__name__}"
    if OPTIMISERS.name_of(optimiser) not in _KNOWN["optimisers"]:
        return f"it does not know the optimiser {type(optimiser).__name__}"
    if LOSSES.name_of(loss) not in _KNOWN["losses"]:
        return f"it does not know the loss {type(loss).__name__}"
    return None


def _constants(kind: str, name: str, made: object) -> dict[str, float]:
    """Return the constants that the C++ core needs from `made`, its attributes of these names."""
    return {key: getattr(made, key) for key in _KNOWN[kind][name]["constants"]}


@dataclass
class _Step:
    """The data of one step, T = 1, in memory that the C++ core reads and writes."""

    index: ndarray
    dense: ndarray
    targets: ndarray
    mask: ndarray
    resets: ndarray
    noise: ndarray | None
    loss_B: ndarray
    outputs_BO: ndarray


class NativeEngine(Engine):
    """Does the same as TorchEngine in C++.

    The parameters are shared with PyTorch; all other state lives in C++. Raises ValueError if
    `supports` gives a reason against the combination.
    """

    in_core = True

    def reset(self) -> None:
        """Return to the state before the first step, with the network as it is now."""
        network, rule, optimiser = self.network, self.rule, self.optimiser
        if reason := supports(network, rule, optimiser):
            raise ValueError(f"the native engine cannot train this: {reason}")
        core, readout, reminder = network.core, network.readout.parameters, network.core.reminder
        suited = adapter(rule)
        assert suited is not None
        self.isa = isa()
        self._step: _Step | None = None
        self._begun: Begun | None = None  # the batch of the last step, if it was of a batch
        self._plan: Plan | None = None  # that windows follow
        self._planned = 0  # the steps for which it is the one of our schedule; 0: for none
        outputs = readout[-1].numel()
        self._adapter = suited(rule, core, self.lanes, outputs, network.dtype, self.noise)
        cell, named = CELLS.name_of(core.cell), OPTIMISERS.name_of(optimiser)
        config: dict[str, Any] = {
            "pattern": layout_fields(core) | self._adapter.pattern(),
            "cell": cell,
            **_constants("cells", cell, core.cell),
            "rule": suited.name,
            **self._adapter.fields(),
            "optimiser": named,
            **_constants("optimisers", named, optimiser),
            "loss": LOSSES.name_of(network.readout.loss),
            "outputs": outputs,
            "hidden": readout[0].shape[0] if len(readout) > 2 else 0,
            "lanes": self.lanes,
            "threads": self.threads,
            "update_every": 0 if self.update_every == SEQUENCE else self.update_every,
        }
        given = {key: getattr(optimiser, key) for key in SHARED} | {"average": self.decay}
        config |= {key: value for key, value in given.items() if value is not None}
        if core.cell.rate_cost:
            config |= {"rate_cost": core.cell.rate_cost, "rate_target": core.cell.rate_target}
        if reminder is not None:
            config |= {"k_att": reminder.k_att, "k_top": reminder.k_top}
        kind = _native.Engine32 if network.dtype == torch.float32 else _native.Engine64
        try:
            self._engine = kind(config)
        except OverflowError as error:
            raise UserError(
                f"The C++ core has no indices for this network: {error}. Set engine=torch, or take "
                "fewer units or lanes."
            ) from error

    def __getattr__(self, name: str) -> Any:
        if name not in COUNTERS:
            raise AttributeError(name)
        return getattr(self._engine, name)

    @property
    def finite(self) -> bool:
        """Whether all parameters were finite when `run` last returned."""
        return self._engine.finite

    @property
    def state_bytes(self) -> tuple[int, int]:
        """The bytes of a hidden and of an internal state on the stack of a rule that replays."""
        return self._engine.state_bytes

    @property
    def owes(self) -> bool:
        """Whether a window has had its last step, and its reverse pass is yet to be finished."""
        return self._engine.owes

    @property
    def forwards(self) -> int | None:
        """The time steps that were made so far, replayed ones included; None: none is replayed."""
        return self._engine.window()["forwards"] if self.replaying else None

    def measure(self) -> None:
        """Record the length of the open window and the bytes that the rule keeps."""
        self._engine.measure()

    def average(self) -> list[Tensor] | None:
        """Return a copy of the averaged parameters; None if none is kept or before an update."""
        return (
            copied(self._views(self._engine.buffers())["average"])
            if self.decay and self.updates
            else None
        )

    def update(self) -> None:
        """End the window here: the optimiser steps if the window had a target."""
        if self.replaying and self.targets and not self.owes:
            window = self._engine.window()
            assert self._plan is not None
            schedule = self._schedule(window["steps"]).holding(self._plan)
            self._engine.close(schedule.closing(window["kept"], self.steps))
        if self.owes and self._begun is not None:
            self._run(self._begun, 0, MOST)
        else:
            self._engine.update(*self._parameters())

    def _schedule(self, steps: int) -> Schedule:
        assert self.replaying is not None
        return self.replaying.schedule(steps, *self.state_bytes)

    def _require_plan(self, left: int | None) -> None:
        """Give the C++ core the plan of the window that begins, unless it has it."""
        steps = self.window_steps(left)
        if steps != self._planned:
            self._follow(self._schedule(steps).plan(steps), steps)
            self._planned = steps

    def _follow(self, plan: Plan, steps: int) -> None:
        self._plan, self._planned = plan, 0
        self._engine.plan(plan, steps, self._schedule(steps).holding(plan).budget)

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of everything needed to continue, in the form of snaprun.engine.saved."""
        self.require_settled()
        views = self._views(self._engine.buffers())
        state = copied({name: x for name, x in views.items() if name != "rule"})
        state["rule"] = self._adapter.saved(views["rule"])
        if self.replaying:
            window = self._engine.window()
            planned, plan = (window["steps"], self._plan) if window["at"] else (0, None)
            state["rule"] |= {"steps_planned": planned, "plan": stored(plan)}
            state["rule"] |= {name: window[name] for name in PLACE}
        # Entries that this window has not written yet hold the values of an older window.
        if "tape" in state["rule"]:
            tape = state["rule"]["tape"]
            for name in {"credit", "recall_credit"} & tape.keys():
                tape[name][~tape["has_credit"]] = 0
        if "bank" in state:
            state["bank"]["older"] = self._engine.older
        if not self.targets:
            for summed in state["gradient"]:
                summed.zero_()
        carried_BX = torch.empty(self.lanes, self._engine.entries, dtype=self.network.dtype)
        self._engine.read(carried_BX)
        state["rule"] |= self._adapter.carried(carried_BX)
        return {
            "network": copied(self.network.state_dict()),
            "noise": self.noise.get_state(),
            **state,
            **{name: getattr(self, name) for name in COUNTERS},
        }

    def _load(self, saved: dict[str, Any]) -> None:
        self._engine.resume(**dict.fromkeys(COUNTERS, 0))
        self._begun = None
        window, rule = {}, saved["rule"]
        if self.replaying:
            window = {name: rule[name] for name in PLACE} | {"pending": len(rule["pending_src"])}
            window["indexed"] = not rule["inputs"].is_floating_point()
            if rule["steps_planned"]:  # of the open window alone: the next one follows our plan
                self._follow(rule["plan"].int().numpy(), rule["steps_planned"])
        if "bank" in saved:
            bank = saved["bank"]
            window |= {"memories": len(bank["memories"]), "older": bank["older"]}
        self._engine.resume(**{name: saved[name] for name in COUNTERS}, **window)
        memory = self._engine.buffers()
        fill(self._views(memory), saved)
        self._engine.fill(memory)
        carried_BX = self._adapter.carry(saved["rule"])
        if carried_BX is not None:
            self._engine.assign(carried_BX.contiguous())

    def _views(self, memory: dict[str, Tensor]) -> dict[str, Any]:
        """Return views into `memory` of all entries of the saved form except the carried ones."""

        def of_parameters(name: str) -> list[Tensor]:
            return [memory[f"{name} {i}"].view(p.shape) for i, p in enumerate(parameters)]

        parameters = self.network.parameters
        moments = enumerate(self.optimiser.moments)
        return {
            "optimiser": {name: of_parameters(f"moment {which}") for which, name in moments},
            **({"average": of_parameters("average")} if self.decay else {}),
            "gradient": of_parameters("gradient")[1:],
            "state": lanes_first(memory["state"], self.lanes),
            **self._bank(memory),
            **self._rates(memory),
            "rule": self._adapter.views(memory),
        }

    def _bank(self, memory: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """Return views of the memories, and where they are absent, if the core has a reminder."""
        if self.network.core.reminder is None:
            return {}
        units = self.network.core.layout.layers[-1]
        memories_NBK, absent_NB = memory["memories"][..., :units], memory["absent"]
        return {"bank": {"memories": memories_NBK, "absent": absent_NB.view(torch.bool)}}

    def _rates(self, memory: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """Return views of the mean h of every unit and of its sum, if the cell has a cost on it."""
        if not self.network.core.cell.rate_cost:
            return {}
        return {"rates": {name: memory[f"rates {name}"] for name in ("mean", "summed")}}

    def advance(self, begun: Begun, steps: int) -> int:
        """Train on a batch in progress, as the base says."""
        left = len(begun.batch.mask) - begun.steps
        if self.network.core.reminder is not None and not self.steps and left:
            self._require_new(begun.batch.resets[begun.steps])
        if self.replaying and not self.steps and left:
            self._require_plan(left if begun.batch.ends else None)
        self._begun = begun if self.replaying else None
        return self._run(begun, steps, steps)

    def _run(self, begun: Begun, steps: int, work: int) -> int:
        """Do up to `work` steps of work with the next `steps` of a batch."""
        first, batch = begun.steps, begun.batch
        if first or steps < len(batch.mask):
            batch = batch.piece(first, steps)
        one_hot, classes = batch.inputs.dim() == 2, self.network.readout.loss.classes
        targets = batch.targets.contiguous()
        dense = None if one_hot else batch.inputs.to(self.network.dtype).contiguous()
        done, worked = self._engine.run(
            *self._parameters(),
            batch.inputs.contiguous() if one_hot else None,
            dense,
            targets if classes else None,
            None if classes else targets.to(self.network.dtype),
            batch.mask.contiguous(),
            batch.resets.contiguous(),
            self._adapter.draw(len(batch.mask)),
            begun.losses_TB,
            batch.ends,
            begun.outputs_TBO,
            first,
            work,
        )
        begun.steps += done
        return worked

    def _require_new(self, resets_B: Tensor) -> None:
        """Raise UserError if a lane brings memories of an earlier batch into this one."""
        if self._engine.memories > 1 and not resets_B.all():
            absent_NB = self._bank(self._engine.buffers())["bank"]["absent"]
            require_new(not (absent_NB[1:] | resets_B).all())

    def predict(self, inputs: ndarray, resets_B: ndarray | None = None) -> ndarray:
        """Advance the state by one step and return the outputs, as the base says."""
        if self.replaying and not self.steps:
            self._require_plan(None)
        self._begun = None
        step = self._step or self._bind()
        by_index = inputs.ndim == 1
        (step.index if by_index else step.dense)[0] = inputs
        if resets_B is not None:
            step.resets[0] = resets_B
        self._engine.predict(by_index, resets_B is not None)
        return step.outputs_BO

    def learn(self, targets: ndarray | None = None, mask_B: ndarray | None = None) -> ndarray:
        """Take the targets of the predicted step and return its loss, as the base says."""
        step = self._step or self._bind()
        if targets is not None:
            step.targets[0] = targets
            step.mask[0] = True if mask_B is None else mask_B
        if step.noise is not None:
            step.noise[...] = self._adapter.draw(1)
        self._engine.learn(targets is not None)
        return step.loss_B

    @property
    def predicted(self) -> bool:
        """Whether a predicted step waits for its targets."""
        return self._engine.predicted

    def undo(self) -> None:
        """Forget the predicted step that waits for its targets; the reset lanes stay reset."""
        self._engine.undo()

    def _bind(self) -> "_Step":
        """Give the C++ core memory for the data of single steps, which it then reads and writes."""
        network, outputs = self.network, self.network.readout.parameters[-1].numel()
        one_B, dtype = (1, self.lanes), np.dtype(str(network.dtype).removeprefix("torch."))
        classes, drawn = network.readout.loss.classes, self._adapter.draw(0)
        step = _Step(
            index=np.zeros(one_B, np.int64),
            dense=np.zeros((*one_B, network.core.inputs), dtype),
            targets=np.zeros(one_B, np.int64) if classes else np.zeros((*one_B, outputs), dtype),
            mask=np.zeros(one_B, bool),
            resets=np.zeros(one_B, bool),
            noise=None if drawn is None else np.zeros((1, *drawn.shape[1:]), np.int8),
            loss_B=np.zeros(self.lanes, dtype),
            outputs_BO=np.zeros((self.lanes, outputs), dtype),
        )
        self._engine.bind(
            *self._parameters(),
            step.index,
            step.dense,
            step.targets if classes else None,
            None if classes else step.targets,
            step.mask,
            step.resets,
            step.noise,
            step.loss_B[None],
            step.outputs_BO[None],
        )
        self._step = step
        return step

    def _parameters(self) -> tuple[Tensor, list[Tensor]]:
        """Return θ, and the parameters of the readout and of the attention."""
        theta, *others = (p.detach() for p in self.network.parameters)
        return theta, others
