"""The baseline that leaves the recurrent parameters as they were drawn."""

from dataclasses import dataclass
from types import ModuleType

from torch import Tensor

from snaprun.core import Record, RecurrentCore, Reminder, Sizes, Storage
from snaprun.rules.base import Cost, Counts, LearningRule, Setup


@dataclass(frozen=True)
class FrozenState:
    """The zero gradient; the rule remembers nothing."""

    zero_P: Tensor


class Frozen(LearningRule[FrozenState]):
    """Never changes the recurrent parameters, g = 0, as in an echo state network (Jaeger 2001).

    Only the readout learns.

    >>> import torch
    >>> from snaprun.cells import Vanilla
    >>> from snaprun.rules import RULES
    >>> from snaprun.sparsity import Dense
    >>> core = RecurrentCore.build(Vanilla(), Dense(), 8, 4, torch.Generator())
    >>> cost = RULES["frozen"]().cost(core, horizon=1)
    >>> cost.state, cost.macs  # keeps nothing, and computes the forward step only
    (0, 96)
    """

    claim = "biased"
    state_type = FrozenState
    moves = False
    _reminder: Reminder | None = None

    @classmethod
    def of(cls, core: RecurrentCore) -> "Frozen":
        """Returns the rule for a core as it is, also with a reminder, for an evaluation of it."""
        made = cls()
        made._reminder = core.reminder
        return made

    @property
    def reminder(self) -> Reminder | None:
        """None in training; the rule adds nothing to a core."""
        return self._reminder

    def init(self, setup: Setup) -> FrozenState:
        """Returns a state with a zero gradient (P,)."""
        size = setup.core.layout.size
        return FrozenState(setup.core.layout.unit_P.new_zeros(size, dtype=setup.dtype))

    def reset(self, state: FrozenState, lanes_B: Tensor) -> FrozenState:
        """Returns the same state."""
        return state

    def step(self, state: FrozenState, record: Record) -> FrozenState:
        """Returns the same state."""
        return state

    def gradient(self, state: FrozenState) -> tuple[Tensor, FrozenState]:
        """Returns zero, shape (P,)."""
        return state.zero_P.clone(), state

    def cost(self, core: RecurrentCore, horizon: int) -> Cost:
        """Counts the forward step only."""
        return Cost(Counts.of(core).weights, 0, 0, "k + p", "k² + p")

    def storage(self, sizes: Sizes, backend: ModuleType | None) -> Storage:
        """Returns zero bytes: the rule stores nothing."""
        return Storage()
