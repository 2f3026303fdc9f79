"""Runs the bench, part by part."""

from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from snaprun import checks
from snaprun.bench import budget, growth, kernel, memory, peers, python, step, text
from snaprun.bench.available import engines, missing, native_isa
from snaprun.bench.machine import facts, line
from snaprun.bench.options import BenchOptions
from snaprun.bench.results import Results
from snaprun.bench.roofline import Yardsticks
from snaprun.bench.session import Session
from snaprun.bench.sizes import FULL, QUICK, Sizes
from snaprun.hardware import cores
from snaprun.run.machine import denormals_flushed, use_threads


@denormals_flushed()
def run(
    options: BenchOptions,
    *,
    threads: int,
    seed: int,
    tell: Callable[[str], None],
    say: Callable[[str], None],
    sizes: Sizes | None = None,
) -> Results:
    """Measure the parts of `options`.

    `tell` is called with every table as text, `say` with the progress. The kernel's table comes
    last, because its ceilings are tried throughout the bench. Denormals are flushed as in a run of
    `train`. Raises UserError if only parts that are not installed are asked for.
    """
    sizes = sizes or (QUICK if options.quick else FULL)
    if options.seconds is not None:
        sizes = replace(sizes, budget=replace(sizes.budget, seconds=options.seconds))
    parts = [part for part in options.parts if part != "peers" or peers.installed()]
    if not parts:
        checks.refuse("bench.parts", list(options.parts), "other parts", peers.MISSING)
    use_threads(threads)
    results = Results(facts(threads, native_isa()))
    tables = results.tables
    without = [] if parts == list(options.parts) else [peers.MISSING]
    tell("\n".join([line(results.machine), *missing(), *without]))
    session = Session(sizes, list(engines().values()), threads, seed, say)
    timed: list[kernel.Timed] = []
    yardsticks: Yardsticks | None = None
    if "kernel" in parts:
        problems = kernel.problems(sizes.kernel, seed)
        yardsticks = Yardsticks([one.working_set for one in problems], side=sizes.side)
        session.between = yardsticks.turn
        timed = kernel.measure(session, problems)
        if cores() < 2:
            tell("Two threads against one: not measured, for there is one core.")
        else:
            kernel.two_threads(session)
    for part, module, show in (
        ("step", step, text.step),
        ("python", python, text.python),
        ("growth", growth, text.growth),
        ("memory", memory, text.memory),
        ("peers", peers, text.peers),
        ("budget", budget, text.budget),
    ):
        if part in parts:
            tables[part] = module.measure(session)
            tell(show(tables[part]))
    if yardsticks is not None:
        say("ceilings")
        yardsticks.finish()
        tables["kernel"] = kernel.kernel_table(timed, yardsticks, threads)
        tables["ceilings"] = yardsticks.as_rows()
        tell(text.kernel(tables["kernel"], tables["ceilings"]))
    for engine in session.engines:
        for what, why in engine.refused.items():
            tell(f"engine={engine.name} left out for {what}: {why}")
    if session.ratios:
        tables["ratios"] = pd.DataFrame(session.ratios)
        tell(text.ratios(tables["ratios"]))
    return results
