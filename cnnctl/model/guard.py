"""A loss that is no number fails the step before it changes a trained weight, in either loop.

What the forward pass alone changes, moving averages and dropout's seeds, it has changed by then.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

_MARK = "the loss is no finite number"
_TOLD = re.compile(_MARK + r"[\s\[\]]*(-?)(inf|nan)")


def guard_loss(optimizer: keras.Optimizer) -> None:
    """Lets an optimizer refuse a loss that is infinite or no number: the step then raises `tf.errors.InvalidArgumentError`.

    Keras's own step and ours both hand the loss to `scale_loss` before they ask for gradients, so this reaches `fit` too.
    """
    scale = optimizer.scale_loss
    optimizer.scale_loss = lambda loss: scale(_guarded(loss))


@tf.custom_gradient
def _guarded(loss: Any) -> tuple[Any, Any]:
    """The loss itself; what its gradients are computed from waits until it is known to be finite."""
    return tf.identity(loss), lambda upstream: only_if_finite(loss, [upstream])[0]


def only_if_finite(loss: Any, gradients: Sequence[Any]) -> list[Any]:
    """Return the same gradients, which nobody gets if the loss is infinite or no number."""
    check = tf.raw_ops.Assert(condition=tf.math.is_finite(loss), data=[_MARK, loss])  # tf.debugging's would branch each step
    with tf.control_dependencies([check]):
        return [tf.identity(gradient) for gradient in gradients]


def refused_loss(error: Exception) -> str | None:
    """Return the loss that made a step fail: `nan`, `inf` or `-inf`; None if it failed for another reason."""
    told = _TOLD.search(str(error))
    if told is None:
        return None
    sign, kind = told.groups()
    return kind if kind == "nan" else f"{sign}{kind}"  # C++ prints the sign bit of a nan, which means nothing
