"""Schedule-free AdamW as its authors define it, in place of Keras's, whose x is wrong on TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


class ScheduleFreeAdamW(keras.optimizers.ScheduleFreeAdamW):
    """The optimizer with Keras's arguments and variables, whose weights become the average x when they are final.

    Defazio et al., "The road less scheduled" (2024): steps change z, gradients are taken at y = (1 - beta_1)·z + beta_1·x, and
    x, the mean of all z, is the result. The network has y, and `momentum` is z. Keras 3.15 on TensorFlow computes x from
    y and the new z instead of the old one, so that y is about the mean of all z; nor does it ever put x into the network.
    """

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        """Take one step with z and move y along."""
        z, squares = self._of(self._momentums, variable), self._of(self._velocities, variable)
        step = ops.cast(self.iterations + 1, variable.dtype)
        rate, gradient = ops.cast(learning_rate, variable.dtype), ops.cast(gradient, variable.dtype)
        if self.warmup_steps:
            rate = rate * ops.minimum(step / self.warmup_steps, 1.0)
        x = self._average(variable, z)  # before z changes
        self.assign_add(squares, (1 - self.beta_2) * (ops.square(gradient) - squares))
        unbiased = squares / (1 - ops.power(self.beta_2, step))
        self.assign_sub(z, rate * gradient / (ops.sqrt(unbiased) + self.epsilon))
        x = x + (z - x) / step
        self.assign(variable, (1 - self.beta_1) * z + self.beta_1 * x)

    def finalize_variable_values(self, trainable_variables: Sequence[keras.Variable]) -> None:
        """Replace the weights y by x, or by their moving average with `use_ema`."""
        if self.use_ema:
            super().finalize_variable_values(trainable_variables)
            return
        for variable in trainable_variables:
            x = self._average(variable, self._of(self._momentums, variable))
            variable.assign(x if variable.constraint is None else variable.constraint(x))  # y met it, x need not

    def _of(self, slots: Sequence[keras.Variable], variable: keras.Variable) -> keras.Variable:
        return slots[self._get_variable_index(variable)]

    def _average(self, y: Any, z: Any) -> Any:
        """Compute x from y = (1 - beta_1)·z + beta_1·x."""
        return (y - (1 - self.beta_1) * z) / self.beta_1
