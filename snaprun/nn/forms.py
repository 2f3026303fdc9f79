"""The weights of modules of torch.nn, from and to those of a core, equal to the bit.

Shape suffixes: M slots, K units, J = k + a + 1 sources of a layer alone, P live parameters.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from snaprun import checks
from snaprun.cells import GRU, LSTM, Cell, Vanilla
from snaprun.core import RecurrentCore
from snaprun.sparsity import Layout


class Form(NamedTuple):
    """A module of torch.nn, and the slots of our cell behind its gates, in its order.

    Where one slot has the input and the recurrent part of a gate, its bias is the sum of torch's
    two.
    """

    kind: type[nn.RNNBase]
    fed: tuple[int, ...]  # slots with the input weights
    recurrent: tuple[int, ...]  # slots with the recurrent weights


FORMS: dict[type[Cell], Form] = {
    Vanilla: Form(nn.RNN, (0,), (0,)),
    GRU: Form(nn.GRU, (1, 0, 2), (1, 0, 3)),  # r, z, n
    LSTM: Form(nn.LSTM, (0, 1, 2, 3), (0, 1, 2, 3)),  # i, f, g, o
}


def form(core: RecurrentCore) -> Form:
    """Return the form of a core; raises UserError if torch.nn has no such module."""
    cell, widths = core.cell, core.layout.layers
    if core.reminder is not None:
        line = "torch.nn has no attention over memories, as this network has it."
        raise checks.UserError(f"{line} Take a run of another rule.")
    if type(cell) not in FORMS:
        named = ", ".join(kind.__name__ for kind in FORMS)
        checks.refuse("cell", type(cell).__name__, f"{named}, which torch.nn has")
    if isinstance(cell, Vanilla) and cell.alpha < 1:
        checks.refuse("alpha", cell.alpha, "1, because torch.nn.RNN has no leak")
    if len(set(widths)) > 1:
        checks.refuse("units", list(widths), "layers of one width, as in torch.nn")
    return FORMS[type(cell)]


def torch_arguments(core: RecurrentCore) -> dict[str, int]:
    """Return the arguments with which torch.nn builds a module of the size of a core."""
    layers = core.layout.layers
    return {"input_size": core.inputs, "hidden_size": layers[0], "num_layers": len(layers)}


def torch_weights(core: RecurrentCore, theta_P: Tensor) -> dict[str, Tensor]:
    """Return θ as the state dict of a module of torch.nn, zero where a weight is dead.

    Raises UserError if torch.nn has no such module.
    """
    _, fed, recurrent = form(core)
    found: dict[str, Tensor] = {}
    for layer, own_MKJ in enumerate(core.layout.split(core.layout.scatter(theta_P))):
        units = own_MKJ.shape[1]
        bias_MK = own_MKJ[:, :, -1]
        shared = zip(fed, recurrent, strict=True)
        of_hidden = [torch.zeros_like(bias_MK[m]) if m == f else bias_MK[m] for f, m in shared]
        found |= {
            f"weight_ih_l{layer}": torch.cat([own_MKJ[m, :, units:-1] for m in fed]),
            f"weight_hh_l{layer}": torch.cat([own_MKJ[m, :, :units] for m in recurrent]),
            f"bias_ih_l{layer}": torch.cat([bias_MK[m] for m in fed]),
            f"bias_hh_l{layer}": torch.cat(of_hidden),
        }
    return found


def torch_module(core: RecurrentCore, theta_P: Tensor) -> nn.RNNBase:
    """Return θ as a module of torch.nn; raises UserError if torch.nn has no such module."""
    kind: Any = form(core).kind  # whose constructor differs from that of RNNBase
    made = kind(**torch_arguments(core), device="meta", dtype=theta_P.dtype)
    made.load_state_dict(torch_weights(core, theta_P), assign=True)
    return made


def live_weights(cell: Cell, module: nn.RNNBase) -> dict[str, Tensor]:
    """Return the mask and θ of each layer of a module of torch.nn; an exact zero is dead."""
    _, fed, recurrent = FORMS[type(cell)]
    found: dict[str, Tensor] = {}
    for layer in range(module.num_layers):
        of_input, of_hidden, bias, more = (
            values(module, f"{name}_l{layer}").chunk(len(fed))
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        units, inputs = of_input[0].shape
        own_MKJ = of_input[0].new_zeros(len(cell.slots), units, units + inputs + 1)
        for gate, (f, m) in enumerate(zip(fed, recurrent, strict=True)):
            own_MKJ[f, :, units:-1], own_MKJ[m, :, :units] = of_input[gate], of_hidden[gate]
            own_MKJ[f, :, -1] += bias[gate]
            own_MKJ[m, :, -1] += more[gate]
        live_MKJ = own_MKJ != 0
        live_MKJ[:, :, -1] = True
        found |= {
            f"mask_l{layer}": live_MKJ,
            f"theta_l{layer}": Layout.of(live_MKJ).gather(own_MKJ),
        }
    return found


def kind_of(module: nn.Module) -> str:
    """Return RNN, GRU or LSTM; raises UserError unless our cells compute what `module` computes."""
    kinds = [form.kind for form in FORMS.values()]
    kind = next((kind for kind in kinds if isinstance(module, kind)), None)
    if kind is None:
        named = ", ".join(f"torch.nn.{kind.__name__}" for kind in kinds)
        checks.refuse("module", type(module).__name__, f"one of {named}")
    accepted = {
        "bias": True,
        "bidirectional": False,
        "proj_size": 0,
        "dropout": 0.0,
        "nonlinearity": "tanh",
    }
    for name, value in accepted.items():
        if (found := getattr(module, name, value)) != value:
            checks.refuse(name, found, f"{value}, because no other can be converted")
    return kind.__name__


def values(module: nn.Module, name: str) -> Tensor:
    """Return the values of a parameter; those of a pruned one as they are, not as last computed."""
    if hasattr(module, f"{name}_orig"):  # of torch.nn.utils.prune
        return (getattr(module, f"{name}_orig") * getattr(module, f"{name}_mask")).detach()
    return getattr(module, name).detach()
