"""snaprun evaluate gives a run's metrics on other data or another setting of its task."""

import json as as_json
import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from snaprun import checks, config
from snaprun.commands.trained import configured, restoring
from snaprun.engine.optim import OPTIMISERS
from snaprun.files import writable, write_atomically
from snaprun.identity import WHEREABOUTS
from snaprun.metrics import AVERAGE, known, losses_last
from snaprun.model.network import Network
from snaprun.outcome import Outcome
from snaprun.rules import RULES
from snaprun.run.checkpoint import Trained, Which, load_trained, restore
from snaprun.run.machine import denormals_flushed, engine_kind
from snaprun.run.validate import of_average, validate
from snaprun.store import read_run, state
from snaprun.store.reader import is_run
from snaprun.store.schema import ALIGNMENT
from snaprun.tasks import TASKS, Task
from snaprun.tasks.unchanged import require_same
from snaprun.terminal import table


def run(
    run: str,
    task: dict,
    tokens: int | Literal["all"] | None = None,
    engine: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    json: str | None = None,
    checkpoint: Which = "last",
) -> Outcome:
    """Print the held-out metrics of frozen weights, and write them to the file `json` if given.

    `task` are keys of the run's task. Another key that is None has the run's own value.
    """
    if isinstance(tokens, int):
        checks.at_least("tokens", tokens, 1)
    file = None if json is None else writable("json", json)
    folder, plain = configured(run)
    if file is not None and is_run(file.parent):
        checks.refuse("json", json, "a file outside the folders of runs, which stay as they are")
    here = {"engine": engine, "device": device, "threads": threads}
    here = {key: value for key, value in here.items() if value is not None}
    machine = config.machine({**plain, **here}, (*WHEREABOUTS, ALIGNMENT))
    machine.start()
    rule = config.construct("rule", RULES, plain)
    optimiser = config.construct("optim", OPTIMISERS, plain)
    limit = config.options(plain).eval_tokens if tokens is None else tokens
    limit = None if limit == "all" else limit

    own = plain["task"]
    if task.get("name", own["name"]) != own["name"]:
        remedy = f"Only keys of this task can be set, as task.KEY=VALUE; it is that of {folder}."
        checks.refuse("task.name", task["name"], own["name"], remedy)
    changes = {f"task.{key}": value for key, value in task.items() if key != "name"}
    setting = {**own, **task}
    with (
        checks.telling_exhaustion(lambda: checks.too_large({"run": folder, **changes})),
        denormals_flushed(),
    ):
        built = config.construct("task", TASKS, {"task": setting})
        restored = restoring(plain, device=machine.device, loss=built.loss)
        trained = load_trained(folder, restored, checkpoint)
        _require_same_files({k: v for k, v in own.items() if k not in task}, built, folder, trained)
        _require_widths(built, folder, trained, changes)
        if changes:
            # A curriculum keeps the checkpoint's level, unless the changed task cannot have it.
            with suppress(ValueError):
                built.load_state_dict(trained.task)
        else:
            restore(folder, built, trained.task)
        in_core = engine_kind(machine, trained.network, rule, optimiser).in_core
        values = _values(built, trained, limit, in_core)
    if not values:
        raise checks.UserError(f"{folder}: this setting of its task holds out no data.")
    values = {key: values[key] for key in losses_last(values, built.declared)}

    status = state(folder)
    if file is not None:
        finite = {key: value if math.isfinite(value) else None for key, value in values.items()}
        content = {"run": str(folder), "status": status, "checkpoint": checkpoint}
        content |= {"tokens": trained.tokens}
        content |= {"task": setting, "eval_tokens": limit, "metrics": finite}
        write_atomically(file, as_json.dumps(content, indent=1) + "\n")
    report = [
        f"{folder}: {status}; its {checkpoint} checkpoint, at token {trained.tokens}, "
        f"on {_words(changes)}",
        *_table(values, built, folder, trained.tokens),
        *([] if file is None else [str(file)]),
    ]
    return Outcome(report="\n".join(report))


def _words(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in changes.items()) or "its own task"


def _values(task: Task, trained: Trained, tokens: int | None, in_core: bool) -> dict[str, float]:
    """Return the metrics of the weights, and those of their average if the run keeps one."""

    def of(network: Network) -> dict[str, float]:
        return validate(task, network, tokens, in_core, pause=lambda: None)

    values = of(trained.network)
    if trained.average is not None:
        values |= of_average(of(trained.network.at(trained.average)))
    return values


def _require_same_files(
    named: Mapping[str, Any], task: Task, folder: Path, trained: Trained
) -> None:
    """Raise UserError if a file that the run's configuration `named` has changed since."""
    keys = " or ".join(f"task.{key}=PATH" for key in task.files)
    remedy = f"To evaluate the run on it as it is now, give {keys}."
    require_same(type(task), named, folder, trained.facts, remedy)


def _require_widths(task: Task, folder: Path, trained: Trained, changes: Mapping[str, Any]) -> None:
    """Raise UserError unless the network of the run reads and writes what the task has."""
    network = trained.network
    have = network.core.inputs, network.readout.parameters[-1].numel()
    if (task.inputs, task.outputs) != have:
        line = f"{_words(changes)} makes inputs={task.inputs} and outputs={task.outputs}, but the"
        line += f" network of {folder} has inputs={have[0]} and outputs={have[1]}."
        raise checks.UserError(f"{line} Train a run on that setting.")


def _table(values: Mapping[str, float], task: Task, folder: Path, tokens: int) -> list[str]:
    """Return a line a metric: its name, its value, the run's own up to `tokens`, and its unit."""
    columns, found = read_run(folder).columns, known(task.declared)
    until_N = columns["tokens"] <= tokens
    rows = [("metric", "now", "in the run", "")]
    for key, value in values.items():
        metric = found.get(key)
        if metric is None and key.endswith(AVERAGE) and key.removesuffix(AVERAGE) in found:
            metric = found[key.removesuffix(AVERAGE)].averaged()
        own = _last(columns[key][until_N] if key in columns else ())
        rows.append((key, f"{value:.4g}", own, metric.axis if metric else ""))
    return table(rows, right=(1, 2))


def _last(values: Iterable[float]) -> str:
    """Return the last finite number of a column in words, or a dash."""
    return next((f"{value:.4g}" for value in reversed([*values]) if math.isfinite(value)), "–")
