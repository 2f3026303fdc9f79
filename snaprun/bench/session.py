"""What the parts of a bench share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from snaprun.bench.available import Engine
from snaprun.bench.contenders import Setting
from snaprun.bench.interleave import Contender, Times, interleave, ratio
from snaprun.bench.problem import STEPS, Net
from snaprun.bench.sizes import Sizes


@dataclass
class Session:
    """The sizes, the engines that take part, and the ratios that were measured so far."""

    sizes: Sizes
    engines: list[Engine]
    threads: int
    seed: int
    say: Callable[[str], None]
    between: Callable[[], object] = lambda: None  # called after every round
    ratios: list[dict[str, object]] = field(default_factory=list)

    def setting(self, net: Net, lanes: int, steps: int = STEPS) -> Setting:
        """Return a network that is trained as briefly as the sizes say, and its data."""
        return Setting.make(net, lanes, self.engines, self.seed, self.sizes.updates, steps)

    def time(self, contenders: Sequence[Contender]) -> dict[str, Times]:
        """Time the contenders in turns; returns the times by name."""
        return interleave(contenders, self.sizes.budget, between=self.between)

    def compare(
        self, what: str, net: Net, lanes: int, engine: str, above: Times, below: Times
    ) -> None:
        """Add the ratio of two times of a group; `engine` may be a backend."""
        median, low, high = ratio(above, below)
        spread = {"ratio": median, "ratio_low": low, "ratio_high": high}
        self.ratios.append({"what": what, **net.columns(lanes), "engine": engine, **spread})
