"""Commands with plug-ins in this process, each as in a process that knows of no plug-in yet."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from snaprun.cells import CELLS
from snaprun.engine.optim import OPTIMISERS
from snaprun.losses import LOSSES
from snaprun.rules import RULES
from snaprun.sparsity import SPARSITIES
from snaprun.tasks import TASKS
from snaprun.trackers import TRACKERS

REGISTRIES = (CELLS, LOSSES, OPTIMISERS, RULES, SPARSITIES, TASKS, TRACKERS)


@contextmanager
def forgotten(*modules: str) -> Iterator[None]:
    """These modules, and what they or others register, are forgotten after the block."""
    known = [dict(registry.data) for registry in REGISTRIES]
    try:
        yield
    finally:
        for registry, own in zip(REGISTRIES, known, strict=True):
            registry.data = own
        for name in modules:
            sys.modules.pop(name, None)
