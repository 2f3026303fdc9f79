"""A recurrent core with its parameters, and a readout on top."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Parameter

from snaprun.cells import Cell
from snaprun.core import RecurrentCore
from snaprun.sparsity import Sparsity
from snaprun.train.readout import Readout
from snaprun.train.seeding import stream


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
    ) -> "Network":
        """A network drawn from the streams `mask` and `init` of `seed`."""
        core = RecurrentCore.build(
            self.cell, self.sparsity, self.units, inputs, stream(seed, "mask")
        ).to(device)
        init = stream(seed, "init")
        theta = Parameter(core.initial_parameters(init, dtype), False)
        readout = Readout(self.units, outputs, self.hidden, init, dtype).to(device)
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

    def weights(self) -> Tensor:
        """The dense weights (m, k, J) of θ."""
        return self.core.layout.scatter(self.theta.detach())

    def state_dict(self) -> dict[str, Tensor]:
        """Mask and parameters."""
        named = {f"readout.{i}": p.detach() for i, p in enumerate(self.readout.parameters)}
        return {"live": self.core.layout.live_MKJ, "theta": self.theta.detach(), **named}

    def load_state_dict(self, saved: dict[str, Tensor]) -> None:
        """Parameters from `state_dict`; the masks must agree."""
        if not saved["live"].equal(self.core.layout.live_MKJ.cpu()):
            raise ValueError("the mask of the saved network differs from the one of its config")
        for name, value in self.state_dict().items():
            value.copy_(saved[name])
