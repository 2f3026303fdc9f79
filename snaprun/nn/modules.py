"""The modules of torch.nn, learning online."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from snaprun.nn import forms
from snaprun.nn.recurrent import Recurrent
from snaprun.rules import LearningRule


class RNN(Recurrent):
    """A tanh network that learns online; with `alpha` < 1 it leaks, h' = (1-α) h + α tanh(a).

    `others` are the arguments of `snaprun.nn.Recurrent`, which says how it is called.

    >>> import snaprun
    >>> rnn = snaprun.nn.RNN(3, 8, rule="rtrl", sparsity=0, alpha=0.5)
    >>> rnn.theta_l0.shape, rnn.mask_l0.shape
    (torch.Size([96]), torch.Size([1, 8, 12]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
        *,
        alpha: float = 1.0,
        **others: Any,
    ):
        args = {"alpha": alpha}
        super().__init__(
            input_size, hidden_size, num_layers, cell="vanilla", cell_args=args, **others
        )


class GRU(Recurrent):
    """The gated recurrent unit of `torch.nn.GRU`, which learns online.

    `others` are the arguments of `snaprun.nn.Recurrent`, which says how it is called.

    >>> import torch
    >>> import snaprun
    >>> rnn, head = snaprun.nn.GRU(3, 16, rule="snap1", sparsity=0.75), torch.nn.Linear(16, 1)
    >>> optimiser = torch.optim.Adam([*rnn.parameters(), *head.parameters()], lr=0.01)
    >>> state = rnn.initial_state(2)
    >>> for _ in range(10):
    ...     h, state = rnn(torch.randn(2, 3), state)
    ...     head(h).square().mean().backward()
    ...     optimiser.step()
    ...     optimiser.zero_grad()
    >>> rnn
    GRU(3, [16], rule=snap1, live=292)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
        **others: Any,
    ):
        super().__init__(input_size, hidden_size, num_layers, cell="gru", **others)


class LSTM(Recurrent):
    """The long short-term memory of `torch.nn.LSTM`, which learns online.

    `others` are the arguments of `snaprun.nn.Recurrent`, which says how it is called. A forget
    bias begins at 1.

    >>> import snaprun
    >>> snaprun.nn.LSTM(3, 16, num_layers=2, rule="uoro", sparsity=0.75)
    LSTM(3, [16, 16], rule=uoro, live=944)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
        **others: Any,
    ):
        super().__init__(input_size, hidden_size, num_layers, cell="lstm", **others)


def from_torch(
    module: nn.RNNBase,
    rule: str | LearningRule[Any] = "snap1",
    rule_args: Mapping[str, Any] | None = None,
    seed: int = 0,
    influence: str = "auto",
) -> Recurrent:
    """Return a module that learns online, with a copy of the weights of a module of torch.nn.

    Weights that are exactly zero, such as those of `torch.nn.utils.prune`, are dead: they stay
    zero. The bias of a slot is the sum of torch's two, and `seed` is that of the rule's noise.
    Raises ValueError for a module that is no tanh RNN, GRU or LSTM of one direction with biases.

    >>> import torch
    >>> import snaprun
    >>> theirs = torch.nn.GRU(3, 5, num_layers=2)
    >>> ours = snaprun.nn.from_torch(theirs, rule="rtrl")
    >>> torch.equal(ours.to_torch().weight_hh_l1, theirs.weight_hh_l1)
    True
    """
    named = {ours.__name__: ours for ours in (RNN, GRU, LSTM)}  # as torch names its own
    kind = named[forms.kind_of(module)]
    example = forms.values(module, "weight_hh_l0")
    ours = kind(
        module.input_size,
        module.hidden_size,
        module.num_layers,
        rule=rule,
        rule_args=rule_args,
        sparsity=0,
        seed=seed,
        dtype=example.dtype,
        device=example.device,
        influence=influence,
    )
    ours.load_state_dict(forms.live_weights(ours.cell, module))
    return ours
