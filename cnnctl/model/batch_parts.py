"""A network that computes the parts of a batch in parallel, one per core."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import keras
import tensorflow as tf

from cnnctl.model.fused import fused_outputs
from cnnctl.spec.stack import Node


class ByParts(keras.Model):
    """Calls another network on each part of a batch; outputs, loss and gradients are those of the whole batch.

    TensorFlow splits each operation among the cores and waits for the slowest, dozens of times per step. Parts wait for
    each other once per step, where their outputs are joined. The gradient of a weight is the sum over the parts, so it
    differs from that of a single call by rounding. Layers are called as in `fused`, so dropout masks differ.

    Args:
        network: a network whose layers compute each image independently, so without batch normalization.
        nodes: its stack.
        parts: the number of parts, at least 2.
    """

    def __init__(self, network: keras.Model, nodes: Sequence[Node], parts: int) -> None:
        super().__init__()
        self.network = network
        self.nodes = tuple(nodes)
        self.parts = parts
        self.built = True

    def call(self, images: Any, training: bool = False) -> Any:
        """Compute the outputs (B, ...) for `images` (B, H, W, C), with any batch size."""
        count = tf.shape(images)[0]
        ends = [count * part // self.parts for part in range(self.parts + 1)]
        outputs = [self._part(images, start, end, training) for start, end in pairwise(ends)]
        return tf.concat(outputs, axis=0)

    def _part(self, images: Any, start: Any, end: Any, training: bool) -> Any:
        """Compute the outputs for images `start` to `end`, exclusive; convolutions need at least one image."""
        outputs = fused_outputs(self.network, self.nodes, images[start : tf.maximum(end, start + 1)], training)
        return outputs[: end - start]


def in_parts(network: keras.Model, nodes: Sequence[Node], parts: int) -> keras.Model:
    """Wrap a network so that it computes each batch in `parts` parallel parts; with one part return it unchanged."""
    return ByParts(network, nodes, parts) if parts > 1 else network
