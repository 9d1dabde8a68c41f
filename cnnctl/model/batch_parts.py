"""A network that computes a batch in parts at once, one a core."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import keras
import tensorflow as tf

from cnnctl.model.fused import fused_outputs
from cnnctl.spec.stack import Node


class ByParts(keras.Model):
    """Another network, called on each part of a batch; outputs, loss and gradients are those of the whole batch.

    TensorFlow shares the work of each operation among the cores and waits for the slowest, some dozen times a
    step. Parts need to wait for each other once a step, where their outputs meet. The gradient of a weight is the
    sum over the parts, so it differs from that of one call in rounding. The layers are called as `fused` says, so dropout
    draws otherwise.

    Args:
        network: each of its layers computes every image by itself: no batch normalization.
        nodes: its stack.
        parts: at least 2.
    """

    def __init__(self, network: keras.Model, nodes: Sequence[Node], parts: int) -> None:
        super().__init__()
        self.network = network
        self.nodes = tuple(nodes)
        self.parts = parts
        self.built = True

    def call(self, images: Any, training: bool = False) -> Any:
        """Return the outputs (B, ...) for `images` (B, H, W, C); a batch may have any number of images."""
        count = tf.shape(images)[0]
        ends = [count * part // self.parts for part in range(self.parts + 1)]
        outputs = [self._part(images, start, end, training) for start, end in pairwise(ends)]
        return tf.concat(outputs, axis=0)

    def _part(self, images: Any, start: Any, end: Any, training: bool) -> Any:
        """Return the outputs for images from `start` to before `end`; there may be none, which a convolution cannot take."""
        outputs = fused_outputs(self.network, self.nodes, images[start : tf.maximum(end, start + 1)], training)
        return outputs[: end - start]


def in_parts(network: keras.Model, nodes: Sequence[Node], parts: int) -> keras.Model:
    """Return what trains the network: itself, or it in as many parts as a settled config says."""
    return ByParts(network, nodes, parts) if parts > 1 else network
