"""Up-sampling as two matrix products, where TensorFlow's resize lacks what is needed."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

SMALLEST = 1e-6
"""Weights below it are rounding: the sines of Lanczos at whole multiples of pi."""


def interpolation_weights(pixels: int, factor: int, interpolation: str) -> NDArray[np.float32]:
    """Return the weights of `pixels` values in each of `pixels · factor` positions, (positions, pixels), as Keras has them."""
    layer = keras.layers.UpSampling2D((factor, 1), "channels_last", interpolation, dtype="float32")
    with tf.init_scope():
        weights = np.asarray(layer(np.eye(pixels, dtype=np.float32)[:, :, np.newaxis, np.newaxis]))[:, :, 0, 0].T
    return np.where(np.abs(weights) < SMALLEST, np.float32(0), weights)


@keras.saving.register_keras_serializable(package="cnnctl")
class UpSamplingByProducts(keras.layers.UpSampling2D):
    """Up-sampling in any precision and with second derivatives.

    TensorFlow's resize computes in float32 only, and its gradient has no gradient: that of bilinear would be taken for 0.
    """

    def call(self, inputs: Any) -> Any:
        """Interpolate rows, then columns: each as the last axis, for which TensorFlow Lite has a product."""
        first = self.data_format == "channels_first"
        height, width = inputs.shape[2:] if first else inputs.shape[1:3]
        rows, columns = (
            interpolation_weights(pixels, factor, self.interpolation).T.astype(self.compute_dtype)
            for pixels, factor in zip((height, width), self.size, strict=True)
        )
        by_column = keras.ops.transpose(inputs, (0, 1, 3, 2) if first else (0, 3, 2, 1))  # (B, C, W, H)
        higher = keras.ops.transpose(keras.ops.matmul(by_column, rows), (0, 1, 3, 2))
        wider = keras.ops.matmul(higher, columns)  # (B, C, H, W)
        return wider if first else keras.ops.transpose(wider, (0, 2, 3, 1))


def with_products(network: keras.Model) -> keras.Model:
    """Copy a network, with products for the interpolations that TensorFlow Lite has not."""

    def copied(layer: keras.layers.Layer) -> keras.layers.Layer:
        other = isinstance(layer, keras.layers.UpSampling2D) and layer.interpolation not in ("nearest", "bilinear")
        return (UpSamplingByProducts if other else type(layer)).from_config(layer.get_config())

    copy = keras.models.clone_model(network, clone_function=copied)
    copy.set_weights(network.get_weights())
    return copy
