"""What a learning rule is, and what it costs.

Shape suffixes: B lanes, C components, M slots, K units, J = k + a + 1 sources [h; x; 1],
S = c·k states, P live recurrent parameters, O outputs.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from types import ModuleType
from typing import Any, ClassVar, Generic, Literal, TypeVar, get_args, get_type_hints

import torch
from torch import Generator, Tensor

from snaprun.core import Record, RecurrentCore, Sizes, Storage

State = TypeVar("State")


@dataclass(frozen=True)
class Setup:
    """What a rule may know before the first step."""

    core: RecurrentCore
    lanes: int
    dtype: torch.dtype
    outputs: int  # width of the readout's logits
    noise: Generator  # the rule's own stream of randomness, on the CPU
    backend: ModuleType  # of snaprun.influence


@dataclass(frozen=True)
class Cost:
    """The exact cost of a rule a lane and step, zeros skipped, and its order of growth.

    The readout, the same for every rule, is not in it. In the orders k is units, p the parameters
    of the dense network, d the fraction of live weights, T the horizon.
    """

    macs: int  # multiply-adds, the forward step included
    state: int  # numbers kept from step to step
    touched: int  # numbers of the state read or written
    memory_order: str
    time_order: str
    influence_sparsity: float | None = None  # of the S × P influence matrix, where there is one


@dataclass(frozen=True)
class Saved:
    """Declares a field of a rule's state, a tensor or None, as one that checkpoints hold.

    As in `theta_BP: Annotated[Tensor, Saved("theta", parameters=True)]`.
    """

    name: str  # in a checkpoint
    parameters: bool = False  # the last axis is that of θ
    kept: bool = True  # it counts as the rule's memory

    @staticmethod
    @cache
    def fields(state_type: type[Any]) -> dict[str, "Saved"]:
        """What a state declares, by field, in the order that is saved."""
        hints = get_type_hints(state_type, include_extras=True)
        found = ((key, x) for key, hint in hints.items() for x in get_args(hint))
        return {key: x for key, x in found if isinstance(x, Saved)}


class LearningRule(ABC, Generic[State]):
    """Turns the stream of records into gradients of the recurrent parameters.

    A constructor's keyword arguments are the keys of the rule's YAML file. `claim` says what
    the gradient is: the exact one, SnAp-n's masked one, an unbiased estimate, or a biased one.
    `state_type` is the frozen dataclass of the state, whose fields say which are `Saved`.
    """

    claim: ClassVar[Literal["exact", "masked", "unbiased", "biased"]]
    state_type: ClassVar[type[Any]]

    @property
    def lighter(self) -> str:
        """The choice that keeps less in memory, in the configuration's words; or nothing."""
        return ""

    @abstractmethod
    def init(self, setup: Setup) -> State:
        """The state before the first step."""

    @abstractmethod
    def reset(self, state: State, lanes_B: Tensor) -> State:
        """The state with no memory of the lanes in `lanes_B` (boolean): sequences begin there."""

    @abstractmethod
    def step(self, state: State, record: Record) -> State:
        """The state after one time step."""

    @abstractmethod
    def gradient(self, state: State) -> tuple[Tensor, State]:
        """The gradient (P,) and the state that goes on.

        It is the sum of dL/dθ, as the rule sees it, over lanes and steps since the last call.
        """

    def kept(self, state: State) -> Iterable[Tensor]:
        """The tensors that the rule keeps from step to step; their bytes are its memory."""
        return [getattr(state, key) for key, x in Saved.fields(self.state_type).items() if x.kept]

    def state_dict(self, state: State) -> dict[str, Any]:
        """A copy of what goes on from step to step, to be saved: tensors and dicts of them.

        The same for every backend and engine: parameters are columns in the order of θ, J is
        (B, L) in the order of `Pattern.entries`, and the tensors of a `tape` have T steps first.
        To be taken after a step, before the reset of the next.
        """
        declared = Saved.fields(self.state_type)
        own = {x.name: getattr(state, key) for key, x in declared.items()}
        return {name: x.clone() for name, x in own.items() if x is not None}

    def load_state_dict(self, state: State, saved: dict[str, Any], weights_MKJ: Tensor) -> State:
        """The state that goes on as the `saved` one; `state` is one of the same setup.

        `weights_MKJ` are those of every step since the last update.
        """
        del weights_MKJ
        own: Any = state
        loaded = {
            key: saved[x.name].to(getattr(own, key), copy=True)
            for key, x in Saved.fields(self.state_type).items()
            if x.name in saved
        }
        return replace(own, **loaded)

    def labels(self, core: RecurrentCore) -> dict[str, Tensor]:
        """For each saved tensor whose last axis depends on the mask, what stands there, as int64.

        A label, such as `Layout.flat_P` for a parameter, means the same under every mask.
        """
        declared = Saved.fields(self.state_type).values()
        return {x.name: core.layout.flat_P for x in declared if x.parameters}

    @abstractmethod
    def cost(self, core: RecurrentCore, horizon: int) -> Cost:
        """What a step costs; `horizon` is the number of steps between updates."""

    @abstractmethod
    def storage(self, sizes: Sizes, backend: ModuleType | None) -> Storage:
        """What the rule needs on the torch engine with an influence backend; None: on the C++ one.

        Its sizes in bytes, from counts alone: nothing is allocated.
        """


def native_traces(sizes: Sizes) -> int:
    """Bytes of a trace of every parameter in C++, where a single lane is stored without padding."""
    return sizes.traces * (1 if sizes.lanes == 1 else sizes.padded) * sizes.itemsize


@dataclass(frozen=True)
class Counts:
    """The sizes from which costs are counted: live weights and structurally nonzero slopes."""

    parameters: int  # P
    weights: int  # of them recurrent or input: the multiply-adds of a forward step
    recurrent: int
    states: int  # S
    slopes: int  # structurally nonzero ∂s'/∂a of all units
    blocks: int  # structurally nonzero ∂s'/∂s of all units
    sources: int  # k + a + 1

    @classmethod
    def of(cls, core: RecurrentCore) -> "Counts":
        """The counts of a core."""
        live_MKJ, units = core.layout.live_MKJ, core.units
        return cls(
            parameters=core.layout.size,
            weights=int(live_MKJ[:, :, :-1].sum()),
            recurrent=int(live_MKJ[:, :, :units].sum()),
            states=core.states,
            slopes=units * sum(map(sum, core.cell.slope_pattern)),
            blocks=units * sum(map(sum, core.cell.state_pattern)),
            sources=live_MKJ.shape[2],
        )
