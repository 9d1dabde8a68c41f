"""Make a step with a non-finite loss fail before it changes a trainable weight, in both loops.

Moving averages and dropout seeds, which the forward pass updates, have changed by then.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

_MARK = "the loss is not finite"
_MESSAGE = re.compile(_MARK + r"[\s\[\]]*(-?)(inf|nan)")


def guard_loss(optimizer: keras.Optimizer) -> None:
    """Make an optimizer raise `tf.errors.InvalidArgumentError` in a step with a non-finite loss.

    The steps of Keras and of the custom loop both pass the loss to `scale_loss` before they compute gradients.
    """
    scale = optimizer.scale_loss
    optimizer.scale_loss = lambda loss: scale(_guarded(loss))


@tf.custom_gradient
def _guarded(loss: Any) -> tuple[Any, Any]:
    """Return the loss unchanged; its gradient waits for the check that the loss is finite."""
    return tf.identity(loss), lambda upstream: only_if_finite(loss, [upstream])[0]


def only_if_finite(loss: Any, gradients: Sequence[Any]) -> list[Any]:
    """Return the gradients, which are available only if the loss is finite."""
    check = tf.raw_ops.Assert(condition=tf.math.is_finite(loss), data=[_MARK, loss])  # tf.debugging would add a branch per step
    with tf.control_dependencies([check]):
        return [tf.identity(gradient) for gradient in gradients]


def refused_loss(error: Exception) -> str | None:
    """Parse the loss of a failed step from its error: `nan`, `inf` or `-inf`; None for any other error."""
    found = _MESSAGE.search(str(error))
    if found is None:
        return None
    sign, kind = found.groups()
    return kind if kind == "nan" else f"{sign}{kind}"  # C++ prints the sign bit of a NaN, which has no meaning
