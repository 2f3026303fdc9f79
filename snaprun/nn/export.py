"""A trained network as plain state dicts of torch.nn, with a page that says how to load it."""

from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import torch

from snaprun import files
from snaprun.model.network import Network
from snaprun.nn import forms

WEIGHTS = "The weights are those that were trained, not their average (train.average)."
PAGE = """\
# {file}: the network of the run {run}, as plain state dicts of torch.nn

{weights}

    import torch
    saved = torch.load({file!r}, weights_only=True)
    rnn = torch.nn.{kind}({arguments}, dtype=torch.{dtype}); rnn.load_state_dict(saved["rnn"])
    readout = {readout}.to(torch.{dtype}); readout.load_state_dict(saved["readout"])
    outputs = readout(rnn(x)[0])  # x (steps, lanes, {inputs}); indices as one-hot vectors
"""


def contents(network: Network) -> dict[str, Any]:
    """Return state dicts and the arguments of their modules, as plain numbers and words.

    `rnn_class` names the module of torch.nn that `rnn_arguments` build, and `readout_widths` are
    those of its linear layers, with a ReLU in between. Raises UserError if torch.nn has no such
    module.
    """
    core, theta_P = network.core, network.theta.detach()
    parameters = [p.detach() for p in network.readout.parameters]
    weights = parameters[::2]
    return {
        "rnn_class": forms.form(core).kind.__name__,
        "rnn_arguments": forms.torch_arguments(core),
        "readout_widths": [weights[0].shape[1], *map(len, weights)],
        "dtype": str(network.dtype).removeprefix("torch."),
        "rnn": forms.torch_weights(core, theta_P),
        # In nn.Sequential every second module is a ReLU.
        "readout": {
            f"{layer - layer % 2}.{('weight', 'bias')[layer % 2]}": p
            for layer, p in enumerate(parameters)
        },
    }


def write(path: Path, network: Network, run: str) -> Path:
    """Write `contents` to `path` and a page beside it, whose path is returned; old files go.

    The page names the `run`. Raises UserError if torch.nn has no such module, or the disk refuses.
    """
    said = contents(network)
    widths = said["readout_widths"]
    linear = [f"torch.nn.Linear({a}, {b})" for a, b in pairwise(widths)]
    modules = chain.from_iterable((one, "torch.nn.ReLU()") for one in linear)
    page = PAGE.format(
        file=path.name,
        run=run,
        weights=WEIGHTS,
        kind=said["rnn_class"],
        arguments=", ".join(map(str, said["rnn_arguments"].values())),
        dtype=said["dtype"],
        readout=f"torch.nn.Sequential({', '.join([*modules][:-1])})",
        inputs=network.core.inputs,
    )
    files.make_folder(path.parent)
    with files.atomic(path) as file:
        torch.save(said, file)
    beside = path.with_suffix(".md")
    files.write_atomically(beside, page)
    return beside
