"""The baseline that leaves the recurrent parameters as they were drawn."""

from dataclasses import dataclass
from types import ModuleType

from torch import Tensor

from snaprun.core import Record, RecurrentCore, Sizes, Storage
from snaprun.rules.base import Cost, Counts, LearningRule, Setup


@dataclass(frozen=True)
class FrozenState:
    """Nothing is remembered."""

    zero_P: Tensor


class Frozen(LearningRule[FrozenState]):
    """g = 0: only the readout learns, as in an echo state network (Jaeger 2001)."""

    claim = "biased"
    state_type = FrozenState

    def init(self, setup: Setup) -> FrozenState:
        """A zero gradient (P,)."""
        size = setup.core.layout.size
        return FrozenState(setup.core.layout.unit_P.new_zeros(size, dtype=setup.dtype))

    def reset(self, state: FrozenState, lanes_B: Tensor) -> FrozenState:
        """The same state."""
        del lanes_B
        return state

    def step(self, state: FrozenState, record: Record) -> FrozenState:
        """The same state."""
        del record
        return state

    def gradient(self, state: FrozenState) -> tuple[Tensor, FrozenState]:
        """Zero, shape (P,)."""
        return state.zero_P.clone(), state

    def cost(self, core: RecurrentCore, horizon: int) -> Cost:
        """The forward step alone."""
        del horizon
        return Cost(Counts.of(core).weights, 0, 0, "k + p", "k² + p")

    def storage(self, sizes: Sizes, backend: ModuleType | None) -> Storage:
        """Nothing."""
        del sizes, backend
        return Storage()
