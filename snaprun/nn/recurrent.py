"""Recurrent modules of PyTorch whose gradient is carried forward by a learning rule."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from snaprun import checks
from snaprun.arguments import converted
from snaprun.cells import Cell
from snaprun.core import RecurrentCore
from snaprun.influence import choose
from snaprun.learner.arrays import chosen_lanes
from snaprun.learner.parts import count, read_cell, read_rule, read_sparsity
from snaprun.model.network import stacked
from snaprun.nn import forms
from snaprun.nn.state import ByInput, ByParameters, State, plain
from snaprun.require import mismatch, require_tensor
from snaprun.rule_names import word
from snaprun.rules import RFLO, RULES, LearningRule, Setup
from snaprun.run.machine import DTYPES
from snaprun.seeding import stream
from snaprun.sparsity import Layout, Sparsity


class Recurrent(nn.Module):
    """Steps a recurrent cell, and carries the gradient of its weights forward by a learning rule.

    A call takes one time step. `backward` of a loss on the output h adds the rule's gradient of
    this step to the parameters' `.grad`, and the exact derivative of this step to `x.grad`, so that
    an encoder below learns from it. Call `backward` before the next step, and once. A step without
    `backward` has no target, nor has a step under `torch.no_grad()`. Every step advances the
    influence, in training and in evaluation. The optimiser may step after every time step: the
    influence is carried across its steps, a little stale.

    `hidden_size` is the number of units, of each layer if it is a list. A cell, a rule and a
    sparsity are named as in `snaprun.Learner`, or are objects; every rule is taken that
    carries credit forward (not BPTT and SAB), RFLO with the exact credit. `influence` is the
    backend of the influence matrix.

    The parameters `theta_l0`, `theta_l1`, … hold the live weights of each layer alone, ordered by
    unit, slot and source [h; x; 1]; the buffers `mask_l0`, … say which those are, shape
    (slots, units, sources). `to_torch` returns the dense matrices. A state dict with another mask
    is taken, too; an optimiser and a state are then made anew, and so is a state after `.to`.

    Raises ValueError, in one line, for every mistake.

    >>> import torch
    >>> import snaprun
    >>> from snaprun.cells import Vanilla
    >>> rnn = snaprun.nn.Recurrent(3, [8, 5], cell=Vanilla(alpha=0.5), rule="snap2", sparsity=0)
    >>> state = rnn.initial_state(2)
    >>> h, state = rnn(torch.ones(2, 3), state)
    >>> h.square().sum().backward()
    >>> h.shape, rnn.theta_l0.grad.shape, rnn.theta_l1.grad.shape
    (torch.Size([2, 5]), torch.Size([96]), torch.Size([70]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
        *,
        cell: str | Cell,
        cell_args: Mapping[str, Any] | None = None,
        rule: str | LearningRule[Any] = "snap1",
        rule_args: Mapping[str, Any] | None = None,
        sparsity: float | str | Sparsity = 0.75,
        sparsity_args: Mapping[str, Any] | None = None,
        seed: int = 0,
        dtype: str | torch.dtype = "float32",
        device: str | torch.device = "cpu",
        influence: str = "auto",
    ):
        super().__init__()
        self.input_size = count("input_size", input_size)
        units = converted("hidden_size", hidden_size, int | list | tuple)
        layers = converted("num_layers", num_layers, int)
        units = stacked(units, layers, ("hidden_size", "num_layers"))
        self.cell, self.rule = read_cell(cell, cell_args), _carried(rule, rule_args)
        drawn = read_sparsity(sparsity, sparsity_args)
        if drawn.prunes or drawn.rewires:
            checks.refuse("sparsity", sparsity, "one that stays as it is drawn")
        if self.cell.rate_cost:
            accepted = "0 in a torch module, whose loss is yours"
            checks.refuse("cell_args.rate_cost", self.cell.rate_cost, accepted)
        dtype = DTYPES[checks.one_of("dtype", str(dtype).removeprefix("torch."), list(DTYPES))]
        self.influence, place = influence, _device(device)
        choose(influence, place.type)
        seed = checks.at_least("seed", converted("seed", seed, int), 0, most=2**63 - 1)
        self._noise = stream(seed, "noise")
        with checks.telling_exhaustion(
            lambda: checks.too_large({"hidden_size": hidden_size, "input_size": input_size})
        ):
            mask = stream(seed, "mask")
            core = RecurrentCore.build(self.cell, drawn, units, self.input_size, mask)
            theta_P = core.initial_parameters(stream(seed, "init"), dtype)
        self.num_layers, self.hidden_size = len(core.layout.layers), core.layout.layers[-1]
        masks = core.layout.split(core.layout.live_MKJ)
        thetas = theta_P.split([int(live_MKJ.sum()) for live_MKJ in masks])
        for layer, (live_MKJ, theta) in enumerate(zip(masks, thetas, strict=True)):
            own = Parameter(theta.clone(), self.rule.moves)
            self.register_parameter(f"theta_l{layer}", own)
            self.register_buffer(f"mask_l{layer}", live_MKJ.clone())
        self._core = core
        self.to(place)

    def extra_repr(self) -> str:
        """Return the sizes and the rule."""
        live = sum(theta.numel() for theta in self._thetas)
        sizes = f"{self.input_size}, {list(self._core.layout.layers)}"
        name = RULES.name_of(self.rule) or type(self.rule).__name__
        own = {f"rule.{key}": value for key, value in vars(self.rule).items()}
        return f"{sizes}, rule={word({'rule.name': name, **own})}, live={live}"

    def initial_state(self, batch: int) -> State:
        """Return the state before the first step of `batch` sequences: all memory is zero.

        Where the sequences end, `reset` is quicker than another initial state.
        """
        lanes, theta = count("batch", batch), self._thetas[0]
        checks.one_of("dtype", theta.dtype, list(DTYPES.values()))
        backend = choose(self.influence, theta.device.type)
        with (
            plain(theta.device),
            checks.telling_exhaustion(
                lambda: checks.too_large({"batch": lanes, "rule": type(self.rule).__name__})
            ),
        ):
            s_BCK = self._core.initial_state(lanes, theta.dtype)
            setup = Setup(self._core, lanes, theta.dtype, 0, self._noise, backend)
            return State(self._core, self.rule, s_BCK, self.rule.init(setup))

    def reset(self, state: State, lanes: Any = None) -> State:
        """Return the state with the memory of some lanes zeroed, where sequences begin.

        `lanes` are their numbers, or booleans (batch,); None stands for all lanes.
        """
        self._require_own(state)
        device = state.s_BCK.device
        lanes_B = torch.tensor(chosen_lanes(lanes, state.lanes), device=device)
        with plain(device):
            memory = self.rule.reset(state.spend(), lanes_B)
            s_BCK = state.s_BCK.masked_fill(lanes_B[:, None, None], 0)
            return State(self._core, self.rule, s_BCK, memory)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one time step: return h (batch, units of the uppermost layer) and the next state.

        The input x is (batch, input_size), of the dtype and on the device of the parameters.
        """
        self._require_own(state)
        self._require_input(x, state.lanes)
        thetas, core = self._thetas, self._core
        with plain(x.device):
            memory = state.spend()
            weights_MKJ = core.layout.scatter(torch.cat(thetas))
            s_BCK, linearise = core.step(weights_MKJ, state.s_BCK, x)
            record = linearise()
        following = State(core, self.rule, s_BCK, memory, record)
        h_BK: Any = ByParameters.apply(following, *thetas)
        return ByInput.apply(h_BK, x, record) if x.requires_grad else h_BK, following

    def to_torch(self) -> nn.RNNBase:
        """Return a module of torch.nn with the same weights, a copy; dead weights are zero there.

        Raises ValueError if torch.nn has no such module: layers of several widths, a leak.
        """
        with torch.no_grad():
            return forms.torch_module(self._core, torch.cat(self._thetas))

    @property
    def _thetas(self) -> list[Tensor]:
        return [getattr(self, f"theta_l{layer}") for layer in range(self.num_layers)]

    def _built(self) -> RecurrentCore:
        # Copies, because a later state dict overwrites the buffers.
        masks = [getattr(self, f"mask_l{layer}").clone() for layer in range(self.num_layers)]
        return RecurrentCore(self.cell, Layout.join(masks))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Recurrent":
        """Move or cast all tensors, as Module does; states from before then fit no more."""
        before = self._thetas[0]
        before = before.device, before.dtype
        super()._apply(fn, recurse)
        after = self._thetas[0]
        if before != (after.device, after.dtype):
            self._core = self._built()
        return self

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Take the masks of a state dict first, so that its live weights fit."""
        own = [getattr(self, f"mask_l{layer}") for layer in range(self.num_layers)]
        names = [f"{prefix}theta_l{layer}" for layer in range(self.num_layers)]
        try:
            for layer, (theta, mask_MKJ) in enumerate(zip(self._thetas, own, strict=True)):
                where = f"{prefix}mask_l{layer}"
                live_MKJ, weights = state_dict.get(where, mask_MKJ), state_dict.get(names[layer])
                _require_mask(where, live_MKJ, mask_MKJ, self.cell)
                size = int(live_MKJ.sum())
                taken = theta if weights is None else weights
                require_tensor(names[layer], taken.detach(), taken.dtype, (size,))
        except (ValueError, AttributeError) as error:
            error_msgs.append(str(error))  # torch raises what all modules say
            return
        for name, theta in zip(names, self._thetas, strict=True):
            weights = state_dict.get(name, theta)
            if weights.shape != theta.shape:
                theta.data, theta.grad = theta.new_zeros(weights.shape), None
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        core = self._built()
        if not core.layout.live_MKJ.equal(self._core.layout.live_MKJ):
            self._core = core

    def _require_own(self, state: Any) -> None:
        if not isinstance(state, State) or state.core is not self._core:
            accepted = "one of this module, made after it was last moved, cast or loaded"
            checks.refuse("state", type(state).__name__, accepted)

    def _require_input(self, x: Any, lanes: int) -> None:
        theta, shape = self._thetas[0], (lanes, self.input_size)
        if not isinstance(x, Tensor):
            checks.refuse("x", type(x).__name__, "a Tensor")
        for what in ("device", "dtype"):
            if (found := getattr(x, what)) != (own := getattr(theta, what)):
                checks.refuse(f"x.{what}", found, f"{own}, as of the parameters")
        if x.shape != shape:
            checks.refuse("x.shape", tuple(x.shape), f"{shape}, which is (batch, input_size)")


def _carried(chosen: Any, args: Any) -> LearningRule[Any]:
    """Return the rule; raises UserError unless it carries the credit of h alone forward."""
    rule, _ = read_rule(chosen, args)
    if rule.taped:
        known = [name for name, kind in RULES.items() if not kind.taped]
        remedy = f"{type(rule).__name__} goes back through the past: train a module of torch.nn."
        checks.refuse("rule", chosen, f"a rule that goes forward: {', '.join(known)}", remedy)
    if isinstance(rule, RFLO) and rule.feedback != "readout":
        remedy = "There is no output here whose error random feedback could carry."
        checks.refuse("feedback", rule.feedback, "readout", remedy)
    return rule


def _device(chosen: Any) -> torch.device:
    """Return a device that is there."""
    try:
        return torch.empty(0, device=chosen).device
    except (RuntimeError, AssertionError, TypeError) as error:
        said = str(error).partition("\n")[0].rstrip(".")
        checks.refuse("device", chosen, f"a device of PyTorch that is there (found: {said})")


def _require_mask(where: str, live_MKJ: Any, own_MKJ: Tensor, cell: Cell) -> None:
    """Raise ValueError unless this is a mask of the same sizes that the cell can have."""
    require_tensor(where, live_MKJ, torch.bool, tuple(own_MKJ.shape))
    units = own_MKJ.shape[1]
    for slot, part_KJ in zip(cell.slots, live_MKJ, strict=True):
        of_hidden, of_input = part_KJ[:, :units], part_KJ[:, units:-1]
        lacks = (of_hidden.any() and not slot.recurrent) or (of_input.any() and not slot.input)
        lacks |= bool(of_hidden.diagonal().any()) and not cell.self_connections
        if lacks or (part_KJ[:, -1] != (slot.bias is not None)).any():
            mismatch(where, f"a mask of a {type(cell).__name__}, with all biases", "another")
