"""One run of the bench, part by part."""

from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from snaprun.bench import growth, kernel, memory, step, targets, text
from snaprun.bench.available import engines, missing, native_isa, use_threads
from snaprun.bench.machine import facts, line
from snaprun.bench.options import BenchOptions
from snaprun.bench.ratios import Ratio
from snaprun.bench.ratios import table as ratio_table
from snaprun.bench.results import Results
from snaprun.bench.sizes import FULL, QUICK, Sizes
from snaprun.hardware import cores


def run(
    options: BenchOptions,
    *,
    threads: int,
    seed: int,
    tell: Callable[[str], None],
    say: Callable[[str], None],
    sizes: Sizes | None = None,
) -> Results:
    """Measure the parts of `options`; `tell` gets every table as text, `say` what goes on."""
    sizes = sizes or (QUICK if options.quick else FULL)
    if options.seconds is not None:
        sizes = replace(sizes, budget=replace(sizes.budget, seconds=options.seconds))
    use_threads(threads)
    results = Results(facts(threads, native_isa()))
    tables: dict[str, pd.DataFrame] = results.tables
    tell("\n".join([line(results.machine), *missing()]))
    there = list(engines().values())
    ratios: list[Ratio] = []
    if "kernel" in options.parts:
        measured = kernel.measure(sizes, threads, seed, say)
        tables["kernel"], results.ceilings = measured.table, measured.ceilings
        ratios += measured.ratios
        tell(text.kernel(tables["kernel"], measured.ceilings))
        if cores() < 2:
            tell("Two threads against one: not measured, for there is one core.")
    if "step" in options.parts:
        tables["step"], more = step.measure(sizes, there, seed, say)
        ratios += more
        tell(text.step(tables["step"]))
    if "growth" in options.parts:
        tables["growth"] = growth.measure(sizes, there, seed, say)
        tell(text.growth(tables["growth"]))
    if "memory" in options.parts:
        tables["memory"] = memory.measure(sizes, there, seed, say)
        tell(text.memory(tables["memory"]))
    for engine in there:
        for what, why in engine.refused.items():
            tell(f"engine={engine.name} left out for {what}: {why}")
    if ratios:
        tables["ratios"] = ratio_table(ratios)
        tell(text.ratios(tables["ratios"]))
    tables["targets"] = targets.judge(tables)
    tell(text.targets(tables["targets"]))
    return results
