"""A network that is computed in a faster way, and its batches in parts, one per core."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import keras
import tensorflow as tf

from cnnctl.model.fused import fused_outputs, outputs_of_parts
from cnnctl.spec.stack import Node


class FastNetwork(keras.Model):
    """Computes what another network computes, as in `fused`, whole or in parts of a batch.

    Outputs and gradients differ by rounding, and dropout draws other masks.

    TensorFlow splits each operation among the cores and waits for the slowest, dozens of times per step. Parts wait for
    each other where their outputs are joined, and where batch normalization adds their sums. The gradient of a weight is the
    sum over the parts.

    Args:
        network: built; with several parts, its layers but batch normalization compute each image independently.
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
        ends = list(pairwise(count * part // self.parts for part in range(self.parts + 1)))
        # Convolutions need at least one image, so a part without one borrows the next; batches are that small only at an end.
        parts = [images[start : tf.maximum(end, start + 1)] for start, end in ends]
        real = [tf.cast(end > start, tf.float32) for start, end in ends]
        outputs = outputs_of_parts(self.network, self.nodes, parts, real, training)
        return tf.concat([each[: end - start] for each, (start, end) in zip(outputs, ends, strict=True)], axis=0)


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
