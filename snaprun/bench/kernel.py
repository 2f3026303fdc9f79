"""One step of the influence matrix: its time, its rates, and its part of the roofline."""

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import pandas as pd

from snaprun.bench.available import backends, influence, stored, use_threads
from snaprun.bench.interleave import Contender, Times, interleave, ratio
from snaprun.bench.problem import immediate_macs, record
from snaprun.bench.ratios import Ratio
from snaprun.bench.roofline import COPY, SGEMM, Ceilings, Work, Yardsticks, best
from snaprun.bench.sizes import Kernel, Sizes
from snaprun.core import Record
from snaprun.hardware import cores
from snaprun.sparsity import Pattern

FLOAT = 4  # bytes


class Measured(NamedTuple):
    """The table, a row a size and backend; the ceilings; and two threads against one."""

    table: pd.DataFrame
    ceilings: Ceilings
    ratios: list[Ratio]


class _Timed(NamedTuple):
    size: Kernel
    backend: str
    pattern: Pattern
    stored: float  # numbers in storage over live entries
    with_credit: Times
    without_credit: Times


def measure(sizes: Sizes, threads: int, seed: int, say: Callable[[str], None]) -> Measured:
    """Every size on every backend, the two ceilings measured in the same rounds."""
    yardsticks = Yardsticks.make(sizes.side)
    timed: list[_Timed] = []
    ceilings: list[Ceilings] = []
    for size in sizes.kernel:
        say(f"kernel {size.net.name}, n={size.n}, {size.lanes} lanes")
        ceilings.append(_group(size, yardsticks, sizes, seed, timed))
    top = best(ceilings)
    table = pd.DataFrame([_row(one, top, threads) for one in timed])
    ratios = [
        one
        for size in sizes.threads
        if cores() >= 2
        for one in _two_threads(size, sizes, threads, seed, say)
    ]
    return Measured(table, top, ratios)


def work(pattern: Pattern, lanes: int, credit: bool) -> Work:
    """D J, I and, with credit, δ J over live entries alone; J read once and written once."""
    macs = pattern.product_macs + immediate_macs(pattern) + (pattern.live if credit else 0)
    return Work(macs * lanes, 2 * FLOAT * pattern.live * lanes)


def _group(
    size: Kernel, yardsticks: Yardsticks, sizes: Sizes, seed: int, timed: list[_Timed]
) -> Ceilings:
    network = size.net.build(seed)
    pattern = network.core.pattern(size.n)
    seen = record(network, size.lanes, seed)
    unseen = Record(seen.src_BJ, seen.dsda_BCMK, seen.dsds_BCCK, seen.weights_MKJ)
    contenders: list[Contender] = []
    padding: dict[str, float] = {}
    for name, backend in backends().items():
        plan, J = influence(backend, network.core, pattern, size.lanes, network.dtype)
        padding[name] = stored(backend, J) / (pattern.live * size.lanes)
        for label, what in ((f"{name} δ", seen), (name, unseen)):
            contenders.append(Contender(label, partial(_advance, backend, plan, J, what)))
    times = interleave((*contenders, *yardsticks.contenders), sizes.budget)
    for name, part in padding.items():
        timed.append(_Timed(size, name, pattern, part, times[f"{name} δ"], times[name]))
    return yardsticks.ceilings(times[SGEMM], times[COPY])


def _two_threads(
    size: Kernel, sizes: Sizes, threads: int, seed: int, say: Callable[[str], None]
) -> list[Ratio]:
    say(f"kernel {size.net.name}, two threads against one")
    network = size.net.build(seed)
    pattern = network.core.pattern(size.n)
    seen = record(network, size.lanes, seed)
    contenders = []
    for name, backend in backends().items():
        for count in (1, 2):
            use_threads(count)
            plan, J = influence(backend, network.core, pattern, size.lanes, network.dtype)
            advance = partial(_advance, backend, plan, J, seen)
            prepare = partial(use_threads, count)
            contenders.append(Contender(f"{name} {count}", advance, prepare=prepare))
    times = interleave(contenders, sizes.budget)
    use_threads(threads)
    return [
        Ratio(
            "kernel: one thread / two",
            f"{size.net.name} n={size.n}",
            size.lanes,
            name,
            ratio(times[f"{name} 1"], times[f"{name} 2"]),
        )
        for name in backends()
    ]


def _advance(backend: ModuleType, plan: Any, J: Any, what: Record, steps: int) -> None:
    for _ in range(steps):
        J, _ = backend.step(plan, J, what)


def _row(timed: _Timed, ceilings: Ceilings, threads: int) -> dict[str, object]:
    size, seconds = timed.size, timed.with_credit.median
    needed = work(timed.pattern, size.lanes, credit=True)
    roofline = ceilings.seconds(needed)
    bare = work(timed.pattern, size.lanes, credit=False)
    return {
        "network": size.net.name,
        "n": size.n,
        "lanes": size.lanes,
        "backend": timed.backend,
        "threads": threads,
        **timed.with_credit.columns("ms", 1e3),
        "ms_without_credit": 1e3 * timed.without_credit.median,
        "gmacs_per_s": needed.macs / seconds / 1e9,
        "gbytes_per_s": needed.bytes / seconds / 1e9,
        "bound": ceilings.bound(needed),
        "roofline_ms": 1e3 * roofline,
        "fraction": roofline / seconds,
        "fraction_best": roofline / timed.with_credit.best,
        "fraction_without_credit": ceilings.seconds(bare) / timed.without_credit.median,
        "storage_ratio": timed.stored,
        "rounds": len(timed.with_credit.seconds),
    }
