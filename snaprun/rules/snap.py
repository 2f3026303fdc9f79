"""SnAp-n keeps the entries of the influence matrix that a parameter reaches within n steps."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Annotated, Any

import torch
from torch import Tensor

from snaprun import checks
from snaprun.core import Record, RecurrentCore, Sizes, Storage
from snaprun.core.jacobians import passed_down
from snaprun.influence import native
from snaprun.rules.base import (
    Cost,
    Counts,
    LearningRule,
    Saved,
    Setup,
    native_traces,
    passed_macs,
)


@dataclass(frozen=True)
class SnApState:
    """The influence matrix in the backend's storage, and the gradient since the last update."""

    backend: ModuleType
    plan: Any
    J: Any
    gradient_P: Annotated[Tensor, Saved("gradient", parameters=True, kept=False)]


class SnAp(LearningRule[SnApState]):
    """Carries a masked influence matrix forward (Menick et al. 2020, arXiv 2006.07232).

        J_t = M_n ∘ (I_t + D_t J_(t-1)),    g_t = δ_t J_t,    M_n = OR_{m<n} P_D^m P_I   (5)

    Each lane has its own J, which is zero where a sequence begins and is carried across updates.
    With n at least the diameter of the graph SnAp-n equals RTRL. In a stack each layer has a J
    over its own rows, and δ_t is the exact derivative of L_t by its state through the layers above
    at this step: what is dropped is the memory that the layers above keep of it.

    >>> from snaprun.cells import Vanilla
    >>> from snaprun.rules import RULES
    >>> from snaprun.sparsity import Dense
    >>> core = RecurrentCore.build(Vanilla(), Dense(), 8, 4, torch.Generator())
    >>> [RULES["snap"](n=n).cost(core, horizon=1).state for n in (1, 2)]  # entries of J
    [104, 832]
    """

    claim = "masked"
    state_type = SnApState

    def __init__(self, n: int = 1):
        self.n: int | None = checks.at_least("rule.n", n, 1)

    @property
    def lighter(self) -> str:
        """A smaller n, unless n is 1."""
        return "" if self.n == 1 else "a smaller rule.n"

    def init(self, setup: Setup) -> SnApState:
        """Returns J_0 = 0."""
        core = setup.core
        plan = setup.backend.plan(core, core.pattern(self.n))
        J = setup.backend.init(plan, setup.lanes, setup.dtype)
        zero_P = torch.zeros(core.layout.size, dtype=setup.dtype, device=core.device)
        return SnApState(setup.backend, plan, J, zero_P)

    def reset(self, state: SnApState, lanes_B: Tensor) -> SnApState:
        """Sets J to 0 in `lanes_B`."""
        state.backend.reset(state.plan, state.J, lanes_B)
        return state

    def step(self, state: SnApState, record: Record) -> SnApState:
        """Advances J by equation (5), and adds Σ_b δ_b J_b to the gradient."""
        J, gradient_P = state.backend.step(state.plan, state.J, self.credited(record))
        if gradient_P is None:
            return replace(state, J=J)
        return replace(state, J=J, gradient_P=state.gradient_P + gradient_P)

    def credited(self, record: Record) -> Record:
        """Returns the record with the credit that meets J."""
        return passed_down(record)

    def kept(self, state: SnApState) -> Iterable[Tensor]:
        """Returns the tensors of J."""
        return state.backend.tensors(state.J)

    def state_dict(self, state: SnApState) -> dict[str, Any]:
        """Returns J's live entries (B, L), and the gradient since the last update."""
        return {"J": state.backend.entries(state.plan, state.J), **super().state_dict(state)}

    def load_state_dict(
        self, state: SnApState, saved: dict[str, Any], weights_MKJ: Tensor
    ) -> SnApState:
        """Returns the saved state in this backend's storage, whichever backend saved it."""
        state.backend.assign(state.plan, state.J, saved["J"])
        return super().load_state_dict(state, saved, weights_MKJ)

    def labels(self, core: RecurrentCore) -> dict[str, Tensor]:
        """Labels an entry of J by its index in a J that has a column for every dense weight."""
        layout = core.layout.to("cpu")
        row_L, column_L = core.pattern(self.n).entries
        dense_L = row_L * layout.live_MKJ.numel() + layout.flat_P[column_L]
        return {"J": dense_L, **super().labels(core)}

    def cost(self, core: RecurrentCore, horizon: int) -> Cost:
        """Counts the forward step, the entries of D, D J, I and δ J, over live entries only."""
        n, pattern = Counts.of(core), core.pattern(self.n)
        immediate = int((pattern.own_SG.sum(0) * pattern.columns_G).sum())
        credited_S = core.credited(passed=self.n is not None).flatten()
        contraction = int((pattern.reach_SG[credited_S].sum(0) * pattern.columns_G).sum())
        product = self._dynamics_macs(core) + pattern.product_macs
        macs = n.weights + product + immediate + contraction + self._passed_macs(core)
        memory, time = {
            1: ("k + d p", "d (k² + p)"),
            2: ("k + d² k p", "d (k² + d² k² p)"),
        }.get(self.n or 0, ("≤ k + d k p", "≤ d (k² + d k² p)"))
        return Cost(macs, pattern.live, 2 * pattern.live, memory, time, pattern.sparsity)

    def storage(self, sizes: Sizes, backend: ModuleType | None) -> Storage:
        """Counts J in the backend's storage; in C++, SnAp-1 stores traces of every parameter."""
        n, reach = sizes, sizes.reach(self.n)
        # Products of masks in float32 find a pattern, and products in float64 count it.
        search = 16 * reach.states * (reach.blocks + reach.states)
        labels = 64 * reach.entries  # labels of the entries of two J, and which entries stay
        if backend is None and self.n == 1:
            traces = n.traces(n.cell.slope_pattern)
            listed = 8 * traces  # the place of each entry of J among the traces
            saved = n.lanes * (n.components * n.parameters + traces) * n.itemsize
            setup = search + 5 * listed
            kept = native_traces(n, n.cell.slope_pattern)
            return Storage(kept, index=listed, setup=setup, saved=saved, relabelled=labels)
        found = replace((backend or native).storage(reach, n), relabelled=labels)
        if backend is native:  # its plan keeps the Python lists, the lists of θ included
            layout = native.layout_storage(n)
            index = found.index + found.setup + layout.setup
            return replace(found, index=index, setup=search)
        return replace(found, setup=found.setup + search)

    def _passed_macs(self, core: RecurrentCore) -> int:
        """Returns the multiply-adds with which the layers of a stack hand down δ."""
        return passed_macs(core)

    def _dynamics_macs(self, core: RecurrentCore) -> int:
        """Returns the multiply-adds of D's recurrent entries; SnAp-1 needs only the diagonal."""
        recurrent_MKK = core.layout.live_MKJ[:, :, : core.units]
        needed = recurrent_MKK.diagonal(dim1=1, dim2=2) if self.n == 1 else recurrent_MKK.flatten(1)
        slope_CM = torch.tensor(core.cell.slope_pattern)
        return int((slope_CM.sum(0) * needed.sum(1).cpu()).sum())
