"""Backends that store and advance the influence matrix under the same function names.

`plan(core, pattern) -> Plan`, `init(plan, lanes, dtype) -> J`, `reset(plan, J, lanes_B)`,
`step(plan, J, record) -> (J, gradient)`, `tensors(J)`, `dense(plan, J)`, where J is the backend's
own storage, which `step` may change in place; `naive` is the specification.
"""

from types import ModuleType

from snaprun import checks
from snaprun.influence import naive, torch

BACKENDS: dict[str, ModuleType] = {"naive": naive, "torch": torch}


def choose(name: str) -> ModuleType:
    """The backend called `name`; `auto` takes the fastest."""
    if name == "auto":
        return torch
    return BACKENDS[checks.one_of("influence", name, [*BACKENDS, "auto"])]
