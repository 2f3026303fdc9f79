"""A trial reports its validations to the journal and hears whether it is to end."""

import copy
import math
from collections.abc import Mapping
from pathlib import Path

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner

from snaprun.search.journal import opened
from snaprun.search.options import PrunerName
from snaprun.search.study import metric_of

_PRUNED = "pruned"  # attribute of a trial


class Reports:
    """The reports of trial `number` of the search in `folder`; `last` is that of its last one.

    A report and the pruner's answer enter the journal together. A run that was killed and continues
    from its checkpoint repeats reports, which change nothing.
    """

    def __init__(self, folder: Path, number: int, pruner: PrunerName, last: int) -> None:
        self._storage, self._journal = opened(folder)
        self._pruner = _pruner(pruner, last)
        self._study = optuna.load_study(
            study_name=folder.name, storage=self._storage, pruner=self._pruner
        )
        study_id = self._study._study_id
        self._id = self._storage.get_trial_id_from_study_id_trial_number(study_id, number)
        self.metric = metric_of(self._study)

    @property
    def pruned(self) -> bool:
        """Whether the pruner has ended the trial."""
        return _PRUNED in self._storage.get_trial(self._id).user_attrs

    def __call__(self, step: int, values: Mapping[str, float]) -> bool:
        """Report the metrics of validation `step`; return whether the run is to end early."""
        value = values.get(self.metric.key)
        trial = copy.copy(self._storage.get_trial(self._id))
        known = trial.last_step is not None and step <= trial.last_step
        if known or value is None or not math.isfinite(value):
            return _PRUNED in trial.user_attrs
        trial.intermediate_values = {**trial.intermediate_values, step: value}
        with self._journal.together():
            pruned = self._pruner.prune(self._study, trial)
            if pruned:
                self._storage.set_trial_user_attr(self._id, _PRUNED, True)
            self._storage.set_trial_intermediate_value(self._id, step, value)
        return pruned


def _pruner(name: PrunerName, last: int) -> BasePruner:
    if name == "median":
        return MedianPruner()
    if name == "hyperband":
        return HyperbandPruner(min_resource=1, max_resource=max(1, last))
    return NopPruner()
