"""A network that is computed in a faster way, and its batches in parts, one per core."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import keras
import tensorflow as tf

from cnnctl.model.fused import fused_outputs
from cnnctl.spec.stack import Node


class FastNetwork(keras.Model):
    """Computes what another network computes, as in `fused`, whole or in parts of a batch.

    Outputs and gradients differ by rounding, and dropout draws other masks.

    TensorFlow splits each operation among the cores and waits for the slowest, dozens of times per step. Parts wait for
    each other once per step, where their outputs are joined. The gradient of a weight is the sum over the parts.

    Args:
        network: built; with several parts, its layers compute each image independently, so without batch normalization.
        nodes: its stack.
        parts: the number of parts, at least 1.
    """

    def __init__(self, network: keras.Model, nodes: Sequence[Node], parts: int) -> None:
        super().__init__()
        self.network = network
        self.nodes = tuple(nodes)
        self.parts = parts
        self.built = True

    def call(self, images: Any, training: bool = False) -> Any:
        """Compute the outputs (B, ...) for `images` (B, H, W, C), with any batch size."""
        if self.parts == 1:
            return fused_outputs(self.network, self.nodes, images, training)
        count = tf.shape(images)[0]
        ends = [count * part // self.parts for part in range(self.parts + 1)]
        outputs = [self._part(images, start, end, training) for start, end in pairwise(ends)]
        return tf.concat(outputs, axis=0)

    def _part(self, images: Any, start: Any, end: Any, training: bool) -> Any:
        """Compute the outputs for images `start` to `end`, exclusive; convolutions need at least one image."""
        outputs = fused_outputs(self.network, self.nodes, images[start : tf.maximum(end, start + 1)], training)
        return outputs[: end - start]


def fast_network(network: keras.Model, nodes: Sequence[Node], precision: str, parts: int = 1) -> keras.Model:
    """Return the network that trains: a faster one in 16 bits or with several parts, else the network itself.

    In float32 as a whole it stays Keras's own, to the bit.

    Args:
        network: built.
        nodes: its stack.
        precision: a Keras dtype policy.
        parts: in which each batch is computed in parallel.
    """
    return network if precision == "float32" and parts == 1 else FastNetwork(network, nodes, parts)
