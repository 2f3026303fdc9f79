"""snaprun verify checks gradients against independent computations."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from snaprun import checks, config, verify
from snaprun.cells import Cell
from snaprun.outcome import Outcome, Status
from snaprun.rules import RULES, LearningRule
from snaprun.run.machine import Machine
from snaprun.sparsity import SPARSITIES, Sparsity
from snaprun.terminal import say

# The smallest accepted value of each key; fewer draws give no confidence interval.
LEAST = {"inputs": 1, "outputs": 1, "lanes": 1, "steps": 1, "draws": 100}


@dataclass(frozen=True)
class Keys:
    """The keys of conf/verify.yaml."""

    title: str  # the choices in words
    machine: Machine
    cell: Cell
    units: int
    sparsity: Sparsity
    rule: LearningRule
    counts: dict[str, int]  # by the names in LEAST

    @classmethod
    def of(cls, plain: Mapping[str, Any], sweep: bool) -> Self:
        """Read the keys from a configuration; raises UserError if they are wrong."""
        del sweep
        machine = config.machine(plain, LEAST)
        cell, units = config.cell(plain)
        counts = {
            key: checks.at_least(key, config.converted(key, plain[key], int), least)
            for key, least in LEAST.items()
        }
        sparsity = config.construct("sparsity", SPARSITIES, plain)
        rule = config.construct("rule", RULES, plain)
        chosen = f"{plain['rule']['name']}{plain['rule'].get('n', '')}"
        title = f"{plain['cell']['name']}-{units}, {chosen}, {machine.device}"
        return cls(title, machine, cell, units, sparsity, rule, counts)


def run(keys: Keys) -> Outcome:
    """Print a table of checks; the outcome is FAILED if a gradient differs."""
    keys.machine.start()
    sizes = {"cell.units": keys.units} | keys.counts
    with checks.telling_exhaustion(lambda: checks.too_large(sizes)):
        found = verify.verify(
            keys.cell,
            keys.units,
            keys.sparsity,
            keys.rule,
            seed=keys.machine.seed,
            device=keys.machine.device,
            **keys.counts,
        )
    say(keys.title)
    say(verify.as_text(found), end="\n\n")
    if all(check.passed for check in found):
        return Outcome()
    return Outcome(Status.FAILED, problem="a gradient differs from its independent computation.")
