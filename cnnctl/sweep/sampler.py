"""The values of trials, drawn by Optuna from the sweep's seed and the trial's number alone."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial

from cnnctl.spec.choices import labels
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.sweep import Range, SuccessiveHalving, SweepSpec
from cnnctl.spec.trial import takes_fractions


def distributions_of(experiment: Experiment) -> dict[str, BaseDistribution]:
    """Create Optuna's distributions, by config path."""
    assert experiment.sweep
    return {path: _distribution(experiment, path, each) for path, each in experiment.sweep.parameters.items()}


def _distribution(experiment: Experiment, path: str, parameter: Any) -> BaseDistribution:
    if not isinstance(parameter, Range):
        return CategoricalDistribution(labels(parameter))
    if parameter.is_whole and (parameter.step is not None or not takes_fractions(experiment, path, parameter)):
        return IntDistribution(int(parameter.low), int(parameter.high), log=parameter.log, step=int(parameter.step or 1))
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)


def suggest(trial: Trial, path: str, distribution: BaseDistribution) -> None:
    """Draw the value of a trial at a path, unless it is drawn already."""
    if isinstance(distribution, CategoricalDistribution):
        trial.suggest_categorical(path, distribution.choices)
    elif isinstance(distribution, IntDistribution):
        trial.suggest_int(path, distribution.low, distribution.high, step=distribution.step, log=distribution.log)
    elif isinstance(distribution, FloatDistribution):
        trial.suggest_float(path, distribution.low, distribution.high, step=distribution.step, log=distribution.log)


def value_of(parameter: Any, drawn: Any) -> Any:
    """Convert a drawn value to the value in the config."""
    return drawn if isinstance(parameter, Range) else parameter[labels(parameter).index(drawn)]


class SeededSampler(BaseSampler):
    """Sampler seeded by the sweep's seed and the trial's number, so that an interrupted study draws the same values.

    A grid draws nothing: trial n has the n-th point of the grid, with the last parameter varying fastest.
    """

    def __init__(self, sweep: SweepSpec) -> None:
        self._sweep = sweep
        self._joint: BaseSampler | None = None

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the parameters that are drawn together: none, since tpe draws each parameter by itself."""
        self._joint = self._sampler(trial.number, "")
        return self._joint.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw the parameters that are drawn together."""
        assert self._joint
        return self._joint.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw one value."""
        if self._sweep.method == "grid":
            return self._grid_value(trial.number, param_name)
        return self._sampler(trial.number, param_name).sample_independent(study, trial, param_name, param_distribution)

    def _sampler(self, number: int, path: str) -> BaseSampler:
        digest = hashlib.sha256(f"{self._sweep.seed}/{number}/{path}".encode()).digest()
        seed = int.from_bytes(digest[:4])
        return TPESampler(seed=seed) if self._sweep.method == "tpe" else RandomSampler(seed=seed)

    def _grid_value(self, number: int, path: str) -> Any:
        index = number
        for name, axis in reversed(list(zip(self._sweep.parameters, self._sweep.grid_axes, strict=True))):
            index, place = divmod(index, len(axis))
            if name == path:
                return axis[place] if isinstance(self._sweep.parameters[path], Range) else labels(axis)[place]
        raise KeyError(path)


def count_combinations(distributions: Mapping[str, BaseDistribution]) -> float:
    """Count the combinations of values; infinite where a parameter is continuous."""
    return math.prod(map(_count_values, distributions.values()))


def _count_values(distribution: BaseDistribution) -> float:
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return math.inf if distribution.step is None else round((distribution.high - distribution.low) / distribution.step) + 1


def pruner_of(sweep: SweepSpec) -> optuna.pruners.BasePruner:
    """Create Optuna's pruner."""
    pruning = sweep.pruning
    if pruning is None:
        return optuna.pruners.NopPruner()
    if isinstance(pruning, SuccessiveHalving):
        return optuna.pruners.SuccessiveHalvingPruner(
            min_resource=pruning.min_epochs, reduction_factor=pruning.reduction_factor
        )
    # Optuna counts the steps before it may prune; epochs are counted from 1
    return optuna.pruners.MedianPruner(n_startup_trials=pruning.startup_trials, n_warmup_steps=pruning.warmup_epochs + 1)
