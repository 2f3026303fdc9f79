"""SnAp-1 and BPTT in JAX, written as is usual in JAX: dense arrays, `lax.scan`, `jit`.

Needs the extra `peers`. Shape suffixes: T steps, B lanes, C state components, M slots, K units,
A inputs. In the shape of a weight array, M counts only the slots that have such weights.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import torch
from jax import lax

from snaprun.engine.optim import Adam
from snaprun.model.network import Network
from snaprun.tasks import Batch

Tree = Any


class Shape(NamedTuple):
    """The properties of a cell that the equations here depend on."""

    cell: str
    components: int
    recurrent: tuple[int, ...]  # the slots with recurrent weights
    input: tuple[int, ...]
    pattern_CM: tuple[tuple[bool, ...], ...]  # False where ∂s'/∂a is zero for every input


class Trained(NamedTuple):
    """Parameters, Adam's moments, and the number of updates so far."""

    parameters: Tree
    moments: tuple[Tree, Tree]
    updates: jax.Array


def shape(network: Network, name: str) -> Shape:
    """Return the shape of the network's cell, which is called `name`."""
    cell = network.core.cell
    slots = list(enumerate(cell.slots))
    recurrent = tuple(m for m, slot in slots if slot.recurrent)
    inputs = tuple(m for m, slot in slots if slot.input)
    return Shape(name, cell.components, recurrent, inputs, cell.slope_pattern)


def begin(network: Network, of: Shape) -> Trained:
    """Copy the network's weights to JAX: `h` (M, K, K), `x` (M, K, A), `1` (M, K), `readout`."""
    weights_MKJ, units = network.weights(), network.core.units
    parameters = {
        "h": array(weights_MKJ[list(of.recurrent), :, :units]),
        "x": array(weights_MKJ[list(of.input), :, units:-1]),
        "1": array(weights_MKJ[:, :, -1]),
        "readout": [array(parameter) for parameter in network.readout.parameters],
    }
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    return Trained(parameters, (zeros, zeros), jnp.zeros((), int))


def array(tensor: torch.Tensor) -> jax.Array:
    """Copy a tensor to JAX."""
    return jnp.array(tensor.detach().numpy())


def sequence(of: Shape, rule: str, adam: Adam) -> Callable[..., Trained]:
    """Return a compiled function (Trained, inputs_TB, targets_TB) -> Trained.

    The function makes one update along the mean gradient over the lanes and steps of a sequence
    that starts from a zero state. `rule` is `snap1` or `bptt`.
    """
    return jax.jit(partial({"snap1": _snap1, "bptt": _bptt}[rule], of, adam))


def moved(batch: Batch) -> tuple[jax.Array, jax.Array]:
    """Copy inputs and targets (T, B) of a batch with targets everywhere and an initial reset."""
    return array(batch.inputs), array(batch.targets)


def _pre(of: Shape, parameters: Tree, h_BK: jax.Array, x_B: jax.Array) -> list[jax.Array]:
    """Compute a = U h + W x + b, one (B, K) per slot; W x is a column of W, since x is one-hot."""
    recurrent_MBK = jnp.einsum("bj,mkj->mbk", h_BK, parameters["h"])
    input_MBK = parameters["x"][:, :, x_B].swapaxes(1, 2)
    pre_M = [jnp.broadcast_to(bias_K, h_BK.shape) for bias_K in parameters["1"]]
    for slots, parts in ((of.recurrent, recurrent_MBK), (of.input, input_MBK)):
        for m, part_BK in zip(slots, parts, strict=True):
            pre_M[m] = pre_M[m] + part_BK
    return pre_M


def _transition(cell: str, pre: list[jax.Array], state: list[jax.Array]) -> list[jax.Array]:
    """Compute the next state elementwise, one (B, K) per component."""
    sigmoid, tanh = jax.nn.sigmoid, jnp.tanh
    if cell == "vanilla":
        return [tanh(pre[0])]
    if cell == "gru":
        z = sigmoid(pre[0])
        n = tanh(pre[2] + sigmoid(pre[1]) * pre[3])
        return [(1 - z) * n + z * state[0]]
    c = sigmoid(pre[1]) * state[1] + sigmoid(pre[0]) * tanh(pre[2])
    return [sigmoid(pre[3]) * tanh(c), c]


def _slopes(
    cell: str, pre: list[jax.Array], state: list[jax.Array]
) -> tuple[list[list[jax.Array]], list[list[jax.Array]]]:
    """Compute ∂s'/∂a by slot and component, and ∂s'/∂s by two components, (B, K) each."""
    zeros = ([jnp.zeros_like(x) for x in pre], [jnp.zeros_like(x) for x in state])

    def along(argument: int, index: int) -> list[jax.Array]:
        tangents = ([*zeros[0]], [*zeros[1]])
        tangents[argument][index] = jnp.ones_like(pre[0])
        return jax.jvp(lambda a, s: _transition(cell, a, s), (pre, state), tangents)[1]

    return [along(0, m) for m in range(len(pre))], [along(1, q) for q in range(len(state))]


def _loss(readout: list[jax.Array], h_BK: jax.Array, y_B: jax.Array) -> jax.Array:
    """Compute the cross-entropy, summed over lanes."""
    for weight, bias in zip(readout[:-2:2], readout[1:-2:2], strict=True):
        h_BK = jax.nn.relu(h_BK @ weight.T + bias)
    log_p_BO = jax.nn.log_softmax(h_BK @ readout[-2].T + readout[-1])
    return -jnp.take_along_axis(log_p_BO, y_B[:, None], axis=1).sum()


def _state(of: Shape, trained: Trained, lanes: int) -> list[jax.Array]:
    bias_MK = trained.parameters["1"]
    return [jnp.zeros((lanes, bias_MK.shape[1]), bias_MK.dtype)] * of.components


def _bptt(of: Shape, adam: Adam, trained: Trained, x_TB: jax.Array, y_TB: jax.Array) -> Trained:
    def unrolled(parameters: Tree) -> jax.Array:
        def step(state: list[jax.Array], x_B: jax.Array) -> tuple[list[jax.Array], jax.Array]:
            state = _transition(of.cell, _pre(of, parameters, state[0], x_B), state)
            return state, state[0]

        _, h_TBK = lax.scan(step, _state(of, trained, x_TB.shape[1]), x_TB)
        return _loss(parameters["readout"], h_TBK.reshape(-1, h_TBK.shape[-1]), y_TB.reshape(-1))

    return _adam(trained, jax.grad(unrolled)(trained.parameters), x_TB.size, adam)


def _snap1(of: Shape, adam: Adam, trained: Trained, x_TB: jax.Array, y_TB: jax.Array) -> Trained:
    def step(carry: Tree, xy_B: tuple[jax.Array, jax.Array]) -> tuple[Tree, None]:
        state, J, summed = carry
        state, J, gradient = _snap1_step(of, trained.parameters, state, J, *xy_B)
        return (state, J, jax.tree.map(jnp.add, summed, gradient)), None

    zeros = jax.tree.map(jnp.zeros_like, trained.parameters)
    start = (*_snap1_start(of, trained, x_TB), zeros)
    (_, _, gradient), _ = lax.scan(step, start, (x_TB, y_TB))
    return _adam(trained, gradient, x_TB.size, adam)


def _snap1_start(of: Shape, trained: Trained, x_TB: jax.Array) -> tuple[list[jax.Array], Tree]:
    """Return a zero state and a zero J, by (weights, component, slot): (K, B, sources) each."""
    lanes, weights = x_TB.shape[1], trained.parameters
    (_, units), dtype = weights["1"].shape, weights["1"].dtype
    slots = {"h": of.recurrent, "x": of.input, "1": range(len(weights["1"]))}
    J = {
        (name, c, m): jnp.zeros((units, lanes, *weights[name].shape[2:]), dtype)
        for name, of_weights in slots.items()
        for c in range(of.components)
        for m in of_weights
        if of.pattern_CM[c][m]
    }
    return _state(of, trained, lanes), J


def _snap1_step(
    of: Shape, parameters: Tree, state: list[jax.Array], J: Tree, x_B: jax.Array, y_B: jax.Array
) -> tuple[list[jax.Array], Tree, Tree]:
    """Make a step of equation (5), n = 1: state, J, and the gradient δ J of the summed loss."""
    h_BK = state[0]
    pre = _pre(of, parameters, h_BK, x_B)
    by_slot, by_state = _slopes(of.cell, pre, state)
    own_MK = jnp.diagonal(parameters["h"], axis1=1, axis2=2)
    both = range(of.components)
    decays = [[by_state[q][c] for q in both] for c in both]  # D from q to c of each unit, eq. (2)
    for c in both:
        for own_K, m in zip(own_MK, of.recurrent, strict=True):
            decays[c][0] = decays[c][0] + by_slot[m][c] * own_K
    state = _transition(of.cell, pre, state)
    of_readout, credit_BK = jax.grad(_loss, argnums=(0, 1))(parameters["readout"], state[0], y_B)
    # The barrier materialises these; otherwise XLA recomputes every tanh for every entry of J.
    # Lanes come between units and sources: summing over lanes that are a power of 2 apart in
    # memory would miss the caches.
    by_slot, decays, credit_KB = lax.optimization_barrier(
        jax.tree.map(jnp.transpose, (by_slot, decays, credit_BK))
    )
    one_hot_BA = jax.nn.one_hot(x_B, parameters["x"].shape[2], dtype=h_BK.dtype)
    sources = {"h": h_BK, "x": one_hot_BA, "1": jnp.ones((), h_BK.dtype)}

    def wide(name: str, a_KB: jax.Array) -> jax.Array:
        return a_KB if name == "1" else a_KB[..., None]

    def advanced(name: str, c: int, m: int) -> jax.Array:
        immediate = wide(name, by_slot[m][c]) * sources[name]
        before = [(q, J[name, q, m]) for q in both if (name, q, m) in J]
        return sum((wide(name, decays[c][q]) * J_q for q, J_q in before), immediate)

    # The barrier has the same reason: the sums would recompute J.
    J = lax.optimization_barrier({key: advanced(*key) for key in J})
    gradient = {
        name: jnp.stack(
            [(wide(name, credit_KB) * J[key]).sum(1) for key in J if key[:2] == (name, 0)]
        )
        for name in sources
    }
    return state, J, {**gradient, "readout": of_readout}


def _adam(trained: Trained, gradient: Tree, count: int, adam: Adam) -> Trained:
    """Make an Adam update along the gradient divided by `count`."""
    updates = trained.updates + 1
    g = jax.tree.map(lambda summed: summed / count, gradient)
    (first, second), (beta1, beta2) = trained.moments, (adam.beta1, adam.beta2)
    first = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, first, g)
    second = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g * g, second, g)
    rate, bias = adam.lr / (1 - beta1**updates), 1 - beta2**updates
    parameters = jax.tree.map(
        lambda p, m, v: p - (rate * m / (jnp.sqrt(v / bias) + adam.eps)).astype(p.dtype),
        *(trained.parameters, first, second),
    )
    return Trained(parameters, (first, second), updates)
