"""What a user may not expect of a run that trains all the same; each is one line of the log."""

from collections.abc import Iterator

from snaprun import hardware
from snaprun.core import RecurrentCore
from snaprun.rules import RTRL, SnAp
from snaprun.run.parts import Parts


def remarks(parts: Parts, core: RecurrentCore) -> Iterator[str]:
    """Yield what is remarkable about a run on the core that was drawn for it."""
    cell, rule, threads = core.cell, parts.rule, parts.machine.threads
    if core.reminder is not None and cell.state_pattern[0][0]:
        yield (
            f"{type(cell).__name__} carries h on and the rule adds to h what it recalls, so h may "
            "grow without bound: take a cell that does not carry h on, such as cell=lstm."
        )
    if bare := int((~core.layout.live_MKJ[:, :, :-1].any(2).any(0)).sum()):
        yield (
            f"{bare} of {core.units} units have no weight but their bias: take a smaller "
            "sparsity.level or more cell.units."
        )
    if isinstance(rule, SnAp) and not isinstance(rule, RTRL) and rule.n is not None and rule.n > 1:
        pattern = core.pattern(rule.n)
        if pattern.live == core.pattern(None).live:
            yield f"This is RTRL: in {rule.n} steps every parameter reaches all that it ever does."
    if threads > (cores := hardware.cores()):
        yield f"threads={threads}, but this process may use {cores} of the machine's processors."
