"""The network of a run, for the commands that use one."""

from functools import partial
from pathlib import Path

from snaprun import checks, config
from snaprun.model.network import Network
from snaprun.run import checkpoint
from snaprun.run.machine import DTYPES
from snaprun.store import chosen, read_config


def trained(run: str, task: str = "") -> tuple[Path, Network]:
    """Return the folder of a run and its trained network, on the CPU.

    Raises UserError if there is no such run, or if it is one of another task than `task`.
    """
    folder = chosen(run)
    plain = read_config(folder)
    config.run_folder(plain)
    if task and plain["task"]["name"] != task:
        checks.refuse("run", str(folder), f"a run of task={task}", "It is one of another task.")
    architecture = config.architecture(plain)
    restored = partial(
        architecture.restored,
        seed=plain["seed"],
        dtype=DTYPES[checks.one_of("dtype", plain["dtype"], list(DTYPES))],
    )
    return folder, checkpoint.load_network(folder, restored)
