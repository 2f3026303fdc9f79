"""snaprun verify checks gradients against independent computations."""

from collections.abc import Mapping
from typing import Any

from snaprun import checks, config, verify
from snaprun.identity import sized
from snaprun.outcome import Outcome, Status
from snaprun.rules import RULES
from snaprun.sparsity import SPARSITIES
from snaprun.terminal import say

# The smallest accepted value of each key; fewer draws give no confidence interval.
LEAST = {"inputs": 1, "outputs": 1, "lanes": 1, "steps": 1, "draws": 100}


def run(plain: Mapping[str, Any]) -> Outcome:
    """Print a table of checks; the outcome is FAILED if a gradient differs."""
    machine = config.machine(plain, LEAST)
    cell, units = config.cell(plain)
    counts = {
        key: checks.at_least(key, config.converted(key, plain[key], int), least)
        for key, least in LEAST.items()
    }
    sparsity = config.construct("sparsity", SPARSITIES, plain)
    rule = config.construct("rule", RULES, plain)
    machine.start()
    sizes = {"cell.units": units} | counts
    with checks.telling_exhaustion(lambda: checks.too_large(sizes)):
        found = verify.verify(
            cell, units, sparsity, rule, seed=machine.seed, device=machine.device, **counts
        )
    chosen = f"{plain['rule']['name']}{plain['rule'].get('n', '')}"
    say(f"{plain['cell']['name']}-{sized(plain['cell'])}, {chosen}, {machine.device}")
    say(verify.as_text(found), end="\n\n")
    if all(check.passed for check in found):
        return Outcome()
    return Outcome(Status.FAILED, problem="a gradient differs from its independent computation.")
