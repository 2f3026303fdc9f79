"""A cell, a loss and a task of one's own, a class each; every rule trains them, and both doors.

Importing this file enters them in snaprun's registries; `conf/` beside it has their keys:

    cd examples
    python own_cell_loss_task.py
    snaprun train --config-dir conf plugins=[own_cell_loss_task] cell=blend task=glitches rule=snap1
    snaprun verify --config-dir conf plugins=[own_cell_loss_task] cell=blend rule=snap1
"""

import sys

import torch

import snaprun
from snaprun.cells import CELLS, Cell, Slot
from snaprun.losses import LOSSES, Loss, NormalisedRootMeanSquaredError
from snaprun.metrics import Metric
from snaprun.tasks import TASKS, Batch, Task


class Blend(Cell):
    """h' = (1-σ(z)) h + σ(z) tanh(n): a gate says how much of a new value replaces the old."""

    slots = (Slot("z", bias=-1.0), Slot("n"))  # two affine maps of the state and the input

    def transition(self, pre_BMK, state_BCK):  # B lanes, M slots, C = 1 components, K units
        gate_BK, new_BK = pre_BMK[:, 0].sigmoid(), pre_BMK[:, 1].tanh()
        return ((1 - gate_BK) * state_BCK[:, 0] + gate_BK * new_BK)[:, None]

    def slopes(self, pre_BMK, state_BCK):
        gate_BK, new_BK = pre_BMK[:, 0].sigmoid(), pre_BMK[:, 1].tanh()
        by_z_BK = gate_BK * (1 - gate_BK) * (new_BK - state_BCK[:, 0])
        by_n_BK = gate_BK * (1 - new_BK.square())
        return torch.stack([by_z_BK, by_n_BK], 1)[:, None], (1 - gate_BK)[:, None, None]


class Huber(Loss):
    """Half a square up to 1, a straight line beyond: far outliers pull no harder than near ones."""

    classes = False  # targets are numbers
    unit = ""
    training = Metric("huber", "Huber loss", "", better=-1, worst=10.0)
    held_out = training.held_out()

    def value(self, outputs_BO, targets, mask_B):
        apart_BO = (outputs_BO - targets).abs()
        inside_BO = apart_BO.clamp(max=1)
        return (inside_BO * (apart_BO - inside_BO / 2)).sum(1) * mask_B

    def value_and_error(self, outputs_BO, targets, mask_B):
        error_BO = (outputs_BO - targets).clamp(-1, 1) * mask_B[:, None]
        return self.value(outputs_BO, targets, mask_B), error_BO


class Glitches(Task):
    """The next values of two sines one unit high; a `share` of all values is off by about 5."""

    inputs = outputs = 2
    one_hot = False  # inputs are numbers
    loss = Huber()
    measures = (NormalisedRootMeanSquaredError(),)

    def __init__(self, length: int = 50, share: float = 0.005):
        self.length, self.share = length, share

    def steps(self):
        return self.length

    def batch(self, lanes, generator):
        phase_B2 = 2 * torch.pi * torch.rand(lanes, 2, generator=generator)
        at_T11 = torch.arange(self.length + 1.0)[:, None, None]
        x_TB2 = torch.sin(at_T11 * torch.tensor([0.5, 0.9]) + phase_B2)
        off_TB2 = torch.rand(x_TB2.shape, generator=generator) < self.share
        x_TB2 += 5 * off_TB2 * torch.randn(x_TB2.shape, generator=generator)
        every_TB = torch.ones(self.length, lanes, dtype=torch.bool)
        first_TB = (torch.arange(self.length) == 0)[:, None].expand_as(every_TB)
        return Batch(x_TB2[:-1], x_TB2[1:], every_TB, first_TB, baseline=x_TB2[:-1])


CELLS["blend"], LOSSES["huber"], TASKS["glitches"] = Blend, Huber, Glitches


def main(batches: int = 60, lanes: int = 8) -> list[float]:
    """Return the mean loss over each batch."""
    task, data, means = Glitches(), torch.Generator().manual_seed(0), []
    learner = snaprun.Learner(2, 2, cell="blend", loss="huber", units=32, lr=3e-3, lanes=lanes)
    for _ in range(batches):
        batch = task.batch(lanes, data)
        learner.reset()
        losses = [learner.step(x, y)[1] for x, y in zip(batch.inputs, batch.targets, strict=True)]
        means.append(float(torch.stack(losses).mean()))
        if len(means) % 10 == 0:
            print(f"after {len(means):3d} batches   Huber loss {sum(means[-10:]) / 10:.3f}")
    return means


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
