"""A recurrent core with its parameters, and a readout on top."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from snaprun.cells import Cell
from snaprun.core import RecurrentCore
from snaprun.losses import Loss
from snaprun.model.readout import Readout
from snaprun.require import require_entries, require_like
from snaprun.seeding import stream
from snaprun.sparsity import Layout, Sparsity


@dataclass(frozen=True)
class Architecture:
    """What a network is, apart from its task and its seed."""

    cell: Cell
    units: int
    sparsity: Sparsity
    hidden: int  # of the readout; 0: linear

    def build(
        self,
        inputs: int,
        outputs: int,
        seed: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        loss: Loss | None = None,
    ) -> "Network":
        """A network drawn from the streams `mask` and `init` of `seed`; by default of classes."""
        core = RecurrentCore.build(
            self.cell, self.sparsity, self.units, inputs, stream(seed, "mask")
        ).to(device)
        init = stream(seed, "init")
        theta = Parameter(core.initial_parameters(init, dtype), False)
        readout = Readout(self.units, outputs, self.hidden, init, dtype, loss).to(device)
        return Network(core, theta, readout)


@dataclass
class Network:
    """θ (P,) of the core's live weights, and the readout's parameters."""

    core: RecurrentCore
    theta: Parameter
    readout: Readout

    @property
    def parameters(self) -> list[Parameter]:
        """θ and the readout's, in the optimiser's order."""
        return [self.theta, *self.readout.parameters]

    @property
    def dtype(self) -> torch.dtype:
        """Of parameters and state."""
        return self.theta.dtype

    def at(self, parameters: Sequence[Tensor]) -> "Network":
        """The same network with other values of `parameters`, which are not copied."""
        theta, *readout = (Parameter(p, False) for p in parameters)
        return Network(self.core, theta, self.readout.at(readout))

    def weights(self) -> Tensor:
        """The dense weights (m, k, J) of θ."""
        return self.core.layout.scatter(self.theta.detach())

    def prune(self, live_MKJ: Tensor) -> None:
        """Keep some of the live weights, every bias among them; ValueError for another mask."""
        own_MKJ = self.core.layout.live_MKJ
        live_MKJ = live_MKJ.to(own_MKJ)
        if live_MKJ.shape != own_MKJ.shape:
            raise ValueError(f"the mask has the shape {live_MKJ.shape}, not {own_MKJ.shape}")
        if (live_MKJ & ~own_MKJ).any() or not live_MKJ[:, :, -1].all():
            raise ValueError("the mask is no part of the one that the network has, or lacks biases")
        if not live_MKJ.equal(own_MKJ):
            layout = Layout.of(live_MKJ)
            self.theta = Parameter(layout.gather(self.weights()), False)
            self.core = replace(self.core, layout=layout)

    def state_dict(self) -> dict[str, Tensor]:
        """Mask and parameters."""
        named = {f"readout.{i}": p.detach() for i, p in enumerate(self.readout.parameters)}
        return {"live": self.core.layout.live_MKJ, "theta": self.theta.detach(), **named}

    def load_state_dict(self, saved: Any) -> None:
        """Mask and parameters from `state_dict`, whose mask must be a part of this one."""
        own = self.state_dict()
        require_entries("network", saved, own)
        require_like("network.live", saved["live"], own["live"])
        self.prune(saved["live"])
        own = self.state_dict()
        require_like("network", saved, own)
        for name, value in own.items():
            value.copy_(saved[name])
