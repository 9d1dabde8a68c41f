"""Optuna's own plots of a study, as PNG files; what they are called, and where there was no room, is ours."""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cnnctl.surroundings import own_matplotlib

own_matplotlib()

import matplotlib.pyplot as plt
import numpy as np
import optuna
from matplotlib.axis import Axis
from matplotlib.ticker import MaxNLocator
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from cnnctl.report.comparison import short_name
from cnnctl.report.text import printable

DOTS_PER_INCH = 100
MAX_NAMED = 20
"""So many trials are named beside the curves of their epochs."""
LETTERS = 18
"""Letters of a choice's name on one line."""
NAMES_WIDTH = 0.1
"""Of the figure, that the names of the last parameter of the parallel coordinates take."""
HEIGHT = 4.5
"""Of a plot, in inches."""

drawn = optuna.visualization.matplotlib


def plots(study: optuna.Study, objective: str) -> Iterator[tuple[str, bytes]]:
    """Yields a name and a PNG file for each plot that a study has enough trials for.

    Args:
        study: with at least one trial that is done.
        objective: what trials are compared by.
    """
    shown, measure = _renamed(study), objective.replace("_", " ")
    for name, draw in _kinds(shown, measure).items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna calls each of them experimental
            try:
                yield name, draw()
            finally:
                plt.close("all")


def _kinds(study: optuna.Study, measure: str) -> dict[str, Callable[[], bytes]]:
    """Returns what draws each plot."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    kinds = {
        "history": lambda: _history(study, measure),
        "slice": lambda: _slice(study, measure),
        "parallel_coordinate": lambda: _parallel_coordinate(study, measure),
        "epochs": lambda: _epochs(study, measure),
    }
    if len({trial.value for trial in done}) > 1:  # else nothing made a difference
        kinds["importances"] = lambda: _importances(study, measure)
    return kinds


def _history(study: optuna.Study, measure: str) -> bytes:
    axes = drawn.plot_optimization_history(study, target_name=measure)
    axes.set_title("Trials", loc="center")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _png(axes, 7)


def _slice(study: optuna.Study, measure: str) -> bytes:
    axes = list(np.ravel(np.asarray(drawn.plot_slice(study, target_name=measure))))
    for each in axes:
        each.tick_params(axis="x", labelrotation=30)
    folded = [_fold_names(each.xaxis, rotation=40, ha="right", rotation_mode="anchor", fontsize="small") for each in axes]
    axes[0].figure.suptitle(f"{measure} by parameter")
    return _png(axes[0], 2 + max(2.6, *folded) * len(axes))


def _parallel_coordinate(study: optuna.Study, measure: str) -> bytes:
    axes = drawn.plot_parallel_coordinate(study, target_name=measure)
    axes.set_title("Parameters of each trial")
    for each in axes.figure.axes:
        each.grid(visible=False)
        _fold_names(each.yaxis, fontsize="small")
    for each in axes.figure.axes:
        if each.get_label() == "<colorbar>":  # right of the names of the last parameter
            place = each.get_position()
            each.set_position((place.x0 + NAMES_WIDTH, place.y0, place.width, place.height))
    return _png(axes, 4 + 2 * len(study.trials[0].params))


def _fold_names(axis: Axis, **properties: Any) -> int:
    """Folds the names of choices at an axis, which Optuna may put in quotes; an axis of numbers stays as it is.

    Returns how many there are.
    """
    axis.axes.figure.canvas.draw()  # else there are no names yet
    names = [each.get_text().removeprefix("'").removesuffix("'") for each in axis.get_ticklabels()]
    if list(axis.get_ticklocs()) != list(range(len(names))) or all(map(_is_number, names)):
        return 0
    axis.set_ticks(range(len(names)), [textwrap.fill(each, LETTERS) for each in names], **properties)
    return len(names)


def _is_number(text: str) -> bool:
    try:
        float(text.replace("\N{MINUS SIGN}", "-"))
    except ValueError:
        return False
    return True


def _epochs(study: optuna.Study, measure: str) -> bytes:
    axes = drawn.plot_intermediate_values(study)
    axes.set(title="Trials by epoch", xlabel="epoch", ylabel=measure)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(study.trials) > MAX_NAMED:
        _remove_legend(axes)
    return _png(axes, 7)


def _importances(study: optuna.Study, measure: str) -> bytes:
    axes = drawn.plot_param_importances(study, target_name=measure)
    axes.set_title(f"Importance for the {measure}", loc="left")
    axes.set(xlabel="importance", ylabel="")
    _remove_legend(axes)
    return _png(axes, 7)


def _remove_legend(axes: Any) -> None:
    if legend := axes.get_legend():
        legend.remove()


def _png(axes: Any, width: float) -> bytes:
    figure, content = axes.figure, io.BytesIO()
    figure.set_size_inches(width, HEIGHT)
    figure.savefig(content, format="png", dpi=DOTS_PER_INCH, bbox_inches="tight", metadata={"Software": None})
    return content.getvalue()


def _renamed(study: optuna.Study) -> optuna.Study:
    """Returns the trials that have ended in a study in memory, with names that are short, and that no font takes for a formula."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    paths = list(trials[0].params)
    names = dict(zip(paths, (_drawable(short_name(path, paths)) for path in paths), strict=True))
    shown = optuna.create_study(direction=study.direction)
    for trial in trials:
        shown.add_trial(_renamed_trial(trial, names))
    return shown


def _renamed_trial(trial: FrozenTrial, names: Mapping[str, str]) -> FrozenTrial:
    return create_trial(
        state=trial.state,
        value=trial.value,
        params={names[path]: _drawable(value) for path, value in trial.params.items()},
        distributions={names[path]: _drawable_choices(each) for path, each in trial.distributions.items()},
        intermediate_values=trial.intermediate_values,
    )


def _drawable_choices(distribution: BaseDistribution) -> BaseDistribution:
    if isinstance(distribution, CategoricalDistribution):
        return CategoricalDistribution([_drawable(each) for each in distribution.choices])
    return distribution


def _drawable(value: Any) -> Any:
    return printable(value).replace("$", r"\$") if isinstance(value, str) else value
