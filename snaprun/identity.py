"""The name of a run: its choices in words, and a hash of what the run computes.

The hash covers the resolved configuration without the keys of three tables: where and how the run
is written, how far it goes, and later keys that still have their old value.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

# Keys that say where, how and whether a run is written; they do not change what it computes.
WHEREABOUTS = {
    "name": str,
    "results": str,
    "logger": dict,
    "tensorboard": bool,
    "restart": bool,
    "dry": bool,
}
# Keys that may change without making another run: how far it goes, and when it saves and resumes.
EXTENT = (
    "train.tokens",
    "train.time",
    "train.patience",
    "train.checkpoint_every",
    "train.strict",
)
# Keys that say on what a run computes: they change its last digits and its speed, so its name, but
# not what is compared.
MACHINE = ("device", "threads", "engine", "influence")
# Dotted keys, or whole groups, that were added to conf/ after the first runs, each with the value
# that computes what runs computed before the key. Add every new key of conf/ here: then a run that
# does not use the key keeps the name that it had without the key. `plugins` needs no entry: a
# configuration that names none has no such key (snaprun.config.resolve).
LATER: dict[str, Any] = {
    "train.average": None,
    "cell.layers": 1,
    "task.symbols": 10,
    "rule.memory": None,
    "rule.policy": "mixed",
    "rule.truncate": None,
    "task.code": "grey",
    "task.neurons": 80,
    "task.steps": 16,
    "optim.warmup": 0,
    "optim.cosine": None,
    "optim.floor": 0,
}


def run_id(plain: Mapping[str, Any]) -> str:
    """Returns the name of the run of a resolved configuration, a short file name without `=`."""
    # 1.0 and 1 are one number, and so one run.
    plain = canonical(plain)
    hashed = json.dumps(_hashed(plain), sort_keys=True)
    digest = hashlib.sha256(hashed.encode()).hexdigest()[:8]
    rule, sparsity = plain["rule"], plain["sparsity"]
    words = [
        f"{plain['task']['name']}",
        f"{plain['cell']['name']}{sized(plain['cell'])}",
        f"{sparsity['name']}{sparsity.get('level', '')}",
        f"{rule['name']}{rule.get('n', '')}",
        f"every{plain['train'].get('update_every')}",
        f"seed{plain.get('seed')}",
    ]
    # Nothing is checked yet, so this turns arbitrary words into one short, visible file name.
    return re.sub(r"[^A-Za-z0-9.-]", "", "-".join(words)).lstrip(".-")[:120] + f"-{digest}"


def without_whereabouts(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a configuration without the keys that only say where and how its run is written."""
    return {key: value for key, value in config.items() if key not in WHEREABOUTS}


def sized(cell: Mapping[str, Any]) -> str:
    """Returns `128`, or for a stack `128x2` or `256.128`."""
    units, layers = cell.get("units"), cell.get("layers", 1)
    if isinstance(units, list):
        return ".".join(map(str, units))
    return f"{units}" if layers == 1 else f"{units}x{layers}"


def stack(cell: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the choices of a cell with the units of a stack in one form, so that it is one run.

    Choices that do not fit each other are returned as they are.

    >>> stack({"units": [8, 8]}), stack({"units": [8, 4], "layers": 1})
    ({'units': 8, 'layers': 2}, {'units': [8, 4], 'layers': 2})
    """
    units, layers = cell.get("units"), cell.get("layers", 1)
    if not isinstance(units, list) or not units or type(layers) is not int:
        return dict(cell)
    if layers not in (1, len(units)):
        return dict(cell)
    alike = all(type(count) is int and count == units[0] for count in units)
    return {**cell, "units": units[0] if alike else units, "layers": len(units)}


def _hashed(values: Mapping[str, Any], group: str = "") -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in values.items():
        key = group + name
        unused = key in LATER and value == LATER[key]
        if not unused and key not in WHEREABOUTS and key not in EXTENT:
            kept[name] = _hashed(value, f"{key}.") if isinstance(value, dict) else value
    return kept


def canonical(value: Any) -> Any:
    """Returns `value` with integral floats as integers: 1e6 and 1000000 are the same choice."""
    if isinstance(value, dict):
        return {str(key): canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value
