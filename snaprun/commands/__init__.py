"""Every command is a file with `run`, whose arguments are the command's keys with their types.

A `run` that takes `plain` gets the whole configuration instead, and reads its groups itself.
A command's file is imported only when the command is called, so that --help and completion stay
quick and no command waits for torch without needing it.
"""

from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from typing import Any

from snaprun.outcome import Outcome

COMMANDS = {
    "train": "train one run, or a sweep with -m",
    "search": "the best values of some keys, by Optuna; each trial is a run",
    "align": "rules' gradients beside the exact one along a training run",
    "status": "how the runs under a folder stand, also while they run",
    "fsck": "whether the files of the runs under a folder are as they were written",
    "plot": "figures from the metrics of runs",
    "report": "one HTML file with the tables, curves and figures of runs",
    "cost": "what each rule costs: multiply-adds and bytes, counted",
    "verify": "check gradients against independent computations",
    "bench": "how fast this machine takes a step, by backend, engine and rule",
    "sample": "text from a trained character model",
    "evaluate": "a run's metrics on other data or another setting of its task",
    "export": "a trained run as plain state dicts of torch.nn",
    "reproduce": "the experiments behind the claims, from nothing to tables and figures",
}


def run(name: str, plain: Mapping[str, Any], sweep: bool) -> Outcome:
    """Run the command called `name` on its resolved configuration.

    `sweep` says whether this is one job of a sweep. Raises UserError for wrong keys.
    """
    from snaprun import config  # which imports Hydra; the names above do not need it

    command = import_module(f"{__name__}.{name}")
    takes = signature(command.run).parameters
    if "plain" in takes:
        return command.run(plain, sweep) if "sweep" in takes else command.run(plain)
    own = {k: value for k, value in plain.items() if k != config.PLUGINS or k in takes}
    return command.run(**config.arguments("", command.run, own))
