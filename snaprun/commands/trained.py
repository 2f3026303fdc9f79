"""The configuration and the network of a run, for the commands that use them."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from snaprun import checks, config
from snaprun.model.network import Network
from snaprun.run import checkpoint
from snaprun.run.checkpoint import Which
from snaprun.run.machine import DTYPES
from snaprun.store import chosen, read_config


def trained(run: str, which: Which = "last", task: str = "") -> tuple[Path, Network]:
    """Return the folder of a run and the network of one of its checkpoints, on the CPU.

    Raises UserError if there is no such run, or if it is one of another task than `task`.
    """
    folder, plain = configured(run)
    if task and plain["task"]["name"] != task:
        checks.refuse("run", str(folder), f"a run of task={task}", "It is one of another task.")
    return folder, checkpoint.load_network(folder, restoring(plain), which)


def configured(run: str) -> tuple[Path, dict[str, Any]]:
    """Return the folder of a run and its configuration; raises UserError if there is no such run.

    The configuration is shared with other readers: do not change it.
    """
    folder = chosen(run)
    plain = read_config(folder)
    config.run_folder(plain)
    return folder, plain


def restoring(plain: Mapping[str, Any], **options: Any) -> Callable[[Any], Network]:
    """Return what turns the saved network of the configuration's run into a network.

    `options` are further arguments of Architecture.restored.
    """
    dtype = DTYPES[checks.one_of("dtype", plain["dtype"], list(DTYPES))]
    architecture = config.architecture(plain)
    return partial(architecture.restored, seed=plain["seed"], dtype=dtype, **options)
