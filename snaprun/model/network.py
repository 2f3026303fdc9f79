"""A network is a recurrent core with its parameters, and a readout on top of the core."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from snaprun import checks
from snaprun.cells import Cell
from snaprun.core import Attention, Bank, RecurrentCore, Reminder
from snaprun.losses import Loss
from snaprun.model.readout import Readout
from snaprun.require import mismatch, require_entries, require_like
from snaprun.seeding import stream
from snaprun.sparsity import Layout, Sparsity

MOST_LAYERS = 64


def stacked(
    units: int | Sequence[int], layers: int = 1, names: tuple[str, str] = ("units", "layers")
) -> int | list[int]:
    """Return the units of a core: one number, or that of each layer of a stack from the input up.

    `units` is a number for each of `layers` layers, or a list with one number a layer; `names` are
    those of both in messages. Raises UserError if they do not fit each other.

    >>> stacked(128), stacked(128, layers=2), stacked([256, 128])
    (128, [128, 128], [256, 128])
    """
    of_units, of_layers = names
    checks.at_least(of_layers, layers, 1, MOST_LAYERS)
    several = list(units) if isinstance(units, Sequence) else [units] * layers
    whole = several and all(type(count) is int and count >= 1 for count in several)
    if not whole or len(several) > MOST_LAYERS:
        checks.refuse(of_units, units, f"an integer ≥ 1, or a list of at most {MOST_LAYERS} such")
    if layers not in (1, len(several)):
        accepted = f"{len(several)}, the number of {of_units}={units}, or 1"
        checks.refuse(of_layers, layers, accepted)
    return several if len(several) > 1 else several[0]


@dataclass(frozen=True)
class Architecture:
    """The choices that define a network, apart from its task and its seed."""

    cell: Cell
    units: int | Sequence[int]  # several: of the layers of a stack, from the input up
    sparsity: Sparsity
    hidden: int  # units in the readout's hidden layer; 0: the readout is linear
    reminder: Reminder | None = None  # as the learning rule wants it

    @property
    def layers(self) -> tuple[int, ...]:
        """The units of each layer, from the input up."""
        return (self.units,) if isinstance(self.units, int) else tuple(self.units)

    @property
    def choice(self) -> str:
        """The units as a configuration has them: `cell.units=128, cell.layers=2`."""
        first, *others = self.layers
        if not others:
            return f"cell.units={first}"
        if set(others) == {first}:
            return f"cell.units={first}, cell.layers={len(self.layers)}"
        return f"cell.units={list(self.layers)}"

    def build(
        self,
        inputs: int,
        outputs: int,
        seed: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        loss: Loss | None = None,
    ) -> "Network":
        """Draw a network from the streams `mask` and `init` of `seed`.

        `inputs` and `outputs` are numbers of features; the default loss is softmax cross-entropy.

        >>> from snaprun.cells import GRU
        >>> from snaprun.sparsity import Dense
        >>> network = Architecture(GRU(), 8, Dense(), hidden=16).build(4, 2, seed=0)
        >>> [tuple(p.shape) for p in network.parameters]  # θ, then the readout's two layers
        [(320,), (16, 8), (16,), (2, 16), (2,)]
        """
        core = RecurrentCore.build(
            self.cell, self.sparsity, self.units, inputs, stream(seed, "mask")
        ).to(device)
        init = stream(seed, "init")
        theta = Parameter(core.initial_parameters(init, dtype), False)
        top, reminder = core.layout.layers[-1], self.reminder
        seen = top if reminder is None else 2 * top
        readout = Readout(seen, outputs, self.hidden, init, dtype, loss).to(device)
        if reminder is None:
            return Network(core, theta, readout)
        attention = reminder.draw(top, init, dtype, device)  # last: it moves no other value
        core = replace(core, reminder=reminder)
        return Network(core, theta, readout, [Parameter(p, False) for p in attention])

    def restored(
        self,
        saved: Any,
        seed: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        loss: Loss | None = None,
    ) -> "Network":
        """Return the network of `seed` whose `state_dict` is `saved`, with the widths found there.

        The default loss is softmax cross-entropy. Raises ValueError if `saved` does not fit.
        """
        layers = [self.units] if isinstance(self.units, int) else self.units
        try:
            sources = saved["live"].shape[2]  # [h; x; h of all layers but the last; 1]
            outputs = len(saved["readout.3" if self.hidden else "readout.1"])
        except (LookupError, TypeError, AttributeError):
            mismatch("network", "a mask and a readout", "neither")
        inputs = sources - 1 - 2 * sum(layers) + layers[-1]
        if inputs < 1 or outputs < 1:
            mismatch("network", "inputs and outputs", f"{inputs} and {outputs}")
        network = self.build(inputs, outputs, seed, dtype, device, loss)
        network.load_state_dict(saved, self.sparsity.rewires)
        return network


@dataclass
class Network:
    """A recurrent core, its live weights θ (P,), a readout, and the attention of a reminder."""

    core: RecurrentCore
    theta: Parameter
    readout: Readout
    attention: list[Parameter] = field(default_factory=list)  # W₁, W₂, w₃, or nothing

    @property
    def parameters(self) -> list[Parameter]:
        """θ, the readout's and the attention's: the order in which the optimiser holds them."""
        return [self.theta, *self.readout.parameters, *self.attention]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of parameters and state."""
        return self.theta.dtype

    @property
    def finite(self) -> bool:
        """Whether all parameters are finite."""
        # A sum takes a tenth of the time, but a sum of finite numbers may overflow.
        return all(
            math.isfinite(p.sum().item()) or bool(p.isfinite().all()) for p in self.parameters
        )

    def at(self, parameters: Sequence[Tensor]) -> "Network":
        """Return the same network with the values `parameters`, which are not copied."""
        theta, *others = (Parameter(p, False) for p in parameters)
        read = len(self.readout.parameters)
        return Network(self.core, theta, self.readout.at(others[:read]), others[read:])

    def bank(self, lanes: int) -> Bank | None:
        """Return the memories before the first step, or None if the core has no reminder.

        The bank follows the values of the attention's parameters.
        """
        if self.core.reminder is None:
            return None
        return self.core.reminder.bank(Attention(*self.attention), lanes)

    def weights(self) -> Tensor:
        """Return θ as dense weights (m, k, J), zero where a weight is dead."""
        return self.core.layout.scatter(self.theta.detach())

    def pruned(self, of: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Return the mask whose layers are `of` the mask and the dense weights of each layer."""
        return self.core.layout.each(of, self.core.layout.live_MKJ, self.weights())

    def prune(self, live_MKJ: Tensor) -> None:
        """Keep only the weights of `live_MKJ`, a subset of the live weights with every bias.

        Raises ValueError for any other mask.
        """
        own_MKJ = self.core.layout.live_MKJ
        live_MKJ = live_MKJ.to(own_MKJ)
        if live_MKJ.shape != own_MKJ.shape:
            raise ValueError(f"the mask has the shape {live_MKJ.shape}, not {own_MKJ.shape}")
        if (live_MKJ & ~own_MKJ).any() or not live_MKJ[:, :, -1].equal(own_MKJ[:, :, -1]):
            raise ValueError("the mask is no part of the one that the network has, or lacks biases")
        if not live_MKJ.equal(own_MKJ):
            layout = Layout.of(live_MKJ, self.core.layout.layers)
            self.theta = Parameter(layout.gather(self.weights()), False)
            self.core = replace(self.core, layout=layout)

    def remask(self, live_MKJ: Tensor, weights_MKJ: Tensor) -> None:
        """Take another mask of the entries that the cell has, and the dense weights for it.

        Raises ValueError for any other mask, or if a bias is missing.
        """
        own_MKJ = self.core.layout.live_MKJ
        require_like("network.live", live_MKJ, own_MKJ)
        possible_MKJ = self.core.possible
        dead = live_MKJ & ~possible_MKJ
        if dead.any() or not live_MKJ[:, :, -1].equal(possible_MKJ[:, :, -1]):
            raise ValueError(
                "network.live mismatch: a mask of entries that the cell does not have."
            )
        layout = Layout.of(live_MKJ, self.core.layout.layers)
        self.theta = Parameter(layout.gather(weights_MKJ), False)
        self.core = replace(self.core, layout=layout)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the mask and the parameters."""
        named = {f"readout.{i}": p.detach() for i, p in enumerate(self.readout.parameters)}
        named |= {f"attention.{i}": p.detach() for i, p in enumerate(self.attention)}
        return {"live": self.core.layout.live_MKJ, "theta": self.theta.detach(), **named}

    def load_state_dict(self, saved: Any, rewires: bool = False) -> None:
        """Take the mask and the parameters of `saved`, a `state_dict`.

        Raises ValueError if `saved` does not fit or its mask is not a subset of this network's; if
        the network `rewires`, any mask fits.
        """
        own = self.state_dict()
        require_entries("network", saved, own)
        require_like("network.live", saved["live"], own["live"])
        if rewires:
            self.remask(saved["live"].to(own["live"]), self.weights())
        else:
            self.prune(saved["live"])
        own = self.state_dict()
        require_like("network", saved, own)
        for name, value in own.items():
            value.copy_(saved[name])
