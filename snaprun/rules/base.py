"""The interface of a learning rule, and the counts of its cost.

Shape suffixes: B lanes, C components, M slots, K units, J = k + a + 1 sources [h; x; 1],
S = c·k states, P live recurrent parameters, O outputs.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from types import ModuleType
from typing import Any, ClassVar, Generic, Literal, TypeVar, get_args, get_type_hints

import torch
from torch import Generator, Tensor

from snaprun import checks
from snaprun.core import Bank, Record, RecurrentCore, Reminder, Sizes, Storage

State = TypeVar("State")


@dataclass(frozen=True)
class Setup:
    """What a rule knows before the first step."""

    core: RecurrentCore
    lanes: int
    dtype: torch.dtype
    outputs: int  # of the readout
    noise: Generator  # the rule's own stream of randomness, on the CPU
    backend: ModuleType  # of snaprun.influence


@dataclass(frozen=True)
class Cost:
    """The exact cost of a rule per lane and step, zeros skipped, and its order of growth.

    The cost leaves out the readout, which is the same for every rule. In the orders k is the
    number of units, p the parameters of the dense network, d the fraction of live weights, and T
    the horizon.
    """

    macs: int  # multiply-adds, the forward step included
    state: int  # numbers kept from step to step
    touched: int  # numbers of the state that a step reads or writes
    memory_order: str
    time_order: str
    influence_sparsity: float | None = None  # of the S × P influence matrix, if the rule has one
    forwards: float = 1.0  # forward steps, repeated ones included


@dataclass(frozen=True)
class Saved:
    """Declares that checkpoints hold a field of a rule's state; the field is a tensor or None.

    For example `theta_BP: Annotated[Tensor, Saved("theta", parameters=True)]`.
    """

    name: str  # its name in a checkpoint
    parameters: bool = False  # whether the last axis is the axis of θ
    kept: bool = True  # whether it counts as the rule's memory

    @staticmethod
    @cache
    def fields(state_type: type[Any]) -> dict[str, "Saved"]:
        """Returns what `state_type` declares, by field, in the order of checkpoints."""
        hints = get_type_hints(state_type, include_extras=True)
        found = ((key, x) for key, hint in hints.items() for x in get_args(hint))
        return {key: x for key, x in found if isinstance(x, Saved)}


class LearningRule(ABC, Generic[State]):
    """Turns the stream of records into gradients of the recurrent parameters.

    The constructor takes the keys of the rule's YAML file as keyword arguments. `claim` says what
    the gradient is: exact, SnAp-n's masked one, an unbiased estimate, or a biased estimate.
    `state_type` is the frozen dataclass of the state; it declares which of its fields are `Saved`.

    In a stack of layers `record.credit_BCK` is the direct credit δ_t of the readout, which is zero
    in all layers but the uppermost. A rule that keeps each layer's memory apart takes the credit
    of `snaprun.core.jacobians.passed_down(record)` instead, δ_t through the layers above at this
    step. The products of `snaprun.core.jacobians` with D and I are those of the whole stack, and
    take δ_t itself.

    >>> from snaprun.cells import Vanilla
    >>> from snaprun.influence import naive
    >>> from snaprun.rules import RULES
    >>> from snaprun.sparsity import Dense
    >>> core, rule = RecurrentCore.build(Vanilla(), Dense(), 3, 2, Generator()), RULES["rtrl"]()
    >>> state = rule.init(Setup(core, 1, torch.float64, 4, Generator(), backend=naive))
    >>> weights_MKJ = core.layout.scatter(core.initial_parameters(Generator(), torch.float64))
    >>> s_BCK = core.initial_state(1, torch.float64)
    >>> s_BCK, linearise = core.step(weights_MKJ, s_BCK, torch.tensor([0]))
    >>> record = linearise().with_credit(torch.ones(1, 3), torch.ones(1, 4))  # from the readout
    >>> gradient_P, state = rule.gradient(rule.step(state, record))
    >>> gradient_P.shape == (core.layout.size,)
    True
    """

    claim: Literal["exact", "masked", "unbiased", "biased"]  # what the gradient is
    state_type: ClassVar[type[Any]]  # the frozen dataclass of the state
    moves: ClassVar[bool] = True  # False: the optimiser leaves the recurrent parameters alone
    taped: ClassVar[bool] = False  # whether credit goes back over a tape of the window
    once_a_sequence: ClassVar[bool] = False  # whether it needs train.update_every=sequence

    @property
    def adapts(self) -> bool:
        """Whether the rule follows the updates of a linear readout."""
        return False

    @property
    def reminder(self) -> Reminder | None:
        """What the rule adds to the core."""
        return None

    @property
    def replays(self) -> bool:
        """Whether an engine repeats steps of a window for the rule, as snaprun.rules.replay says.

        Then the engine calls neither `step` nor `gradient`. Engines do so for BPTT alone.
        """
        return False

    @property
    def lighter(self) -> str:
        """The choice of a configuration that takes less memory, or an empty string."""
        return ""

    def require_core(self, core: RecurrentCore) -> None:
        """Raises UserError unless the core has the reminder of this rule, or none as the rule."""
        if core.reminder != self.reminder:
            needed = "no reminder" if self.reminder is None else str(self.reminder)
            accepted = f"a core with {needed} for the rule {type(self).__name__}"
            checks.refuse("reminder", core.reminder, accepted)

    @abstractmethod
    def init(self, setup: Setup) -> State:
        """Returns the state before the first step."""

    @abstractmethod
    def reset(self, state: State, lanes_B: Tensor) -> State:
        """Clears the memory of the lanes in `lanes_B` (boolean), where sequences begin."""

    @abstractmethod
    def step(self, state: State, record: Record) -> State:
        """Returns the state after one time step."""

    def gradient(self, state: State) -> tuple[Tensor, State]:
        """Returns the gradient (P,), and the state with which the next step continues.

        The gradient is the rule's dL/dθ, summed over all lanes and the steps since the last call.
        Here it is the state's field `gradient_P`, in which the steps have summed it; only that
        field is set back to zero.
        """
        own: Any = state
        return own.gradient_P, replace(own, gradient_P=torch.zeros_like(own.gradient_P))

    def follow(self, state: State, weight_OK: Tensor, before_OK: Tensor) -> State:
        """Returns the state after an update of a linear readout, if the rule `adapts` to it.

        The weight was `before_OK`; the rule may change `weight_OK` in place.
        """
        return state

    def attention(self, state: State) -> Sequence[Tensor]:
        """Returns the gradients of the reminder's parameters that `gradient` has found."""
        return ()

    def with_bank(self, state: State, bank: Bank) -> State:
        """Returns the state with the memories of a core with a reminder, before a state is loaded.

        A rule without a reminder has none; otherwise records bring them.
        """
        return state

    def kept(self, state: State) -> Iterable[Tensor]:
        """Returns the tensors that the rule keeps from step to step; their bytes are its memory."""
        return [getattr(state, key) for key, x in Saved.fields(self.state_type).items() if x.kept]

    def state_dict(self, state: State) -> dict[str, Any]:
        """Returns a copy of the state for a checkpoint, as tensors and dicts of tensors.

        Every backend and engine saves the same: parameters are columns in the order of θ, J is
        (B, L) in the order of `Pattern.entries`, and the first axis of a tensor of a `tape` is the
        step. Call it after a step and before the reset of the next step.
        """
        declared = Saved.fields(self.state_type)
        own = {x.name: getattr(state, key) for key, x in declared.items()}
        return {name: x.clone() for name, x in own.items() if x is not None}

    def load_state_dict(self, state: State, saved: dict[str, Any], weights_MKJ: Tensor) -> State:
        """Returns the state that continues from `saved`; `state` is any state of the same setup.

        `weights_MKJ` are the dense weights of every step since the last update.
        """
        own: Any = state
        loaded = {
            key: saved[x.name].to(getattr(own, key), copy=True)
            for key, x in Saved.fields(self.state_type).items()
            if x.name in saved
        }
        return replace(own, **loaded)

    def labels(self, core: RecurrentCore) -> dict[str, Tensor]:
        """Returns int64 labels of the last axis of each saved tensor that depends on the mask.

        A label, such as `Layout.flat_P` for a parameter, means the same under every mask.
        """
        declared = Saved.fields(self.state_type).values()
        return {x.name: core.layout.flat_P for x in declared if x.parameters}

    def in_numbers(self, size: int) -> "LearningRule[State]":
        """Returns the rule with what it has in bytes counted in numbers of a lane, for `cost`.

        A number takes `size` bytes in all lanes together.
        """
        del size
        return self

    @abstractmethod
    def cost(self, core: RecurrentCore, horizon: int) -> Cost:
        """Returns the cost of a step; `horizon` is the number of steps between updates."""

    @abstractmethod
    def storage(self, sizes: Sizes, backend: ModuleType | None) -> Storage:
        """Returns the bytes that the rule needs, from counts only, without an allocation.

        `backend` is the influence backend of the torch engine; None means the C++ engine.
        """


def passed_macs(core: RecurrentCore) -> int:
    """Returns the multiply-adds of δ (1 − E)^-1, the products with δ's zeros left out."""
    slopes_C = torch.tensor(core.cell.slope_pattern).sum(1)
    upper_CK = core.credited(passed=True)[:, core.layout.layers[0] :]
    return Counts.of(core).links + int(slopes_C @ upper_CK.sum(1))


def native_traces(sizes: Sizes, pattern: Sequence[Sequence[bool]]) -> int:
    """Returns the bytes of all traces in C++, where a single lane is stored without padding.

    `pattern` (c × m) says which slot reaches which component.
    """
    return sizes.traces(pattern) * (1 if sizes.lanes == 1 else sizes.padded) * sizes.itemsize


@dataclass(frozen=True)
class Counts:
    """The counts that determine costs: live weights and structurally nonzero slopes."""

    parameters: int  # P
    weights: int  # recurrent and input parameters: the multiply-adds of a forward step
    recurrent: int  # recurrent parameters
    states: int  # S
    slopes: int  # structurally nonzero ∂s'/∂a of all units
    blocks: int  # structurally nonzero ∂s'/∂s of all units
    sources: int  # k + a + 1
    links: int  # parameters between layers, which are input parameters
    upper: int  # units above the first layer

    @classmethod
    def of(cls, core: RecurrentCore) -> "Counts":
        """Returns the counts of a core."""
        live_MKJ, units = core.layout.live_MKJ, core.units
        return cls(
            parameters=core.layout.size,
            weights=int(live_MKJ[:, :, :-1].sum()),
            recurrent=int(live_MKJ[:, :, :units].sum()),
            states=core.states,
            slopes=units * sum(map(sum, core.cell.slope_pattern)),
            blocks=units * sum(map(sum, core.cell.state_pattern)),
            sources=live_MKJ.shape[2],
            links=int(live_MKJ[:, :, units + core.inputs : -1].sum()),
            upper=sum(core.layout.layers[1:]),
        )
