"""Averaged weights: the network that a run would save, while the training continues with its own weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from numpy.typing import NDArray

from cnnctl.model.schedule_free import ScheduleFreeAdamW


class AveragedWeights:
    """Puts the averages of an optimizer with `use_ema`, or of schedule-free AdamW, into its network, and the trained weights back.

    Everything that is measured, chosen or shown after an epoch must be of the network that the run would save, and Keras
    makes that network only at the end, by `finalize_variable_values`. For other optimizers this does nothing.

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
        """Give the network the averages for the block."""
        try:
            self.put_in()
            yield
        finally:
            self.take_out()

    def put_in(self) -> None:
        """Give the network the averages; do nothing if it has them already."""
        if _keeps_averages(self._optimizer) and self._trained is None:
            self._trained = [variable.numpy() for variable in self._model.trainable_variables]
            self._optimizer.finalize_variable_values(self._model.trainable_variables)

    def take_out(self) -> None:
        """Give the network its trained weights back, to the bit."""
        if self._trained is not None:
            for variable, value in zip(self._model.trainable_variables, self._trained, strict=True):
                variable.assign(value)
            self._trained = None  # last, since Ctrl-C may come at any moment and saves these

    def trained(self) -> dict[int, NDArray[Any]]:
        """Return the trained values, by the ids of the variables that hold averages now."""
        if self._trained is None:
            return {}
        return dict(zip(map(id, self._model.trainable_variables), self._trained, strict=True))


def _keeps_averages(optimizer: keras.Optimizer) -> bool:
    plain = getattr(optimizer, "inner_optimizer", optimizer)
    return bool(plain.use_ema) or isinstance(plain, ScheduleFreeAdamW)
