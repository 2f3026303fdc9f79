"""A random problem in float64: a core, data with gaps and resets, a linear softmax readout.

Shape suffixes: T steps, B lanes, A inputs, K units, O outputs, P live parameters.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import ModuleType

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from snaprun.cells import Cell
from snaprun.core import Attention, Bank, Linearise, RecurrentCore, Reminder
from snaprun.influence import choose
from snaprun.rules import Setup
from snaprun.rules.over_steps import Step
from snaprun.sparsity import Sparsity

NO_TARGET = -100  # the `ignore_index` of torch's cross_entropy


@dataclass(frozen=True)
class Problem:
    """Weights, a readout, and sequences with steps without a target and mid-sequence resets.

    It is a rules.replay.Forward.
    """

    core: RecurrentCore
    theta_P: Tensor
    readout_OK: Tensor
    inputs_TBA: Tensor
    targets_TB: Tensor  # NO_TARGET where there is none
    resets_TB: Tensor
    attention: Attention | None = None  # of a core with a reminder, whose readout sees [h; s]

    @classmethod
    def draw(
        cls,
        cell: Cell,
        sparsity: Sparsity,
        *,
        units: int | Sequence[int],
        inputs: int,
        outputs: int,
        lanes: int,
        steps: int,
        seed: int,
        device: torch.device | str = "cpu",
        reminder: Reminder | None = None,
    ) -> "Problem":
        """Draw a problem, on the CPU, so that it is the same on every device.

        All lanes begin a sequence at step 0, and every second lane begins another one in the
        middle. Step 1 has no target in any lane; every other step but the last lacks the target in
        about a quarter of the lanes. The core has the `reminder` if it is given.
        """
        generator = Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        core = RecurrentCore.build(cell, sparsity, units, inputs, generator)
        theta_P = core.initial_parameters(generator, torch.float64)
        theta_P += 0.3 * normal(core.layout.size)  # biases are not zero either
        targets_TB = torch.randint(0, outputs, (steps, lanes), generator=generator)
        targets_TB[torch.rand(steps, lanes, generator=generator) < 0.25] = NO_TARGET
        targets_TB[1 : steps - 1][:1] = NO_TARGET
        targets_TB[-1] = torch.randint(0, outputs, (lanes,), generator=generator)
        resets_TB = torch.zeros(steps, lanes, dtype=torch.bool)
        resets_TB[0] = True
        resets_TB[steps // 2, ::2] = True
        top = core.layout.layers[-1]
        problem = cls(
            core=core.to(device),
            theta_P=theta_P.to(device),
            readout_OK=normal(outputs, top).to(device),
            inputs_TBA=normal(steps, lanes, inputs).to(device),
            targets_TB=targets_TB.to(device),
            resets_TB=resets_TB.to(device),
        )
        if reminder is None:
            return problem
        of_summary_OK = normal(outputs, top).to(device)
        return replace(
            problem,
            core=replace(problem.core, reminder=reminder),
            readout_OK=torch.cat((problem.readout_OK, of_summary_OK), 1),
            attention=Attention(
                *((normal(*shape) / top**0.5).to(device) for shape in reminder.shapes(top))
            ),
        )

    @property
    def plain(self) -> "Problem":
        """The problem without the reminder."""
        core = replace(self.core, reminder=None)
        readout_OK = self.readout_OK[:, : core.layout.layers[-1]]
        return replace(self, core=core, readout_OK=readout_OK, attention=None)

    def bank(self) -> Bank | None:
        """Return the memories before the first step, or None if the core has no reminder."""
        if self.core.reminder is None or self.attention is None:
            return None
        return self.core.reminder.bank(self.attention, self.lanes)

    @property
    def steps(self) -> int:
        """The number of steps, T."""
        return self.inputs_TBA.shape[0]

    @property
    def lanes(self) -> int:
        """The number of lanes, B."""
        return self.inputs_TBA.shape[1]

    def repeated(self, times: int) -> "Problem":
        """Return the problem with every lane repeated `times` times."""
        return replace(
            self,
            inputs_TBA=self.inputs_TBA.repeat(1, times, 1),
            targets_TB=self.targets_TB.repeat(1, times),
            resets_TB=self.resets_TB.repeat(1, times),
        )

    def part(self, steps: slice) -> "Problem":
        """Return the problem of these steps alone."""
        return replace(
            self,
            inputs_TBA=self.inputs_TBA[steps],
            targets_TB=self.targets_TB[steps],
            resets_TB=self.resets_TB[steps],
        )

    def setup(self, noise: Generator, backend: ModuleType | None = None) -> Setup:
        """Return what a rule needs to start on this problem, by default on the fastest backend."""
        outputs, backend = len(self.readout_OK), backend or choose("auto", self.core.device.type)
        return Setup(self.core, self.lanes, torch.float64, outputs, noise, backend)

    def records(self) -> Iterator[Step]:
        """Yield the steps as the training loop hands them to a rule, under fixed weights."""
        weights_MKJ = self.core.layout.scatter(self.theta_P)
        state_BCK, bank = self.core.initial_state(self.lanes, torch.float64), self.bank()
        for t, (resets_B, x_BA) in enumerate(zip(self.resets_TB, self.inputs_TBA, strict=True)):
            state_BCK = state_BCK.masked_fill(resets_B[:, None, None], 0)
            bank = bank and bank.reset(resets_B)
            state_BCK, bank, linearise = self.core.advance(weights_MKJ, state_BCK, bank, x_BA)
            record, error_BO = linearise(), self._error(t, self.core.seen(state_BCK, bank))
            if error_BO is not None:
                record = record.with_credit(error_BO @ self.readout_OK, error_BO)
            yield resets_B, record

    def begins(self, t: int) -> Tensor | None:
        """Return the lanes (B,) in which a sequence begins before step t."""
        return self.resets_TB[t]

    def step(self, t: int, state_BCK: Tensor) -> tuple[Tensor, Linearise]:
        """Return step t from the state before it."""
        state_BCK = state_BCK.masked_fill(self.resets_TB[t][:, None, None], 0)
        weights_MKJ = self.core.layout.scatter(self.theta_P)
        return self.core.step(weights_MKJ, state_BCK, self.inputs_TBA[t])

    def credit(self, t: int, state_BCK: Tensor) -> Tensor | None:
        """Return δ_t = (∂L/∂logits) W, shape (B, k), from the state after step t."""
        error_BO = self._error(t, self.core.output(state_BCK))
        return None if error_BO is None else error_BO @ self.readout_OK

    def _error(self, t: int, seen: Tensor) -> Tensor | None:
        """Return the error ∂L/∂logits of the cross-entropy; None without a target."""
        targets_B = self.targets_TB[t]
        if not (targets_B != NO_TARGET).any():
            return None
        logits_BO = (seen @ self.readout_OK.T).requires_grad_()
        total = F.cross_entropy(logits_BO, targets_B, ignore_index=NO_TARGET, reduction="sum")
        return torch.autograd.grad(total, logits_BO)[0]
