"""Averaged weights: the network that a run would leave, while the training goes on with its own weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from numpy.typing import NDArray


class AveragedWeights:
    """Puts the averages that an optimizer with `use_ema` keeps into its network, and takes them out again.

    Whatever is measured, chosen or shown after an epoch must be of the network that the run would leave then, and Keras makes
    that network in the end only, by `finalize_variable_values`. Without `use_ema` nothing is done.

    Args:
        model: built network.
        optimizer: need not be built yet.
    """

    def __init__(self, model: keras.Model, optimizer: keras.Optimizer) -> None:
        self._model = model
        self._optimizer = optimizer
        self._trained: list[NDArray[Any]] | None = None

    @contextlib.contextmanager
    def in_model(self) -> Iterator[None]:
        """Gives the network the averages for the while."""
        try:
            self.put_in()
            yield
        finally:
            self.take_out()

    def put_in(self) -> None:
        """Gives the network the averages; does nothing where it has them already."""
        if _uses_ema(self._optimizer) and self._trained is None:
            self._trained = [variable.numpy() for variable in self._model.trainable_variables]
            self._optimizer.finalize_variable_values(self._model.trainable_variables)

    def take_out(self) -> None:
        """Gives the network back the weights that it trains with, to the bit."""
        if self._trained is not None:
            for variable, value in zip(self._model.trainable_variables, self._trained, strict=True):
                variable.assign(value)
            self._trained = None  # last: Ctrl-C may come at any moment, and what is saved then is taken from here

    def trained(self) -> dict[int, NDArray[Any]]:
        """Returns the values that the training goes on with, by the ids of variables that hold averages instead."""
        if self._trained is None:
            return {}
        return dict(zip(map(id, self._model.trainable_variables), self._trained, strict=True))


def _uses_ema(optimizer: keras.Optimizer) -> bool:
    return bool(getattr(optimizer, "inner_optimizer", optimizer).use_ema)
