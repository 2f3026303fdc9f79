"""The packed order of the live recurrent parameters.

Shape suffixes: P live parameters, M slots, K units, J = k + a + 1 sources [h; x; 1].
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Layer(NamedTuple):
    """Where a layer lies among the units, and its inputs among the sources."""

    units: slice  # also of the sources h(t-1) that it sees
    inputs: slice  # the sources x(t) of the first layer, h(t) of the layer below for any other


@dataclass(frozen=True)
class Layout:
    """The place of each entry of θ ∈ R^P: θ holds the live weights, by unit, slot, then source.

    A stack of L layers is one core whose units are those of all layers, from the input up. Its
    sources are [h(t-1); x(t); h¹(t) … h^(L-1)(t); 1], with h(t-1) of all layers. A unit sees h(t-1)
    of its own layer, and x(t) or the h(t) of the layer below, and the bias; no other weight lives.
    The number k of units is that of all layers, and the number of inputs counts h¹(t) … h^(L-1)(t).

    >>> live_MKJ = torch.ones(1, 2, 2 + 3 + 1).bool()  # a slot, 2 units, 3 inputs, biases
    >>> layout = Layout.join([live_MKJ, torch.ones(1, 4, 4 + 2 + 1).bool()])  # and 4 units above
    >>> layout.layers, layout.inputs, layout.live_MKJ.shape[2], layout.size
    ((2, 4), 5, 12, 40)
    >>> [tuple(layer.shape) for layer in layout.split(layout.live_MKJ)]
    [(1, 2, 6), (1, 4, 7)]
    """

    live_MKJ: Tensor  # boolean: the mask
    unit_P: Tensor  # int64
    slot_P: Tensor  # int64
    source_P: Tensor  # int64, into [h; x; 1]
    flat_P: Tensor  # int64, into the flattened dense weights (m·k·J)
    layers: tuple[int, ...]  # units of each layer, from the input up

    @classmethod
    def of(cls, live_MKJ: Tensor, layers: Sequence[int] | None = None) -> "Layout":
        """Returns the layout of a boolean mask (m, k, k + a + 1); by default it has one layer."""
        unit_P, slot_P, source_P = live_MKJ.permute(1, 0, 2).nonzero(as_tuple=True)
        _, units, sources = live_MKJ.shape
        flat_P = (slot_P * units + unit_P) * sources + source_P
        return cls(live_MKJ, unit_P, slot_P, source_P, flat_P, tuple(layers or (units,)))

    @classmethod
    def join(cls, live: Sequence[Tensor]) -> "Layout":
        """Returns the layout of a stack from the mask (m, k, k + a + 1) of each layer alone."""
        layers = tuple(layer.shape[1] for layer in live)
        inputs = live[0].shape[2] - layers[0] - 1
        return cls.of(joined(live, inputs), layers)

    @property
    def size(self) -> int:
        """P, the number of live recurrent parameters (recurrent, input and bias)."""
        return len(self.unit_P)

    @property
    def units(self) -> int:
        """k."""
        return self.live_MKJ.shape[1]

    @property
    def inputs(self) -> int:
        """a, the outputs of lower layers that feed the layers above them included."""
        return self.live_MKJ.shape[2] - self.live_MKJ.shape[1] - 1

    @property
    def places(self) -> list[Layer]:
        """The place of each layer, from the input up."""
        return places(self.layers, self.live_MKJ.shape[2])

    def split(self, dense_MKJ: Tensor) -> list[Tensor]:
        """Returns the part (m, k, k + a + 1) of each layer of a dense array (m, k, J)."""
        if len(self.layers) == 1:
            return [dense_MKJ]
        found = []
        for units, inputs in self.places:
            own = dense_MKJ[:, units]
            found.append(torch.cat((own[:, :, units], own[:, :, inputs], own[:, :, -1:]), 2))
        return found

    def each(self, of: Callable[..., Tensor], *dense: Tensor) -> Tensor:
        """Returns the dense array whose layers are `of` the same layer of some dense arrays."""
        parts = [of(*layers) for layers in zip(*map(self.split, dense), strict=True)]
        return joined(parts, self.inputs - sum(self.layers[:-1]))

    def scatter(self, theta_P: Tensor) -> Tensor:
        """Returns the dense weights (m, k, J) of the packed vector θ; dead weights are zero."""
        dense = theta_P.new_zeros(self.live_MKJ.numel())
        return dense.index_put_((self.flat_P,), theta_P).view(self.live_MKJ.shape)

    def gather(self, dense_MKJ: Tensor) -> Tensor:
        """Returns the packed vector (P,) of a dense array (m, k, J)."""
        return dense_MKJ.flatten()[self.flat_P]

    def to(self, device: torch.device | str) -> "Layout":
        """Returns the same layout on another device."""
        arrays: dict[str, Any] = {name: getattr(self, name) for name in _ARRAYS}
        return replace(self, **{name: array.to(device) for name, array in arrays.items()})


_ARRAYS = [f.name for f in fields(Layout) if f.name != "layers"]


def places(layers: Iterable[int], sources: int) -> list[Layer]:
    """Returns the place of each layer among the units and the J sources of a stack."""
    ends = list(accumulate(layers))
    begins = [0, *ends[:-1]]
    above = sources - 1 - begins[-1]  # where h¹(t) begins
    found = [Layer(slice(0, ends[0]), slice(ends[-1], above))]
    for below, begin, end in zip(begins, begins[1:], ends[1:], strict=False):
        found.append(Layer(slice(begin, end), slice(above + below, above + begin)))
    return found


def joined(parts: Sequence[Tensor], inputs: int) -> Tensor:
    """Returns the dense array (m, k, J) of a stack from that of each layer, zero in between."""
    if len(parts) == 1:
        return parts[0]
    layers = [part.shape[1] for part in parts]
    sources = 2 * sum(layers) - layers[-1] + inputs + 1
    dense_MKJ = parts[0].new_zeros(parts[0].shape[0], sum(layers), sources)
    for part, (units, fed) in zip(parts, places(layers, sources), strict=True):
        own, count = dense_MKJ[:, units], part.shape[1]
        own[:, :, units], own[:, :, fed] = part[:, :, :count], part[:, :, count:-1]
        own[:, :, -1] = part[:, :, -1]
    return dense_MKJ
