"""Optuna's own plots of a study, as PNG files."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import optuna
from optuna.trial import TrialState

from cnnctl.report.figures import png_of
from cnnctl.report.text import printable

drawn = optuna.visualization.matplotlib


def plots(study: optuna.Study, choose_by: str) -> Iterator[tuple[str, bytes]]:
    """Yields a name and a PNG file for each plot that a study has enough trials for.

    Args:
        study: with at least one trial that is done.
        choose_by: what trials are compared by.
    """
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    measure = choose_by.replace("_", " ")
    kinds: dict[str, Callable[[], Any]] = {
        "history": lambda: drawn.plot_optimization_history(study, target_name=measure),
        "slice": lambda: drawn.plot_slice(study, target_name=measure),
        "parallel_coordinate": lambda: drawn.plot_parallel_coordinate(study, target_name=measure),
        "epochs": lambda: drawn.plot_intermediate_values(study),
        "importances": lambda: drawn.plot_param_importances(study, target_name=measure),
    }
    if len({trial.value for trial in done}) < 2:
        del kinds["importances"]  # nothing made a difference
    for name, draw in kinds.items():
        yield name, _png(draw)


def _png(draw: Callable[[], Any]) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls each of them experimental
        try:
            axes = draw()
            figure = np.ravel(axes)[0].figure
            return png_of(figure)
        finally:
            plt.close("all")
