"""The keys of conf/panel/*.yaml: what a panel compares, and how."""

from collections.abc import Collection, Mapping
from typing import Any

from snaprun import checks
from snaprun.metrics import BUILT_IN, Metric, known

OTHERS = "others"  # in a mapping of arms, stands for the arms that it does not name
# The keys that no override may set, because the panel sets them for each run, and from what.
_SET_BY = {
    "optim.lr": "panel.rates",
    "seed": "panel.seeds",
    "name": "panel.name",
    "results": "results",
}


class Selection:
    """The seeds on which the learning rates are chosen, and the overrides of those runs."""

    def __init__(self, seeds: list | dict, overrides: list | None = None):
        self.seeds = seeds
        self.overrides = _words("panel.selection.overrides", overrides or [])


class Panel:
    """Arms that share an experiment and differ in their overrides, compared by one metric.

    `rates` are the learning rates to choose from, `selection.seeds` the seeds on which they are
    chosen, and `seeds` is the number of fresh seeds, counted from `first_seed`. Each of the three
    is one value for all arms, or a mapping of values by arm, with `others` for the other arms; on
    top of a base with a mapping only a mapping is accepted. The p-values of the `planned` pairs
    of arms are adjusted for each other; if no pair is planned, those of all pairs are. Raises
    UserError if a value is not accepted.
    """

    def __init__(
        self,
        name: str,
        about: str,
        arms: dict,
        metric: str,
        rates: list | dict,
        selection: Selection,
        seeds: int | dict,
        experiment: str | None = None,
        overrides: list | None = None,
        claims: list | None = None,
        first_seed: int = 0,
        planned: list | None = None,
    ):
        self.name, self.about, self.experiment = name, about, experiment
        self.claims = [str(claim) for claim in claims or []]
        self.metric = _metric(metric)
        self.overrides = _words("panel.overrides", overrides or [])
        # A delta leaves an arm out by giving it no overrides, not even an empty list.
        self.arms = {
            arm: _words(f"panel.arms.{arm}", words)
            for arm, words in arms.items()
            if words is not None
        }
        if not self.arms:
            checks.refuse("panel.arms", arms, "at least one arm")
        self.rates = {
            arm: _rates(f"panel.rates of {arm}", value)
            for arm, value in _by_arm("panel.rates", rates, arms).items()
        }
        first = checks.at_least("panel.first_seed", first_seed, 0)
        self.seeds = {
            arm: range(first, first + _count(f"panel.seeds of {arm}", value))
            for arm, value in _by_arm("panel.seeds", seeds, arms).items()
        }
        self.trials = {
            arm: _trials(f"panel.selection.seeds of {arm}", value, self.seeds[arm])
            for arm, value in _by_arm("panel.selection.seeds", selection.seeds, arms).items()
        }
        self.trial_overrides = selection.overrides
        self.planned = _pairs("panel.planned", planned or [], arms, self.arms)


def under(panel: Mapping[str, Any], budget: str) -> dict[str, Any]:
    """Apply one of a panel's budgets, a delta, to its keys; raises UserError if it is unknown."""
    rest = dict(panel)
    budgets = rest.pop("budgets", None)
    if not isinstance(budgets, Mapping) or not budgets:
        checks.refuse("panel.budgets", budgets, "a mapping of budgets, such as small and full")
    delta = budgets[checks.one_of("budget", budget, list(budgets))] or {}
    if not isinstance(delta, Mapping):
        checks.refuse(f"panel.budgets.{budget}", delta, "keys of the panel")
    return _merged(rest, delta)


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    both: dict[str, Any] = {}
    for key in old.keys() & new.keys():
        pair = old[key], new[key]
        if all(isinstance(value, Mapping) for value in pair):
            both[key] = _merged(*pair)
        elif key == "overrides":  # if two set the same key, the last one counts
            both[key] = [word for value in pair for word in _words("overrides", value or [])]
    return {**old, **new, **both}


def _metric(key: str) -> Metric:
    """Return the metric called `key`: a built-in one, or else one that a task declares."""
    metrics = BUILT_IN
    if key not in metrics:
        from snaprun.tasks import TASKS  # imports torch, which built-in metrics do not need

        metrics = known(metric for task in TASKS.values() for metric in task.declared)
        checks.one_of("panel.metric", key, list(metrics))
    return metrics[key]


def _by_arm(what: str, value: Any, arms: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of each arm that is not left out."""
    present = [arm for arm, words in arms.items() if words is not None]
    if not isinstance(value, Mapping):
        return dict.fromkeys(present, value)
    for name in value:
        checks.one_of(what, name, [*arms, OTHERS])
    for arm in present:
        if arm not in value and OTHERS not in value:
            checks.refuse(what, value, f"a value for {arm}, or for {OTHERS}")
    return {arm: value.get(arm, value.get(OTHERS)) for arm in present}


def _words(what: str, words: Any) -> tuple[str, ...]:
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        checks.refuse(what, words, "a list of overrides, such as [rule=snap1, optim=sgd]")
    for word in words:
        if key := _SET_BY.get(word.lstrip("+").partition("=")[0]):
            checks.refuse(what, word, "overrides of other keys", f"This one is set by {key}.")
    return tuple(words)


def _pairs(
    what: str, pairs: Any, known: Collection[str], present: Collection[str]
) -> tuple[tuple[str, str], ...]:
    """Return the pairs of which both arms are present; refuses a pair with an unknown arm."""
    for pair in pairs if isinstance(pairs, list) else [pairs]:
        if not isinstance(pair, list) or len(set(map(str, pair))) != 2 or len(pair) != 2:
            checks.refuse(what, pairs, "a list of pairs of arms, such as [[snap1, uoro]]")
        for arm in pair:
            checks.one_of(what, arm, list(known))
    _unique(what, [frozenset(pair) for pair in pairs])
    return tuple((one, two) for one, two in pairs if one in present and two in present)


def _count(what: str, value: Any) -> int:
    if type(value) is not int:
        checks.refuse(what, value, "an integer ≥ 1")
    return checks.at_least(what, value, 1, most=1000)


def _trials(what: str, seeds: Any, fresh: range) -> tuple[int, ...]:
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int for seed in seeds):
        checks.refuse(what, seeds, "a list of integers")
    _unique(what, seeds)
    if min(seeds) < 0 or set(seeds) & set(fresh):
        accepted = f"seeds ≥ 0 outside {fresh.start} to {fresh.stop - 1}"
        remedy = "Those are compared, and must not have chosen the learning rate."
        checks.refuse(what, seeds, accepted, remedy)
    return tuple(seeds)


def _rates(what: str, rates: Any) -> tuple[float, ...]:
    if not isinstance(rates, list) or not rates:
        checks.refuse(what, rates, "a list of learning rates")
    for rate in rates:
        if isinstance(rate, bool) or not isinstance(rate, int | float):
            checks.refuse(what, rate, "a number")
        checks.within(what, rate, 0, float("inf"), open_low=True, open_high=True)
    _unique(what, rates)
    return tuple(rates)


def _unique(what: str, values: list) -> None:
    if len(set(values)) < len(values):
        checks.refuse(what, values, "each once")
