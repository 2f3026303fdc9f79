"""The size of SnAp-n's pattern: counted from a pattern, or expected before a mask is drawn."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from snaprun.sparsity.pattern import Pattern


@dataclass(frozen=True)
class Reach:
    """The counts of a `Pattern` that determine the size of every storage of J.

    Block g has R_g rows and P_g columns. P_D is the set of live entries of the dynamics Jacobian
    that lie inside some block.
    """

    states: int  # S
    parameters: int  # P
    blocks: int
    entries: int  # of J per lane: Σ_g R_g P_g
    rows: int  # Σ_g R_g
    squares: int  # Σ_g R_g²
    most_rows: int  # max_g R_g
    sizes: tuple[tuple[int, int, int], ...]  # how many blocks have how many rows and columns
    dynamics: int  # an upper bound of |P_D|
    links: int  # Σ_g |P_D[R_g, R_g]|

    @classmethod
    def of(cls, pattern: Pattern) -> "Reach":
        """Returns the counts of a pattern."""
        reach_SG = pattern.reach_SG.float()
        entries_SS = pattern.dynamics_SS | pattern.links_SS
        inside_SG = entries_SS.float() @ reach_SG
        rows_G = pattern.rows_G
        alike = Counter(zip(rows_G.tolist(), pattern.columns_G.tolist(), strict=True))
        links = int((inside_SG.mul_(reach_SG)).sum(0).double().sum())
        return cls(
            states=pattern.reach_SG.shape[0],
            parameters=len(pattern.block_P),
            blocks=len(rows_G),
            entries=pattern.live,
            rows=int(rows_G.sum()),
            squares=int(rows_G.square().sum()),
            most_rows=int(rows_G.max()),
            sizes=tuple((count, *size) for size, count in alike.items()),
            dynamics=min(int(entries_SS.sum()), links),
            links=links,
        )

    @classmethod
    def expected(
        cls,
        slope_pattern: Sequence[Sequence[bool]],
        state_pattern: Sequence[Sequence[bool]],
        recurrent_slots: Sequence[bool],
        parameters_M: Sequence[int],
        units: int,
        linked: Callable[[int], float],
        n: int | None,
        loops: bool = True,
    ) -> "Reach":
        """Returns the counts to expect before a mask is drawn, from closed forms.

        A unit v feeds (p, u) with the probability q_p = linked(recurrent slots that reach p). Let
        f_p be the fraction of components p reached among the units that are not a block's own.
        If H outputs h are reached, the next step reaches f_p = 1 − (1 − q_p)^H. This is concave
        in H, so it is at least the mean over all masks. It is exact for dense and diagonal masks.
        `parameters_M` are the live parameters of each slot, and `loops` says whether a unit may see
        its own h.
        """
        components, others = range(len(slope_pattern)), units - 1
        feeding = [
            sum(reaches and fed for reaches, fed in zip(row, recurrent_slots, strict=True))
            for row in slope_pattern
        ]
        q = [linked(slots) for slots in feeding]
        # Slots with the same column of the slope pattern form a class, as in `reachable`.
        classes: dict[tuple[bool, ...], int] = {}
        for m, parameters in enumerate(parameters_M):
            column = tuple(bool(row[m]) for row in slope_pattern)
            classes[column] = classes.get(column, 0) + parameters
        dynamics = sum(units * others * q[p] + units * loops * (feeding[p] > 0) for p in components)
        dynamics += sum(units * sum(map(bool, row)) for row in state_pattern)
        entries = rows = squares = links = most = 0.0
        sizes = []
        for column, parameters in classes.items():
            own, f = [float(x) for x in column], [0.0 for _ in components]
            steps = 2 * units * len(components) if n is None else n - 1
            for _ in range(steps):
                heads = own[0] + f[0] * others
                hit = [1 - (1 - q[p]) ** heads for p in components]
                carried = [[q_ for q_ in components if state_pattern[p][q_]] for p in components]
                own_next = [
                    max([own[p], *(own[c] for c in carried[p]), own[0] * loops * (feeding[p] > 0)])
                    for p in components
                ]
                f_next = [max([f[p], hit[p], *(f[c] for c in carried[p])]) for p in components]
                moved = max(abs(a - b) for a, b in zip(own_next + f_next, own + f, strict=True))
                own, f = own_next, f_next
                if moved < 1e-6 / units:
                    break
            each = sum(own) + others * sum(f)
            sizes.append((units, math.ceil(each), -(-parameters // units)))
            entries += parameters * each
            rows += units * each
            squares += units * each**2
            most = max(most, each)
            # The share of all links that lies inside a block with rows at random places.
            links += units * (dynamics * (each / (units * len(components))) ** 2 + each)
        return cls(
            states=units * len(components),
            parameters=sum(parameters_M),
            blocks=units * len(classes),
            entries=math.ceil(entries),
            rows=math.ceil(rows),
            squares=math.ceil(squares),
            most_rows=math.ceil(most),
            sizes=tuple(sizes),
            dynamics=math.ceil(min(dynamics, links)),
            links=math.ceil(links),
        )

    @classmethod
    def stacked(cls, alone: Sequence["Reach"], whole: bool) -> "Reach":
        """Returns the counts of a stack from those of its layers alone.

        If `whole` is true, parameters also reach every state of the layers above, as in RTRL, and
        the links between layers count as entries of P_D.
        """
        if len(alone) == 1:
            return alone[0]
        above = [sum(x.states for x in alone[i + 1 :]) * whole for i in range(len(alone))]
        pairs = list(zip(alone, above, strict=True))
        states, dense = (
            sum(x.states for x in alone),
            sum(upper.states * lower.states for lower, upper in pairwise(alone)),
        )
        dynamics = sum(x.dynamics for x in alone) + dense * whole
        return cls(
            states=states,
            parameters=sum(x.parameters for x in alone),
            blocks=sum(x.blocks for x in alone),
            entries=sum(x.entries + x.parameters * more for x, more in pairs),
            rows=sum(x.rows + x.blocks * more for x, more in pairs),
            squares=sum(x.squares + 2 * x.rows * more + x.blocks * more**2 for x, more in pairs),
            most_rows=max(x.most_rows + more for x, more in pairs),
            sizes=tuple(
                (count, rows + more, columns)
                for x, more in pairs
                for count, rows, columns in x.sizes
            ),
            dynamics=dynamics,
            links=sum(x.links + x.blocks * dynamics * (more > 0) for x, more in pairs),
        )
