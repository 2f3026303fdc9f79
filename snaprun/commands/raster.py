"""snaprun plot kind=raster draws what a spiking network of a run does over one sequence."""

from pathlib import Path

import torch
from torch.nn import functional as F

from snaprun import checks, config, figures
from snaprun.cells.alif import ALIF
from snaprun.commands.trained import configured, restoring
from snaprun.figures import words
from snaprun.figures.spikes import Recording
from snaprun.listing import flat
from snaprun.model.network import Network
from snaprun.run import checkpoint
from snaprun.tasks import TASKS, Batch


def draw(out: Path | None, run: str | None) -> list[Path]:
    """Draw the first held-out sequence of the run in the folder `run`; return the files written.

    Raises UserError if there is no such run, or if its cell does not spike.
    """
    if run is None:
        checks.refuse("run", None, "the folder of a run with kind=raster", "Set run=FOLDER.")
    folder, plain = configured(run)
    task = config.construct("task", TASKS, plain)
    network = checkpoint.load_network(folder, restoring(plain, loss=task.loss))
    cell = network.core.cell
    if not cell.spikes:
        accepted = "a run of a spiking cell, such as cell=alif"
        checks.refuse("run", str(folder), accepted, f"Its cell is {plain['cell']['name']}.")
    batches = task.validation(1)
    if batches is None:
        checks.refuse("run", str(folder), "a run whose task holds out data")
    choices = flat(plain)
    title = f"{words.network(choices).text}, {words.rule(choices).text}, {plain['task']['name']}"
    made = recorded(network, next(iter(batches)), title)
    return figures.raster(made, out or folder / "figures")


def recorded(network: Network, batch: Batch, title: str) -> Recording:
    """Return what lane 0 of a batch does in a network with frozen weights."""
    core, readout, cell = network.core, network.readout, network.core.cell
    lanes, weights_MKJ = batch.mask.shape[1], network.weights()
    state_BCK = core.initial_state(lanes, network.dtype)
    states, outputs = [], []
    for resets_B, x in zip(batch.resets, batch.inputs, strict=True):
        state_BCK = state_BCK.masked_fill(resets_B[:, None, None], 0)
        state_BCK, _ = core.step(weights_MKJ, state_BCK, x)
        states.append(state_BCK[0])
        outputs.append(readout.outputs(core.output(state_BCK))[0])
    state_TCK, outputs_TO = torch.stack(states).double(), torch.stack(outputs).double()
    inputs_TI, classes = batch.inputs[:, 0], readout.loss.classes
    if inputs_TI.dim() == 1:
        inputs_TI = F.one_hot(inputs_TI, core.inputs)
    targets_T = batch.targets[:, 0] if classes else batch.targets[:, 0, 0]
    adapted, adaptive_K = None, torch.zeros(core.units, dtype=torch.bool)
    if isinstance(cell, ALIF):
        adapted = state_TCK[:, cell.parts.index("b")].numpy()
        adaptive_K = torch.cat([cell.beta_of(units) for units in core.layout.layers]) > 0
    return Recording(
        title,
        inputs_TI.double().numpy(),
        state_TCK[:, 0].numpy(),
        adapted,
        adaptive_K.numpy(),
        core.layout.layers,
        (outputs_TO.softmax(1) if classes else outputs_TO).numpy(),
        targets_T.double().numpy(),
        batch.mask[:, 0].numpy(),
        classes,
    )
