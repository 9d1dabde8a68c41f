"""Convolutions of single pixels with strides, without the gradient that oneDNN computes wrongly."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras


def with_strides_first(layer: keras.Layer) -> keras.Layer:
    """Let a 1×1 convolution with strides take the pixels that it reads first, then convolve them without strides; return it.

    Values and gradients are the same by definition. oneDNN reads and writes beyond its memory when it computes the gradient by
    the filters with strides (TensorFlow 2.21): for some channels and sizes the gradient is wrong, for others the process ends.

    Args:
        layer: any; nothing else changes.
    """
    if isinstance(layer, keras.layers.Conv2D) and layer.kernel_size == (1, 1) and max(layer.strides) > 1:
        layer.convolution_op = partial(_of_what_is_read, layer.strides, layer.data_format)
    return layer


def _of_what_is_read(strides: tuple[int, int], data_format: str, images: Any, kernel: Any) -> Any:
    """Convolve the pixels at the strides of images, (B, H, W, C) or (B, C, H, W)."""
    rows, columns = (slice(None, None, stride) for stride in strides)
    read = images[:, :, rows, columns] if data_format == "channels_first" else images[:, rows, columns]
    return keras.ops.conv(read, kernel, data_format=data_format)
