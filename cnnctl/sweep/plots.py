"""Optuna's plots of a study as PNG files, with readable names and enough room for them."""

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
"""Trials up to which the curves have a legend."""
LETTERS = 18
"""Characters per line of a choice's label."""
NAMES_WIDTH = 0.1
"""Fraction of the figure for the labels of the last parameter in the parallel coordinates."""
HEIGHT = 4.5
"""Height of a plot in inches."""

drawn = optuna.visualization.matplotlib


def plots(study: optuna.Study, objective: str) -> Iterator[tuple[str, bytes]]:
    """Yield a name and a PNG file for each plot that a study has enough trials for.

    Args:
        study: with at least one trial that is done.
        objective: measure that trials are compared by.
    """
    shown, measure = _renamed(study), objective.replace("_", " ")
    for name, draw in _kinds(shown, measure).items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna warns that each of them is experimental
            try:
                yield name, draw()
            finally:
                plt.close("all")


def _kinds(study: optuna.Study, measure: str) -> dict[str, Callable[[], bytes]]:
    """Return the functions that draw the plots, by name."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    kinds = {
        "history": lambda: _history(study, measure),
        "slice": lambda: _slice(study, measure),
        "parallel_coordinate": lambda: _parallel_coordinate(study, measure),
        "epochs": lambda: _epochs(study, measure),
    }
    if len({trial.value for trial in done}) > 1:  # equal values have no importances
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
    """Wrap the labels of choices at an axis, which Optuna may quote, and count them; an axis of numbers stays as it is."""
    axis.axes.figure.canvas.draw()  # creates the labels
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
    """Copy the trials that have ended into a study in memory, with short names that Matplotlib does not read as formulas."""
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
