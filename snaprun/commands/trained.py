"""The network of a run, for the commands that use one."""

from pathlib import Path
from typing import Any

from snaprun import checks, config
from snaprun.model.network import Network
from snaprun.run import checkpoint
from snaprun.store import chosen, read_config


def trained(run: str, task: str = "") -> tuple[Path, dict[str, Any], Network]:
    """Return the folder of a run, its configuration and its trained network, on the CPU.

    Raises UserError if there is no such run, or if it is one of another task than `task`.
    """
    folder = chosen(run)
    plain = read_config(folder)
    config.run_folder(plain)
    if task and plain["task"]["name"] != task:
        checks.refuse("run", str(folder), f"a run of task={task}", "It is one of another task.")
    network = config.untrained(plain)
    checkpoint.load_network(folder, network)
    return folder, plain, network
