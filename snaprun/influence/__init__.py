"""Backends store and advance the influence matrix; all offer the same functions.

`plan(core, pattern) -> Plan`, `init(plan, lanes, dtype) -> J`, `reset(plan, J, lanes_B)`,
`step(plan, J, record) -> (J, gradient)`, `tensors(J)`, `dense(plan, J)`, `entries(plan, J)`,
`assign(plan, J, J_BL)`, `storage(reach, sizes)`. J is the backend's own storage, and `step` may
change J in place. `naive` is the specification.
"""

from types import ModuleType

from snaprun import checks
from snaprun.influence import naive, native, torch

_KNOWN: dict[str, ModuleType] = {"naive": naive, "torch": torch, "native": native}
BACKENDS = {name: _KNOWN[name] for name in _KNOWN if name != "native" or native.available()}


def choose(name: str, device: str = "cpu") -> ModuleType:
    """Returns the backend called `name`; `auto` means the fastest on this device in this build.

    Raises UserError if the backend is unknown, not built, or not available on the device.

    >>> choose("naive").__name__
    'snaprun.influence.naive'
    >>> choose("auto", "cuda").__name__
    'snaprun.influence.torch'
    """
    on_cpu = str(device) == "cpu"
    if name == "auto":
        return BACKENDS["native"] if on_cpu and "native" in BACKENDS else torch
    checks.one_of("influence", name, ["auto", *_KNOWN])
    *others, last = (other for other in ("auto", *_KNOWN) if other != "native")
    without = f"{', '.join(others)} or {last}"
    if name == "native" and name not in BACKENDS:
        remedy = "The C++ core was not built: install snaprun where there is a C++ compiler."
        checks.refuse("influence", name, without, remedy)
    if name == "native" and not on_cpu:
        checks.refuse("influence", name, f"{without} on device={device}")
    return BACKENDS[name]
