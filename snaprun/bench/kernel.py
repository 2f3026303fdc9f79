"""Measures one step of the influence matrix: its time, its rates, its part of the roofline."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import pandas as pd

from snaprun.bench.available import backends, stored
from snaprun.bench.interleave import Contender, Times, interleave
from snaprun.bench.problem import immediate_macs, record
from snaprun.bench.roofline import FLOAT, Work, Yardsticks, told
from snaprun.bench.session import Session
from snaprun.bench.sizes import Kernel
from snaprun.core import Record
from snaprun.model.network import Network
from snaprun.run.machine import use_threads
from snaprun.sparsity import Pattern


class Problem(NamedTuple):
    """A kernel size with its network and the pattern of the network's influence matrix."""

    size: Kernel
    network: Network
    pattern: Pattern

    @property
    def working_set(self) -> int:
        """The bytes of the live entries of J, over all lanes."""
        return FLOAT * self.pattern.live * self.size.lanes


class Timed(NamedTuple):
    """The measurements of a problem on one backend."""

    problem: Problem
    backend: str
    stored: float  # numbers in storage per live entry
    with_credit: Times
    without_credit: Times


def problems(kernels: Iterable[Kernel], seed: int) -> list[Problem]:
    """Build the networks of the kernel sizes from `seed`."""
    built = ((size, size.net.build(seed)) for size in kernels)
    return [Problem(size, network, network.core.pattern(size.n)) for size, network in built]


def measure(session: Session, problems: Sequence[Problem]) -> list[Timed]:
    """Time every problem on every backend."""
    timed: list[Timed] = []
    for problem in problems:
        size, network, pattern = problem
        session.say(f"kernel {size.net.name}, n={size.n}, {size.lanes} lanes")
        seen = record(network, size.lanes, session.seed)
        unseen = replace(seen, credit_BCK=None, error_BO=None)
        contenders: list[Contender] = []
        padding: dict[str, float] = {}
        for name, backend in backends().items():
            plan = backend.plan(network.core, pattern)
            J = backend.init(plan, size.lanes, network.dtype)
            padding[name] = stored(backend, J) / (pattern.live * size.lanes)
            for label, what in ((f"{name} δ", seen), (name, unseen)):
                contenders.append(Contender(label, partial(_advance, backend, plan, J, what)))
        times = session.time(contenders)
        timed += [
            Timed(problem, name, part, times[f"{name} δ"], times[name])
            for name, part in padding.items()
        ]
    return timed


def two_threads(session: Session) -> None:
    """Add the ratios of the time on one thread to the time on two."""
    for size, network, pattern in problems(session.sizes.threads, session.seed):
        session.say(f"kernel {size.net.name}, two threads against one")
        seen = record(network, size.lanes, session.seed)
        contenders = []
        for name, backend in backends().items():
            for count in (1, 2):
                use_threads(count)
                plan = backend.plan(network.core, pattern)
                J = backend.init(plan, size.lanes, network.dtype)
                advance = partial(_advance, backend, plan, J, seen)
                prepare = partial(use_threads, count)
                contenders.append(Contender(f"{name} {count}", advance, prepare=prepare))
        times = interleave(contenders, session.sizes.budget)
        use_threads(session.threads)
        for name in backends():
            pair = times[f"{name} 1"], times[f"{name} 2"]
            session.compare("kernel: one thread / two", size.net, size.lanes, name, *pair)


def kernel_table(timed: Sequence[Timed], yardsticks: Yardsticks, threads: int) -> pd.DataFrame:
    """Return a row per problem and backend, with the ceilings of the working set."""
    return pd.DataFrame([_row(one, yardsticks, threads) for one in timed])


def work(pattern: Pattern, lanes: int, credit: bool) -> Work:
    """Count D J, I and, with credit, δ J over live entries; J is read once and written once."""
    macs = pattern.product_macs + immediate_macs(pattern) + (pattern.live if credit else 0)
    return Work(macs * lanes, 2 * FLOAT * pattern.live * lanes)


def _advance(backend: ModuleType, plan: Any, J: Any, what: Record, steps: int) -> None:
    for _ in range(steps):
        J, _ = backend.step(plan, J, what)


def _row(timed: Timed, yardsticks: Yardsticks, threads: int) -> dict[str, object]:
    size, pattern, with_credit = timed.problem.size, timed.problem.pattern, timed.with_credit
    needed = work(pattern, size.lanes, credit=True)
    bare = work(pattern, size.lanes, credit=False)
    ceilings = yardsticks.ceilings(timed.problem.working_set)
    roofline, bare_roofline = ceilings.seconds(needed), ceilings.seconds(bare)
    fractions = {
        "fraction": roofline / with_credit.median,
        "fraction_best": roofline / with_credit.best,
        "fraction_without_credit": bare_roofline / timed.without_credit.median,
        "fraction_without_credit_best": bare_roofline / timed.without_credit.best,
    }
    return {
        "network": size.net.name,
        "n": size.n,
        "lanes": size.lanes,
        "backend": timed.backend,
        "threads": threads,
        **with_credit.columns("ms", 1e3),
        "ms_without_credit": 1e3 * timed.without_credit.median,
        "gmacs_per_s": needed.macs / with_credit.median / 1e9,
        "gbytes_per_s": needed.bytes / with_credit.median / 1e9,
        "working_set_bytes": timed.problem.working_set,
        "level": yardsticks.level(timed.problem.working_set),
        "ceiling_gmacs_per_s": ceilings.macs_per_s / 1e9,
        "ceiling_gbytes_per_s": ceilings.bytes_per_s / 1e9,
        "bound": ceilings.bound(needed),
        "roofline_ms": 1e3 * roofline,
        **told(fractions),
        "storage_ratio": timed.stored,
        "rounds": len(with_credit.seconds),
    }
