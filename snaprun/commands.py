"""What each command does with its resolved configuration, a plain nested dict.

Each takes the configuration and whether it is a job of a sweep, and returns how that ended. torch
is imported only where it is needed, so that --help and completion stay quick.
"""

import os
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snaprun import checks, config, pattern
from snaprun.metrics import AVERAGE, known
from snaprun.outcome import Outcome, Status
from snaprun.terminal import note, say

if TYPE_CHECKING:
    from snaprun.store import Summary
    from snaprun.train.loop import Probe
    from snaprun.train.run import Parts


def train(plain: dict[str, Any], sweep: bool) -> Outcome:
    """Train one run, go on with one that was broken off, or say that it is already there."""
    return _train(plain, config.run_folder(plain), plain, sweep)


def align(plain: dict[str, Any], sweep: bool) -> Outcome:
    """Train one run and compare rules' gradients with the exact one on the way."""
    from snaprun import align as alignment
    from snaprun import figures
    from snaprun.figures.aligned import as_text
    from snaprun.store import read_run

    trained, group = {key: plain[key] for key in plain if key != "align"}, plain.get("align")
    if not isinstance(group, Mapping):
        checks.refuse("align", group, "keys under it, as in conf/align.yaml")
    options = alignment.AlignOptions(**config.arguments("align", alignment.AlignOptions, group))
    candidates = alignment.candidates(options.rules, config.rule)
    name = config.converted("name", plain["name"], str)
    written = plain | {"name": f"{name}-align"}
    folder = config.run_folder(written)

    def probe(parts: "Parts") -> "Probe":
        return alignment.Probe(options, parts, candidates, plain["rule"]["name"])

    outcome = _train(trained, folder, written, sweep, probe)
    if plain.get("dry"):
        return outcome
    files = figures.plot([folder], folder, ("alignment",), incomplete=False)
    report = [outcome.report, as_text(read_run(folder)), *map(str, files)]
    return replace(outcome, report="\n".join(report))


def _train(
    plain: dict[str, Any],
    folder: Path,
    written: Mapping[str, Any],
    sweep: bool,
    probe: "Callable[[Parts], Probe] | None" = None,
) -> Outcome:
    """Train `plain` in `folder`, with `written` as the run's configuration."""
    from snaprun.store import DIVERGED, read_config, read_intact, require_own, set_aside

    if plain.get("dry"):
        from snaprun.train.dry import rehearse

        parts = config.parts(plain)
        return Outcome(report=f"{folder}\n{rehearse(parts, probe and probe(parts))}")
    summary, unread = None, []
    if not plain["restart"]:
        require_own(folder)
        summary = read_intact(folder)
    if summary is not None and any(name.endswith("_sha256") for name in summary.extras):
        from snaprun.tasks.text import require_same

        unread = require_same(folder, summary.extras)
    if summary is not None and summary.complete(config.options(plain).tokens):
        config.require_named(folder, read_config(folder))
        status = Status.SKIPPED
        report = f"{folder}: {summary.status} already, at {summary.tokens} tokens; skipped"
        report += "".join(f"\n  {text} cannot be read, so it was not compared" for text in unread)
    else:
        from snaprun.train.run import run

        parts = config.parts(plain)
        if plain["restart"] and os.path.lexists(folder):
            say(f"{folder}: what was there is now {set_aside(folder)}")
        summary = run(
            parts,
            folder,
            written,
            tensorboard=plain["tensorboard"],
            bar=not sweep,
            probe=probe and probe(parts),
        )
        status, report = Status.DONE, _report(folder, summary)
    if summary.status != DIVERGED:
        return Outcome(status, report)
    # A summary of snaprun 0.1.0 knows of one way only.
    how = summary.extras.get("diverged_because", "the loss became non-finite at")
    token, lr = summary.extras.get("diverged_at_token"), plain["optim"]["lr"]
    problem = f"{how} token {token} with optim.lr={lr}; the metrics are kept. Try a smaller "
    problem += "optim.lr, or optim.clip=1."
    return Outcome(Status.DIVERGED, report, problem)


def plot(plain: dict[str, Any], sweep: bool) -> Outcome:
    """Draw figures from the metrics under a folder."""
    del sweep
    from snaprun import figures
    from snaprun.store.panel import panels_in

    values = config.arguments("", _plot_keys, plain)
    checks.one_of("kind", values["kind"], ("all", *figures.KINDS, "pattern"))
    if values["kind"] == "pattern":
        say("\n".join(map(str, pattern.draw(values))))
        return Outcome()
    kinds = figures.KINDS if values["kind"] == "all" else (values["kind"],)
    given = values["source"]
    sources = [Path(str(source)) for source in (given if isinstance(given, list) else [given])]
    if not sources:
        checks.refuse("source", given, "at least one folder of runs")
    if values["out"] is None and len(sources) > 1:
        checks.refuse("out", None, "a folder", "There is no telling in which of source to draw.")
    out = None if values["out"] is None else Path(values["out"])
    panels = panels_in(sources[0]) if len(sources) == 1 else []
    drawn = {out / panel.name if out else panel / "figures": [panel] for panel in panels}
    nothing = True
    for folder, runs in (drawn or {out or sources[0] / "figures": sources}).items():
        for file in figures.plot(runs, folder, kinds, values["incomplete"]):
            say(file)
            nothing = False
    if nothing:
        checks.refuse("kind", values["kind"], "a kind for which these runs hold numbers")
    return Outcome()


def cost(plain: dict[str, Any], sweep: bool) -> Outcome:
    """Print what rules cost, and write it as CSV and figure."""
    del sweep
    from snaprun import costs, figures
    from snaprun.cells import CELLS
    from snaprun.train.seeding import stream

    values = config.arguments("", _cost_keys, plain)
    for key in ("cells", "sizes", "rules"):
        if not values[key]:
            checks.refuse(key, values[key], "at least one")
    cells = {name: CELLS[checks.one_of("cells", name, list(CELLS))]() for name in values["cells"]}
    dtype = checks.one_of("dtype", values["dtype"], ("float32", "float64"))
    with checks.telling_exhaustion(lambda: checks.too_large({"sizes": values["sizes"]})):
        counted = costs.table(
            cells,
            [costs.Size.read(text) for text in values["sizes"]],
            {name: config.rule(name) for name in map(str, values["rules"])},
            inputs=checks.at_least("inputs", values["inputs"], 1),
            horizon=checks.at_least("horizon", values["horizon"], 1),
            lanes=checks.at_least("lanes", values["lanes"], 1),
            moments=checks.at_least("moments", values["moments"], 0),
            bytes_per_number=4 if dtype == "float32" else 8,
            generator=stream(checks.at_least("seed", values["seed"], 0), "mask"),
        )
    files = figures.counts(counted, Path(values["out"]))
    say("\n".join([costs.as_text(counted), "", *map(str, files)]))
    return Outcome()


def verify(plain: dict[str, Any], sweep: bool) -> Outcome:
    """Check gradients against independent computations; 1 where one differs."""
    del sweep
    from snaprun import verify as verification
    from snaprun.rules import RULES
    from snaprun.sparsity import SPARSITIES

    sizes = ("inputs", "outputs", "lanes", "steps", "draws")
    machine = config.machine(plain, sizes)
    machine.start()
    cell, units = config.cell(plain)
    least = {"draws": 100}  # fewer give no confidence interval
    counts = {
        key: checks.at_least(key, config.converted(key, plain[key], int), least.get(key, 1))
        for key in sizes
    }
    with checks.telling_exhaustion(lambda: checks.too_large({"cell.units": units} | counts)):
        found = verification.verify(
            cell,
            units,
            config.construct("sparsity", SPARSITIES, plain),
            config.construct("rule", RULES, plain),
            seed=machine.seed,
            device=machine.device,
            **counts,
        )
    rule = plain["rule"]
    say(f"{plain['cell']['name']}-{units}, {rule['name']}{rule.get('n', '')}, {machine.device}")
    say(verification.table(found), end="\n\n")
    if all(check.passed for check in found):
        return Outcome()
    return Outcome(Status.FAILED, problem="a gradient differs from its independent computation.")


def bench(plain: dict[str, Any], sweep: bool) -> Outcome:
    """Time backends and engines; tables go to stdout, a figure and CSVs to `out`."""
    del sweep
    from snaprun import bench as benchmark
    from snaprun import figures, hardware

    group = plain["bench"]
    if not isinstance(group, Mapping):
        checks.refuse("bench", group, f"keys under it: bench.{', bench.'.join(benchmark.KEYS)}")
    options = benchmark.BenchOptions(**config.arguments("bench", benchmark.BenchOptions, group))
    values = config.arguments(
        "", _bench_keys, {key: value for key, value in plain.items() if key != "bench"}
    )
    threads = checks.at_least("threads", values["threads"], 1, most=hardware.cores())
    seed = checks.at_least("seed", values["seed"], 0)
    out = figures.folder(Path(values["out"]))
    results = benchmark.run(
        options,
        threads=threads,
        seed=seed,
        tell=lambda text: say(text, end="\n\n"),
        say=_note,
    )
    for file in figures.bench(results.tables, out):
        say(file)
    if options.json is not None:
        results.write(options.json)
        say(options.json)
    return Outcome()


def status(plain: dict[str, Any], sweep: bool) -> Outcome:
    """Print how the runs under a folder stand."""
    del sweep
    from snaprun.status import status as stand

    values = config.arguments("", _status_keys, plain)
    say(stand(Path(values["source"]), values["state"]))
    return Outcome()


def fsck(plain: dict[str, Any], sweep: bool) -> Outcome:
    """Verify the files of the runs under a folder; 1 where one is damaged."""
    del sweep
    from snaprun.fsck import fsck as verify_runs

    values = config.arguments("", _fsck_keys, plain)
    found = verify_runs(Path(values["source"]), config.require_named, say)
    problem = f"{found.damaged} of {found.runs} runs are damaged."
    return Outcome(Status.FAILED, problem=problem) if found.damaged else Outcome()


def sample(plain: dict[str, Any], sweep: bool) -> Outcome:
    """Write text from a trained character model to stdout."""
    del sweep
    from snaprun.store import chosen, read_config
    from snaprun.train import checkpoint
    from snaprun.train.sample import sample as draw

    values = config.arguments("", _sample_keys, plain)
    length = checks.at_least("length", values["length"], 1)
    temperature = checks.within(
        "temperature", values["temperature"], 0.0, float("inf"), open_high=True
    )
    prompt = values["prompt"].encode()
    if not prompt:
        checks.refuse("prompt", values["prompt"], "at least one character")
    folder = chosen(values["run"])
    trained = read_config(folder)
    config.run_folder(trained)
    if trained["task"]["name"] != "charlm":
        checks.refuse("run", str(folder), "a run of task=charlm", "It is one of another task.")
    network = config.untrained(trained)
    checkpoint.load_network(folder, network)
    text = draw(network, prompt, length, temperature, checks.at_least("seed", values["seed"], 0))
    said = (prompt + text).decode(errors="replace")
    # A file gets the text as it is, a terminal what a text of any bytes must not do to it.
    if sys.stdout.isatty():
        say(said)
    else:
        sys.stdout.write(said + "\n")
    return Outcome()


def reproduce(plain: dict[str, Any], sweep: bool) -> Outcome:
    """Run a panel, or all of them, and write their tables and figures; 1 where a run failed."""
    del sweep
    from snaprun import hardware, panels

    values = config.arguments("", _reproduce_keys, plain)
    one = values["panel"]
    jobs = hardware.cores() if values["jobs"] is None else values["jobs"]
    checks.at_least("jobs", jobs, 1, most=4096)
    if one is None:
        names = config.choices("panel")
        chosen = [config.composed("reproduce", [f"panel={name}"])["panel"] for name in names]
    else:
        chosen = [one]
    common = [f"results={config.quoted(values['results'])}", *config.search_path()]
    results = Path(values["results"])
    planners = [
        panels.Planner(
            config.panel(keys, values["budget"]),
            values["budget"],
            common,
            compose=lambda overrides: config.composed("train", overrides),
            place=config.run_folder,
        )
        for keys in chosen
    ]
    problems = []
    for planner in planners:
        if values["derive"]:
            print(*panels.derive(planner, results), sep="\n")
            continue
        if values["dry"]:
            left = panels.left(planner, results)
            for job in left.now:
                say(shlex.join(["snaprun", "train", *job.words]))
            note(f"{planner.name}: {left}")
            continue
        files, failed = panels.reproduce(planner, results, jobs, values["choose"])
        for file in files:
            say(file)
        if failed:
            problems.append(f"{len(failed)} runs of {planner.name} failed")
    return Outcome(Status.FAILED if problems else Status.DONE, problem="; ".join(problems))


COMMANDS: Mapping[str, Callable[[dict[str, Any], bool], Outcome]] = {
    "train": train,
    "align": align,
    "status": status,
    "fsck": fsck,
    "plot": plot,
    "cost": cost,
    "verify": verify,
    "bench": bench,
    "sample": sample,
    "reproduce": reproduce,
}


# The keys of the commands whose configuration is flat, as annotated signatures.
def _plot_keys(
    source: str | list, kind: str, out: str | None, incomplete: bool, pattern: dict
) -> None: ...
def _status_keys(source: str, state: str) -> None: ...
def _fsck_keys(source: str) -> None: ...
def _sample_keys(run: str, length: int, temperature: float, prompt: str, seed: int) -> None: ...
def _reproduce_keys(
    panel: dict | None,
    budget: str,
    results: str,
    jobs: int | None,
    dry: bool,
    choose: bool,
    derive: bool,
) -> None: ...
def _bench_keys(threads: int, seed: int, out: str) -> None: ...
def _cost_keys(
    cells: list,
    sizes: list,
    rules: list,
    inputs: int,
    horizon: int,
    lanes: int,
    moments: int,
    dtype: str,
    seed: int,
    out: str,
) -> None: ...


def _note(line: str) -> None:
    """What goes on, for someone who watches."""
    if sys.stderr.isatty():
        note(line)


def _report(folder: Path, summary: "Summary") -> str:
    """The end of a run in a few lines: what it reached, what it cost, where it lies."""
    # What a task is about comes before its losses, of which less is better.
    losses = {metric.key for metric in known(summary.declared).values() if metric.better < 0}
    losses |= {key + AVERAGE for key in losses}
    losses_last = sorted(summary.metrics.items(), key=lambda item: item[0] in losses)
    reached = ", ".join(f"{name} {value:.4g}" for name, value in losses_last)
    parameters, cost = summary.extras["parameters"], summary.cost
    return (
        f"{summary.status}: {reached} after {summary.tokens} tokens, {summary.updates} updates, "
        f"{summary.seconds:.1f} s\n"
        f"  {parameters['recurrent']} recurrent and {parameters['readout']} readout parameters; "
        f"{cost['ms_per_token']:.3g} ms and {cost['macs_per_token']:,} multiply-adds a token; "
        f"rule state {cost['state_bytes']:,} bytes\n"
        f"  {folder}"
    )
