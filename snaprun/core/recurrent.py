"""The recurrent core steps any unit-local cell with sparse weights, and linearises the step.

Shape suffixes: B lanes, C state components, M slots, K units, J = k + a + 1 sources [h; x; 1],
S = c·k states (component-major), P live recurrent parameters. Units are those of all layers, and
sources as in snaprun.sparsity.Layout.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from snaprun import checks
from snaprun.cells import Cell
from snaprun.core.reminder import Bank, Recall, Reminder
from snaprun.sparsity import Layer, Layout, Pattern, Sparsity, reachable


@dataclass(frozen=True)
class Record:
    """What a learning rule sees of step t: slopes, sources, weights and credit."""

    src_BJ: Tensor  # [h(t-1); x(t); h(t) of the lower layers; 1]
    dsda_BCMK: Tensor  # ∂s'_u/∂a_mu
    dsds_BCCK: Tensor  # ∂s'_u/∂s_u
    weights_MKJ: Tensor  # dense weights of the forward step
    layers: tuple[Layer, ...]  # from the input up
    credit_BCK: Tensor | None = None  # δ_t = ∂L_t/∂s_t through the readout; None without a target
    error_BO: Tensor | None = None  # ∂L_t/∂logits; None without a target
    recall: Recall | None = None  # of a core with a reminder
    read: int = 0  # the component of the state that the readout sees
    spikes: bool = False  # whether h is a spike

    def with_credit(self, credit_BK: Tensor, error_BO: Tensor | None = None) -> "Record":
        """Returns the step with its credit δ_t and, where there is one, its error ∂L_t/∂logits.

        `credit_BK` is the derivative by what the readout sees: `output` of the uppermost layer, and
        of a core with a reminder [h; s]; δ_t is zero elsewhere.
        """
        recall, top = self.recall, self.layers[-1].units
        if recall is not None:
            credit_BK, of_summary_BK = credit_BK.chunk(2, 1)
            recall = replace(recall, credit_BK=of_summary_BK)
        credit_BCK = torch.zeros_like(self.dsda_BCMK[:, :, 0])
        credit_BCK[:, self.read, top] = credit_BK
        return replace(self, credit_BCK=credit_BCK, error_BO=error_BO, recall=recall)

    def with_cost(self, credit_K: Tensor) -> "Record":
        """Returns the step with a further credit on h, the same in every lane, in all layers."""
        credit_BCK = self.credit_BCK
        if credit_BCK is None:
            credit_BCK = torch.zeros_like(self.dsda_BCMK[:, :, 0])
        credit_BCK = credit_BCK.clone()
        credit_BCK[:, 0] += credit_K
        return replace(self, credit_BCK=credit_BCK)

    @property
    def recurrent_MKK(self) -> Tensor:
        """The recurrent weights U of every slot."""
        return self.weights_MKJ[:, :, : self.weights_MKJ.shape[1]]


@dataclass(frozen=True)
class RecurrentCore:
    """A cell and the layout of its live weights; the weights are passed to each step.

    With a `reminder` the core also attends to memories of its past, which a `Bank` holds beside the
    state; `advance` is then its step.
    """

    cell: Cell
    layout: Layout
    reminder: Reminder | None = None

    @classmethod
    def build(
        cls,
        cell: Cell,
        sparsity: Sparsity,
        units: int | Sequence[int],
        inputs: int,
        generator: Generator,
    ) -> "RecurrentCore":
        """Builds a core of `units` units and `inputs` inputs, its mask drawn from `generator`.

        Several numbers of units are those of the layers of a stack, from the input up.

        >>> from snaprun.cells import GRU
        >>> from snaprun.core import RecurrentCore
        >>> from snaprun.seeding import stream
        >>> from snaprun.sparsity import Uniform
        >>> core = RecurrentCore.build(GRU(), Uniform(0.75), 8, 4, stream(0, "mask"))
        >>> core.states, core.layout.size  # 3·16 recurrent, 3·8 input and 4·8 bias parameters
        (8, 104)
        """
        parts = [(slot.recurrent, slot.input, slot.bias is not None) for slot in cell.slots]
        recurrent, fed, biased = zip(*parts, strict=True)
        masks = []
        for count in (units,) if isinstance(units, int) else units:
            sizes = recurrent, fed, count, inputs
            loops = {"biased_slots": biased, "loops": cell.self_connections}
            masks.append(sparsity.mask(*sizes, generator, **loops))
            inputs = count  # of the next layer
        return cls(cell, Layout.join(masks))

    @property
    def units(self) -> int:
        """k, of all layers."""
        return self.layout.units

    @property
    def inputs(self) -> int:
        """The width of the input x."""
        return self.layout.inputs - sum(self.layout.layers[:-1])

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The place of each layer, from the input up."""
        return tuple(self.layout.places)

    @property
    def states(self) -> int:
        """S = c·k."""
        return self.cell.components * self.units

    def credited(self, passed: bool) -> Tensor:
        """Returns the states that credit meets at the step of a loss, boolean (c, k).

        `passed` says whether the layers above have handed the credit down.
        """
        meets_CK = torch.zeros(self.cell.components, self.units, dtype=torch.bool)
        top = self.layers[-1].units
        meets_CK[self.cell.read, top] = True
        if self.cell.rate_cost:
            meets_CK[0] = True
        if passed:
            meets_CK[0, : top.start] = True
        return meets_CK

    @property
    def device(self) -> torch.device:
        """The device of the index arrays and of the state."""
        return self.layout.live_MKJ.device

    def to(self, device: torch.device | str) -> "RecurrentCore":
        """Returns the same core on another device."""
        return replace(self, layout=self.layout.to(device))

    def pattern(self, n: int | None) -> Pattern:
        """Returns the pattern of SnAp-n for this core; with n=None, the pattern of RTRL.

        SnAp-n counts the steps of a parameter within its own layer and leaves the layers above.
        Raises UserError for a core with a reminder, whose step is not local to units.
        """
        if self.reminder is not None:
            accepted = "a core without a reminder, in whose dynamics each unit is apart"
            checks.refuse("reminder", self.reminder, accepted)
        return reachable(self.layout, self.cell.slope_pattern, self.cell.state_pattern, n)

    def initial_parameters(self, generator: Generator, dtype: torch.dtype) -> Tensor:
        """Draws θ_0 (P,), with weights from N(0, 1/fan-in) and biases at their slot's value.

        Fan-in counts the live weights of a unit's slot, recurrent and input weights separately.
        A weight's normal deviate does not depend on the mask.
        """
        biases = [slot.bias or 0.0 for slot in self.cell.slots]
        bias_M = torch.tensor(biases, dtype=torch.float64)

        def drawn(live_MKJ: Tensor) -> Tensor:
            units, dense_MKJ = live_MKJ.shape[1], _deviates(live_MKJ, generator)
            for part in (slice(0, units), slice(units, live_MKJ.shape[2] - 1)):
                fan_in = live_MKJ[:, :, part].sum(2, keepdim=True).clamp(min=1).double()
                dense_MKJ[:, :, part] /= fan_in.sqrt()
            dense_MKJ[:, :, -1] = bias_M[:, None]
            return dense_MKJ

        layout = self.layout.to("cpu")
        return layout.gather(layout.each(drawn, layout.live_MKJ)).to(self.device, dtype)

    def signs(self, generator: Generator) -> Tensor:
        """Returns the sign of every entry's deviate (m, k, J), as `initial_parameters` draws it."""
        layout = self.layout.to("cpu")
        return layout.each(partial(_deviates, generator=generator), layout.live_MKJ).sign()

    @property
    def possible(self) -> Tensor:
        """The weights and biases that the cell has, live or dead, boolean (m, k, J)."""

        def of_layer(live_MKJ: Tensor) -> Tensor:
            units, possible_MKJ = live_MKJ.shape[1], torch.ones_like(live_MKJ)
            for slot, part_KJ in zip(self.cell.slots, possible_MKJ, strict=True):
                part_KJ[:, :units] &= slot.recurrent
                part_KJ[:, units:-1] &= slot.input
                part_KJ[:, -1] &= slot.bias is not None
                if not self.cell.self_connections:
                    part_KJ[:, :units].fill_diagonal_(False)
            return possible_MKJ

        return self.layout.each(of_layer, self.layout.live_MKJ)

    def initial_state(self, lanes: int, dtype: torch.dtype) -> Tensor:
        """Returns s_0 = 0, shape (B, c, k)."""
        return torch.zeros(lanes, self.cell.components, self.units, dtype=dtype, device=self.device)

    def output(self, state_BCK: Tensor) -> Tensor:
        """Returns what the readout sees of the uppermost layer, h for most cells, shape (B, k)."""
        return state_BCK[:, self.cell.read, self.layers[-1].units]

    def seen(self, state_BCK: Tensor, bank: Bank | None) -> Tensor:
        """Returns what the readout sees: `output`, or with a bank [h; s], shape (B, 2 k)."""
        h_BK = self.output(state_BCK)
        return h_BK if bank is None else torch.cat((h_BK, bank.summary_BK), 1)

    def sources(self, state_BCK: Tensor, x: Tensor) -> Tensor:
        """Returns [h; x; 1], shape (B, J); x is (B, a), or (B,) indices of one-hot inputs.

        The sources h(t) of the lower layers are zero.
        """
        h_BK = state_BCK[:, 0]
        if x.dim() == 1:
            x = F.one_hot(x, self.inputs)
        passed_BK = h_BK.new_zeros(len(h_BK), self.layout.inputs - self.inputs)
        return torch.cat((h_BK, x.to(h_BK.dtype), passed_BK, h_BK.new_ones(len(h_BK), 1)), 1)

    def step(self, weights_MKJ: Tensor, state_BCK: Tensor, x: Tensor) -> tuple[Tensor, "Linearise"]:
        """Returns the next state s(t), and a function that returns the Record of the step.

        `weights_MKJ` are the dense weights, and x is as in `sources`.

        >>> from snaprun.cells import LSTM
        >>> from snaprun.sparsity import Dense
        >>> core = RecurrentCore.build(LSTM(), Dense(), 8, 4, Generator())
        >>> theta_P = core.initial_parameters(Generator().manual_seed(0), torch.float64)
        >>> state_BCK = core.initial_state(2, torch.float64)
        >>> x_B = torch.tensor([0, 3])  # one-hot inputs of two lanes
        >>> state_BCK, linearise = core.step(core.layout.scatter(theta_P), state_BCK, x_B)
        >>> state_BCK.shape, linearise().dsda_BCMK.shape
        (torch.Size([2, 2, 8]), torch.Size([2, 2, 4, 8]))
        """
        src_BJ = self.sources(state_BCK, x)
        pre, after = list[Tensor](), list[Tensor]()
        for below, (units, inputs) in enumerate(self.layers, start=-1):
            if below >= 0:
                src_BJ[:, inputs] = after[below][:, 0]
            own_MKJ = weights_MKJ[:, units]
            # a_mu of equation (1)
            pre.append((src_BJ @ own_MKJ.flatten(0, 1).T).unflatten(1, own_MKJ.shape[:2]))
            after.append(self.cell.transition(pre[-1], state_BCK[:, :, units]))
        pre_BMK, after_BCK = (x[0] if len(x) == 1 else torch.cat(x, 2) for x in (pre, after))

        def linearise() -> Record:
            slopes = [
                self.cell.slopes(pre_BMK[:, :, units], state_BCK[:, :, units])
                for units, _ in self.layers
            ]
            dsda, dsds = (
                x[0] if len(x) == 1 else torch.cat(x, 3) for x in zip(*slopes, strict=True)
            )
            kind = {"read": self.cell.read, "spikes": self.cell.spikes}
            return Record(src_BJ, dsda, dsds, weights_MKJ, self.layers, **kind)

        return after_BCK, linearise

    def advance(
        self, weights_MKJ: Tensor, state_BCK: Tensor, bank: Bank | None, x: Tensor
    ) -> tuple[Tensor, Bank | None, "Linearise"]:
        """Returns what `step` does, with the bank after the step in the middle.

        Where the core has a reminder, h of the uppermost layer is h = ĥ + s, and the record holds
        the recall. Without one the bank is None, and this is `step`.
        """
        state_BCK, linearise = self.step(weights_MKJ, state_BCK, x)
        if self.reminder is None or bank is None:
            return state_BCK, None, linearise
        top = self.layers[-1].units
        h_BK, bank, recall = self.reminder.step(bank, state_BCK[:, 0, top].clone())
        state_BCK = state_BCK.clone()
        state_BCK[:, 0, top] = h_BK
        return state_BCK, bank, lambda: replace(linearise(), recall=recall)


def _deviates(live_MKJ: Tensor, generator: Generator) -> Tensor:
    """Draws a normal deviate of every entry of a mask, live or dead."""
    return torch.randn(live_MKJ.shape, generator=generator, dtype=torch.float64)


Linearise = Callable[[], Record]
