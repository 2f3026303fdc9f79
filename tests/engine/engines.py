"""Both engines on all that they train and both kinds of tasks' batches."""

from itertools import islice, product
from random import Random

import pytest
import torch

from snaprun.cells import CELLS as CELL_TYPES
from snaprun.cells import Vanilla
from snaprun.engine import native
from snaprun.engine.native import NativeEngine
from snaprun.engine.optim import OPTIMISERS as OPTIMISER_TYPES
from snaprun.engine.optim import SGD, Adam, RMSprop
from snaprun.engine.torch import TorchEngine
from snaprun.influence import choose
from snaprun.losses import SoftmaxCrossEntropy
from snaprun.model.network import Architecture
from snaprun.sparsity import Uniform
from snaprun.tasks import Batch, CharLM, Copy
from tests import cases
from tests.cases import RULES, in_pairs, rng

CELLS = {name: cell for name, cell in cases.CELLS.items() if name in CELL_TYPES}
CELLS |= {"vanilla": Vanilla(alpha=0.6)}
STACK = (7, 4, 5)
OPTIMISERS = {
    "adam": Adam(lr=0.01),
    "momentum": SGD(lr=0.05, momentum=0.9, clip=0.5),
    "sgd": SGD(lr=0.05, half_life=9.5),
    "rmsprop": RMSprop(lr=0.003, momentum=0.5),
}
OPTIMISERS |= {name: kind() for name, kind in OPTIMISER_TYPES.items() if name not in OPTIMISERS}
ENGINES = ("torch", "native") if native._native else ("torch",)
NEEDS_CORE = pytest.mark.skipif(native._native is None, reason="C++")
EITHER = ["torch", pytest.param("native", marks=NEEDS_CORE)]  # as parameters of a test
TASKS = ("copy", "charlm")


def trains(engine, rule="frozen", cell="vanilla", optimiser="adam"):
    """Whether an engine trains this: PyTorch's trains all, the C++ one what the core knows."""
    parts = (RULES[rule], OPTIMISERS[optimiser], SoftmaxCrossEntropy())
    if not cases.suits(RULES[rule], CELLS[cell]):
        return False
    return engine == "torch" or native.lacks(CELLS[cell], "cpu", torch.float64, *parts) is None


def hidden_units(rule, hidden):
    """The readout's hidden units: `hidden`, or none where the rule follows a linear readout."""
    return 0 if rule.adapts else hidden


def window(rule, every):
    """The window of a rule: `every` steps, or a whole sequence where the rule needs one."""
    return "sequence" if RULES[rule].once_a_sequence else every


def meets(rule, task):
    """Whether a rule trains on a task: one that needs whole sequences takes no stream."""
    return not (RULES[rule].once_a_sequence and task in ("charlm", "stream"))


def crossed(engines=ENGINES, **choices):
    """As parameters of a test: each engine with every combination of the choices it trains."""
    names = ("engine", *choices)
    values = product(engines, *choices.values())
    return names, [v for v in values if trains(**dict(zip(names, v, strict=True)))]


_draw = Random(0)


def _case(engine, rule, every, task):
    pick = _draw.choice
    optimiser = pick([name for name in OPTIMISERS if trains(engine, rule, optimiser=name)])
    lanes, dtype = pick((1, 3, 8, 9)), pick((torch.float32, torch.float64))
    cell = pick([name for name in CELLS if trains(engine, rule, name)])
    return engine, rule, every, task, cell, optimiser, lanes, dtype


def whole(rule, every):
    """Whether an engine takes sequences as a whole only, and no pieces of them."""
    return RULES[rule].replays and every == "sequence"


# Every engine, rule, window and task, with a cell, optimiser, lanes and dtype drawn for each.
GRID = [
    _case(engine, rule, every, task)
    for engine, rule, every, task in product(ENGINES, RULES, (1, 7, "sequence"), TASKS)
    if trains(engine, rule) and every == window(rule, every) and meets(rule, task)
    if not whole(rule, every)
]
QUICK = in_pairs(GRID, of=4)  # the other four are drawn
GRID_NAMES = ("engine", "rule", "every", "task", "cell", "optimiser", "lanes", "dtype")


def build(
    engine,
    rule,
    every,
    cell,
    optimiser,
    lanes,
    dtype,
    task,
    *,
    fresh=True,
    backend="torch",
    average=0.9,
    units=7,
):
    """An engine; where not `fresh` it has the same mask but other parameters and another noise."""
    inputs = 4 if task == "copy" else 256
    reminder = RULES[rule].reminder
    hidden = hidden_units(RULES[rule], 5)
    architecture = Architecture(CELLS[cell], units, Uniform(level=0.6), hidden, reminder)
    network = architecture.build(inputs, inputs, 4, dtype)
    for parameter in network.parameters:
        parameter += 0.0 if fresh else 0.1
    common = {"lanes": lanes, "update_every": window(rule, every), "noise": rng(0 if fresh else 1)}
    common["average"] = average
    if engine == "native":
        return NativeEngine(network, RULES[rule], OPTIMISERS[optimiser], **common)
    return TorchEngine(
        network, RULES[rule], OPTIMISERS[optimiser], **common, backend=choose(backend)
    )


def batches(task, lanes, count, folder) -> list[Batch]:
    """The first batches of a task: sequences of 2 L + 1 steps, or a stream without an end."""
    if task == "copy":
        source = Copy(fixed_length=9)
    else:
        text = folder / "text"
        text.write_bytes(bytes(range(256)) * 8)
        source = CharLM(str(text), mode="stream", crop=19)
    generator = rng(1)
    return list(islice(iter(lambda: source.batch(lanes, generator), None), count))
