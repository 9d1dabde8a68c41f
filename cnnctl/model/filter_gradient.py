"""The gradient of a convolution by its filters as matrix products, one per position of the kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

LEAST_CHANNELS = 16
"""Below, the products have so few rows or columns that one operation is as fast."""


def has_faster_gradient(layer: keras.Layer, inputs: Any) -> bool:
    """Find out whether matrix products give the gradient by the filters faster than TensorFlow's own operation.

    oneDNN's operation in bfloat16 reaches a fraction of the speed of a matrix product where maps are small and channels are
    many, and is not split well among cores. The rule is a measured one (docs/results/speed.md): a geometric mean of input and
    output channels above the number of output pixels. On a GPU and in float32 TensorFlow's operation stays.

    Args:
        layer: of a network.
        inputs: what it is called on.
    """
    if type(layer) is not keras.layers.Conv2D or layer.compute_dtype != "bfloat16" or tf.config.get_visible_devices("GPU"):
        return False
    plain = layer.strides == layer.dilation_rate == (1, 1) and layer.groups == 1
    if not plain or layer.data_format != "channels_last" or layer.padding not in ("same", "valid"):
        return False
    channels = inputs.shape[-1]
    _, height, width, filters = layer.compute_output_shape(inputs.shape)
    if None in (height, width) or min(channels, filters) < LEAST_CHANNELS:
        return False
    return bool((height * width) ** 2 < channels * filters)


@contextmanager
def by_products(layer: keras.layers.Conv2D) -> Iterator[None]:
    """Let a layer compute its gradient in that way, temporarily; the way is looked up when the layer is traced."""
    layer.convolution_op = _convolution(layer.padding.upper())
    try:
        yield
    finally:
        del layer.convolution_op


def _convolution(padding: str) -> Callable[[Any, Any], Any]:
    @tf.custom_gradient
    def convolve(images: Any, kernel: Any) -> tuple[Any, Callable[[Any], tuple[Any, Any]]]:
        def gradient(upstream: Any) -> tuple[Any, Any]:
            by_images = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(images), filter=kernel, out_backprop=upstream, strides=[1, 1, 1, 1], padding=padding
            )
            return by_images, gradient_by_filters(images, upstream, kernel.shape[:2], padding)

        return tf.nn.conv2d(images, kernel, 1, padding), gradient

    return lambda images, kernel: convolve(images, tf.convert_to_tensor(kernel, images.dtype))


def gradient_by_filters(images: Any, upstream: Any, kernel_size: tuple[int, int], padding: str) -> Any:
    """Compute the gradient by the filters, (KH, KW, C, F), of a convolution with stride 1.

    At position (i, j) of the kernel it is the sum over images and output pixels (h, w) of images[h + i, w + j] upstream[h, w],
    a product of (C, B·OH·OW) and (B·OH·OW, F).

    Args:
        images: (B, H, W, C), the inputs.
        upstream: (B, OH, OW, F), the gradient by the outputs.
        kernel_size: KH and KW.
        padding: `SAME` or `VALID`.
    """
    height, width, filters = upstream.shape[1:]
    rows, columns = kernel_size
    if padding == "SAME":  # with stride 1, kernel - 1 pixels, the odd one after the image
        around = [[(size - 1) // 2, size // 2] for size in kernel_size]
        images = tf.pad(images, [[0, 0], *around, [0, 0]])
    arriving = tf.reshape(upstream, [-1, filters])
    products = [
        tf.matmul(tf.reshape(images[:, i : i + height, j : j + width], [-1, images.shape[-1]]), arriving, transpose_a=True)
        for i in range(rows)
        for j in range(columns)
    ]
    return tf.reshape(tf.stack(products), [rows, columns, images.shape[-1], filters])
