"""The online step of engine.py in C++: whole batches without Python inside."""

from typing import Any

import torch
from torch import Generator, Tensor

from snaprun.cells import GRU, LSTM, Cell, Vanilla
from snaprun.checks import UserError
from snaprun.influence import choose
from snaprun.influence.native import _native, block_fields, isa, layout_fields
from snaprun.rules import BPTT, RFLO, RTRL, UORO, Frozen, LearningRule, Setup, SnAp
from snaprun.tasks import Batch
from snaprun.train.engine import SEQUENCE
from snaprun.train.native_memory import fill, views
from snaprun.train.network import Network
from snaprun.train.optim import SGD, Adam, Optimiser
from snaprun.train.saved import copied, require_fit, set_noise

COUNTERS = ("steps", "targets", "updates", "longest_window", "rule_bytes")
CELLS = {Vanilla: "vanilla", GRU: "gru", LSTM: "lstm"}
RULES = {
    SnAp: "influence",
    RTRL: "influence",
    BPTT: "bptt",
    RFLO: "rflo",
    UORO: "uoro",
    Frozen: "frozen",
}


def supports(network: Network, rule: LearningRule, optimiser: Optimiser) -> str | None:
    """None, or in words why the native engine cannot train this."""
    core = network.core
    return lacks(core.cell, core.device.type, network.dtype, rule, optimiser)


def lacks(
    cell: Cell, device: str, dtype: torch.dtype, rule: LearningRule, optimiser: Optimiser
) -> str | None:
    """The same before there is a network."""
    if _native is None:
        return "the C++ core was not built"
    if device != "cpu":
        return f"it runs on the CPU, not on {device}"
    if dtype not in (torch.float32, torch.float64):
        return f"it computes in float32 or float64, not in {dtype}"
    if type(cell) not in CELLS:
        return f"it does not know the cell {type(cell).__name__}"
    if type(rule) not in RULES:
        return f"it does not know the rule {type(rule).__name__}"
    if type(optimiser) not in (Adam, SGD):
        return f"it does not know the optimiser {type(optimiser).__name__}"
    return None


class NativeEngine:
    """The same as TorchEngine in C++: parameters are shared with PyTorch, the rest lives there."""

    in_core = True

    def __init__(
        self,
        network: Network,
        rule: LearningRule,
        optimiser: Optimiser,
        *,
        lanes: int,
        update_every: int | str,
        noise: Generator,
        threads: int = 1,
        average: float | None = None,
    ):
        reason = supports(network, rule, optimiser)
        if reason:
            raise ValueError(f"the native engine cannot train this: {reason}")
        self.network = network
        self.rule = rule
        self._lanes = lanes
        self._noise = noise
        self._update_every = update_every
        self._optimiser = optimiser
        self._threads, self._decay = threads, average
        self.start()

    def start(self) -> None:
        """Be as before the first step, on the network as it is now."""
        assert _native is not None
        network, rule, optimiser = self.network, self.rule, self._optimiser
        core, readout = network.core, network.readout.parameters
        outputs = readout[-1].numel()
        config: dict[str, Any] = {
            "pattern": layout_fields(core),
            "cell": CELLS[type(core.cell)],
            "rule": RULES[type(rule)],
            "outputs": outputs,
            "hidden": readout[0].shape[0] if len(readout) > 2 else 0,
            "lanes": self._lanes,
            "threads": self._threads,
            "update_every": 0 if self._update_every == SEQUENCE else self._update_every,
            "optimiser": "adam" if isinstance(optimiser, Adam) else "sgd",
            "lr": optimiser.lr,
        }
        if isinstance(core.cell, Vanilla):
            config["alpha"] = core.cell.alpha
        if isinstance(optimiser, Adam):
            config["beta1"], config["beta2"] = optimiser.betas
            config["eps"] = optimiser.eps
        elif isinstance(optimiser, SGD):
            config["momentum"] = optimiser.momentum
        if optimiser.clip is not None:
            config["clip"] = optimiser.clip
        if self._decay is not None:
            config["average"] = self._decay
        if optimiser.half_life is not None:
            config["half_life"] = optimiser.half_life
        self._trace_L = None  # where J's entries lie among the traces (c, P) of SnAp-1
        if isinstance(rule, SnAp) and rule.n == 1:
            config["rule"] = "snap1"
            row_L, column_L = core.pattern(1).entries
            self._trace_L = row_L // core.units * core.layout.size + column_L
        elif isinstance(rule, SnAp):
            config["pattern"] |= block_fields(core.pattern(rule.n))
        if isinstance(rule, RFLO) and rule.feedback == "random":
            setup = Setup(core, self._lanes, network.dtype, outputs, self._noise, choose("auto"))
            feedback_OK = rule.init(setup).feedback_OK
            assert feedback_OK is not None
            config["feedback"] = feedback_OK.double().flatten().tolist()
        kind = _native.Engine32 if network.dtype == torch.float32 else _native.Engine64
        try:
            self._engine = kind(config)
        except OverflowError as error:
            raise UserError(
                f"The C++ core has no indices for this network: {error}. Set engine=torch, or take "
                "fewer units or lanes."
            ) from error

    @property
    def isa(self) -> str:
        """The instruction set of the C++ core, which does all that is done at a step."""
        return isa()

    @property
    def updates(self) -> int:
        """Steps that the optimiser has made."""
        return self._engine.updates

    @property
    def finite(self) -> bool:
        """Whether all parameters were numbers when `run` last returned."""
        return self._engine.finite

    @property
    def longest_window(self) -> int:
        """Steps between updates, at most so far."""
        return self._engine.longest_window

    @property
    def rule_bytes(self) -> int:
        """The most that the rule has kept at the end of a window, in its own storage."""
        return self._engine.rule_bytes

    def measure(self) -> None:
        """Take note of the length of the window so far, and of what the rule keeps."""
        self._engine.measure()

    def average(self) -> list[Tensor] | None:
        """A copy of the average of the parameters; None where none is kept, or nothing updated."""
        return (
            copied(self._views(self._engine.buffers())["average"])
            if self._decay and self.updates
            else None
        )

    def update(self) -> None:
        """End the window of updates here: the optimiser steps if there was a target."""
        self._engine.update(*self._parameters())

    def state_dict(self) -> dict[str, Any]:
        """A copy of all that training goes on from, in the form of snaprun.train.saved."""
        state = copied(self._views(self._engine.buffers()))
        # What a window has not written yet is still that of an older one.
        if "tape" in state["rule"]:
            tape = state["rule"]["tape"]
            tape["credit"][~tape["has_credit"]] = 0
        if not self._engine.targets:
            for summed in state["gradient"]:
                summed.zero_()
        state["rule"] |= self._carried()
        return {
            "network": copied(self.network.state_dict()),
            "noise": self._noise.get_state(),
            **state,
            **{name: getattr(self._engine, name) for name in COUNTERS},
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on where `saved` was taken; ValueError, and no use of this engine, if it cannot."""
        require_fit(saved, self.state_dict(), self._update_every)
        self.network.load_state_dict(saved["network"])
        set_noise(self._noise, saved["noise"])
        self._engine.resume(**{name: saved[name] for name in COUNTERS})
        memory = self._engine.buffers()
        fill(self._views(memory), saved)
        self._engine.fill(memory)
        self._carry(saved["rule"])

    def _views(self, memory: dict[str, Tensor]) -> dict[str, Any]:
        return views(memory, self.network, self.rule, self._optimiser.moments, self._lanes)

    def _carried(self) -> dict[str, Tensor]:
        """A copy of J, or of the traces."""
        carried_BX = torch.empty(self._lanes, self._engine.entries, dtype=self.network.dtype)
        self._engine.read(carried_BX)
        if isinstance(self.rule, SnAp):
            return {"J": carried_BX if self._trace_L is None else carried_BX[:, self._trace_L]}
        if isinstance(self.rule, RFLO):
            return {"trace": carried_BX.unflatten(1, (-1, self.network.core.layout.size))}
        return {}

    def _carry(self, saved: dict[str, Tensor]) -> None:
        """Take over J, or the traces."""
        if isinstance(self.rule, SnAp):
            carried_BX = saved["J"]
            if self._trace_L is not None:
                carried_BX = carried_BX.new_zeros(self._lanes, self._engine.entries)
                carried_BX[:, self._trace_L] = saved["J"]
        elif isinstance(self.rule, RFLO):
            carried_BX = saved["trace"].flatten(1)
        else:
            return
        self._engine.assign(carried_BX.contiguous())

    def run(self, batch: Batch) -> Tensor:
        """Train on a batch or a piece of one, which may be cut anywhere without a change.

        Returns the loss of every step before its update, in nats, shape (T, B).
        """
        nats_TB = torch.zeros(batch.mask.shape, dtype=self.network.dtype)
        one_hot = batch.inputs.dim() == 2
        dense = None if one_hot else batch.inputs.to(self.network.dtype).contiguous()
        self._engine.run(
            *self._parameters(),
            batch.inputs.contiguous() if one_hot else None,
            dense,
            batch.targets.contiguous(),
            batch.mask.contiguous(),
            batch.resets.contiguous(),
            self._draw(len(batch.mask)),
            nats_TB,
            batch.ends,
        )
        return nats_TB

    def _parameters(self) -> tuple[Tensor, list[Tensor]]:
        """θ, and the readout's."""
        theta, *readout = (p.detach() for p in self.network.parameters)
        return theta, readout

    def _draw(self, steps: int) -> Tensor | None:
        """UORO's ν of every step, as the rule itself draws it, shape (T, B, c, k)."""
        if not isinstance(self.rule, UORO):
            return None
        core = self.network.core
        shape = (self._lanes, core.cell.components, core.units)
        nu_TBCK = torch.empty(steps, *shape, dtype=torch.int8)
        for t in range(steps):
            nu_TBCK[t] = torch.randint(0, 2, shape, generator=self._noise) * 2 - 1
        return nu_TBCK
