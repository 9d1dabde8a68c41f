"""The layers of a network called as they are fastest.

Two things are done otherwise than Keras does them; all else is each layer's own call:

- ReLU after max pooling instead of before it. The largest of some numbers, at least 0, is the same either way, and so is
  the gradient, but there are fewer numbers left.
- Dropout decides by 16 random bits an element instead of a random float. A rate is kept to 1/65,536; the draws are others
  than those of Keras's layer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from cnnctl.spec.layers import Conv2D, MaxPooling2D
from cnnctl.spec.stack import INPUT, Node

DRAWN = 2**16


def fused_outputs(network: keras.Model, nodes: Sequence[Node], images: Any, training: bool) -> Any:
    """Return the outputs of the last layer, (B, ...).

    Args:
        network: built from the stack, in any style.
        nodes: the stack.
        images: (B, H, W, C), as the network takes them.
        training: whether dropout acts.
    """
    late = relu_after_pooling(nodes)
    tensors = {INPUT: images}
    for node in nodes:
        layer, taken = network.get_layer(node.name), [tensors[name] for name in node.inputs]
        tensors[node.name] = _called(layer, taken, training, late.get(node.name))
    return tensors[nodes[-1].name]


def relu_after_pooling(nodes: Sequence[Node]) -> dict[str, str]:
    """Return, by the names of the layers, `convolution` or `pooling` for those between which ReLU moves."""
    taken = Counter(name for node in nodes for name in node.inputs)
    by_name = {node.name: node for node in nodes}
    late = {}
    for node in nodes:
        before = by_name.get(node.inputs[0])
        if isinstance(node.layer, MaxPooling2D) and before and _ends_with_relu(before) and taken[before.name] == 1:
            late.update({before.name: "convolution", node.name: "pooling"})
    return late


def _ends_with_relu(node: Node) -> bool:
    return isinstance(node.layer, Conv2D) and node.layer.activation == "relu"


def _called(layer: keras.Layer, taken: list[Any], training: bool, late: str | None) -> Any:
    if late == "convolution":
        with _linear(layer):
            return layer(taken[0])
    if late == "pooling":
        return tf.nn.relu(layer(taken[0]))
    if isinstance(layer, keras.layers.Dropout):
        drawn = training and layer.rate > 0 and layer.noise_shape is None
        return _dropped(layer, taken[0]) if drawn else layer(taken[0], training=training)
    return layer(taken[0] if len(taken) == 1 else taken)


@contextmanager
def _linear(layer: keras.Layer) -> Iterator[None]:
    """Leaves the activation out for the while; it is looked up as the layer is traced."""
    activation = layer.activation
    layer.activation = keras.activations.linear
    try:
        yield
    finally:
        layer.activation = activation


def _dropped(layer: keras.layers.Dropout, inputs: Any) -> Any:
    """Return inputs of which a share of `rate` is 0, and the others so much larger that the mean stays."""
    inputs = tf.cast(inputs, layer.compute_dtype)
    count = tf.size(inputs)
    words = tf.random.stateless_uniform(
        [(count + 1) // 2], tf.cast(layer.seed_generator.next(), tf.int32), minval=None, maxval=None, dtype=tf.int32
    )
    bits = tf.reshape(tf.bitcast(words, tf.uint16), [-1])[:count]  # two draws a word
    least = min(round(layer.rate * DRAWN), DRAWN - 1)
    scale = tf.cast(DRAWN / (DRAWN - least), inputs.dtype)
    kept = tf.cast(tf.reshape(bits, tf.shape(inputs)) >= tf.constant(least, tf.uint16), inputs.dtype)
    return inputs * (kept * scale)
