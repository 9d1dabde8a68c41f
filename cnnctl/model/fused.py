"""Call the layers of a network in a faster way.

Four things differ from Keras; everything else is the call of each layer:

- Batch normalization is one operation of TensorFlow, which Keras computes by about a dozen; of a batch in parts it is computed
  as in `batch_statistics`. Values, gradients and moving averages are the same but for rounding.
- ReLU is applied after max pooling instead of before it. The values and gradients are equal, but there are fewer values.
- In bfloat16 the gradient by the filters of some convolutions is a sum of matrix products, as in `filter_gradient`.
- Dropout draws 8 or 16 random bits per element instead of a random float. The rate is exact to 1/65,536; the masks differ from
  those of Keras's layer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from cnnctl.model.batch_statistics import normalized_together
from cnnctl.model.filter_gradient import by_products, has_faster_gradient
from cnnctl.model.keras_layers import acts_in_training
from cnnctl.model.styles import layers_of
from cnnctl.spec.layers import ActivationLayer, Conv2DTranspose, Convolution, MaxPooling2D, ReLU
from cnnctl.spec.stack import INPUT, Node

LEAST_EPSILON = 1.001e-5
"""The smallest epsilon that TensorFlow's operation takes on every device (`CUDNN_BN_MIN_EPSILON` of older cuDNN)."""


def fused_outputs(network: keras.Model, nodes: Sequence[Node], images: Any, training: bool) -> Any:
    """Compute the outputs of the last layer, (B, ...).

    Args:
        network: built from the stack, in any style.
        nodes: the stack.
        images: (B, H, W, C), the input of the network.
        training: whether dropout is active, and batch normalization uses the statistics of the batch.
    """
    [outputs] = outputs_of_parts(network, nodes, [images], [1.0], training)
    return outputs


def outputs_of_parts(
    network: keras.Model, nodes: Sequence[Node], parts: Sequence[Any], real: Sequence[Any], training: bool
) -> list[Any]:
    """Compute the outputs of the last layer for each part of a batch; only batch normalization joins them.

    Args:
        network, nodes, training: as for `fused_outputs`.
        parts: each (B, H, W, C).
        real: as for `normalized_together`.
    """
    late, layers = relu_after_pooling(nodes), layers_of(network, nodes)
    tensors = {INPUT: list(parts)}
    for node in nodes:
        layer, taken = layers[node.name], list(zip(*(tensors[name] for name in node.inputs), strict=True))
        if training and len(parts) > 1 and type(layer) is keras.layers.BatchNormalization:
            tensors[node.name] = normalized_together(layer, [each for (each,) in taken], real)
        else:
            tensors[node.name] = [_called(layer, each, training, late.get(node.name)) for each in taken]
    return tensors[nodes[-1].name]


def relu_after_pooling(nodes: Sequence[Node]) -> dict[str, str]:
    """Find the layers that ReLU is moved between; return `linear` or `pooling` by the names of these layers."""
    taken = Counter(name for node in nodes for name in node.inputs)
    by_name = {node.name: node for node in nodes}
    late = {}
    for node in nodes:
        before = by_name.get(node.inputs[0])
        if isinstance(node.layer, MaxPooling2D) and before and _ends_with_relu(before) and taken[before.name] == 1:
            late.update({before.name: "linear", node.name: "pooling"})
    return late


def _ends_with_relu(node: Node) -> bool:
    layer = node.layer
    if getattr(layer, "activity_regularizer", None) is not None:
        return False  # Keras computes it of the layer's own outputs, after ReLU
    if isinstance(layer, ReLU):
        return (layer.max_value, layer.negative_slope, layer.threshold) == (None, 0, 0)
    return isinstance(layer, Convolution | Conv2DTranspose | ActivationLayer) and layer.activation == "relu"


def _called(layer: keras.Layer, taken: Sequence[Any], training: bool, late: str | None) -> Any:
    if late == "linear" and isinstance(layer, keras.layers.ReLU):
        return taken[0]
    if late == "linear":
        with _linear(layer):
            return _called(layer, taken, training, None)
    if training and has_faster_gradient(layer, taken[0]):
        with by_products(layer):
            return layer(taken[0])
    if late == "pooling":
        return tf.nn.relu(layer(taken[0]))
    if has_fused_kernel(layer, taken[0]):
        return _normalized(layer, taken[0], training)
    if training and _drops_values(layer):
        return _dropped(layer, taken[0])
    return layer(taken[0] if len(taken) == 1 else list(taken), **({"training": training} if acts_in_training(layer) else {}))


def _drops_values(layer: keras.Layer) -> bool:
    return type(layer) is keras.layers.Dropout and layer.rate > 0 and layer.noise_shape is None


@contextmanager
def _linear(layer: keras.Layer) -> Iterator[None]:
    """Disable the activation of a layer temporarily; it is looked up when the layer is traced."""
    activation = layer.activation
    layer.activation = keras.activations.linear
    try:
        yield
    finally:
        layer.activation = activation


def has_fused_kernel(layer: keras.Layer, inputs: Any) -> bool:
    """Find out whether TensorFlow has one operation for a layer on every device: batch normalization over the last axis."""
    if type(layer) is not keras.layers.BatchNormalization or layer.renorm or layer.epsilon < LEAST_EPSILON:
        return False
    rank = inputs.shape.rank
    return rank in (2, 4) and layer.axis in (-1, rank - 1)


def _normalized(layer: keras.layers.BatchNormalization, inputs: Any, training: bool) -> Any:
    """Normalize (B, H, W, C) or (B, C) by the statistics of the batch in training, else by the moving averages."""
    with tf.name_scope(layer.name):
        values = tf.cast(inputs, layer.compute_dtype)
        maps = values if len(values.shape) == 4 else values[:, tf.newaxis, tf.newaxis, :]
        moving = layer.moving_mean, layer.moving_variance
        mean, variance = ([], []) if training else moving
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=maps,
            scale=tf.ones_like(moving[0]) if layer.gamma is None else layer.gamma,
            offset=tf.zeros_like(moving[0]) if layer.beta is None else layer.beta,
            mean=mean,
            variance=variance,
            epsilon=layer.epsilon,
            is_training=training,
        )
        if training:
            _move(layer, mean, variance, tf.size(maps) // tf.shape(maps)[-1])
        return tf.reshape(outputs, tf.shape(values)) if maps is not values else outputs


def _move(layer: keras.layers.BatchNormalization, mean: Any, variance: Any, count: Any) -> None:
    """Move the averages of a layer towards the mean and the variance of a batch, of `count` values per channel.

    TensorFlow divides the sum of squares by `count - 1`, Keras by `count`.
    """
    values = tf.cast(count, variance.dtype)
    of_batch = mean, tf.math.multiply_no_nan(variance, (values - 1) / values)  # of 1 value it may be infinite times 0
    for moving, new in zip((layer.moving_mean, layer.moving_variance), of_batch, strict=True):
        moving.assign(moving * layer.momentum + tf.stop_gradient(new) * (1.0 - layer.momentum))


def _dropped(layer: keras.layers.Dropout, inputs: Any) -> Any:
    """Set a fraction `rate` of the inputs to 0 and scale the others so that the mean is unchanged."""
    inputs = tf.cast(inputs, layer.compute_dtype)
    numbers = _numbers_for(layer.rate)
    drawn = _drawn(layer.seed_generator, numbers, tf.size(inputs))
    threshold = min(round(layer.rate * (numbers.max + 1)), numbers.max)
    scale = tf.cast((numbers.max + 1) / (numbers.max + 1 - threshold), inputs.dtype)
    mask = tf.cast(tf.reshape(drawn, tf.shape(inputs)) >= tf.constant(threshold, numbers), inputs.dtype)
    return inputs * (mask * scale)


def _numbers_for(rate: float) -> tf.DType:
    """Choose the numbers that are drawn: 8 bits for a rate that they express exactly, such as 0.5 or 0.25, else 16."""
    return tf.uint8 if (rate * 2**8).is_integer() else tf.uint16


def _drawn(seeds: Any, numbers: tf.DType, count: Any) -> Any:
    """Draw `count` numbers of all bits, some per 32-bit word."""
    each = 4 // numbers.size
    words = tf.random.stateless_uniform(
        [(count + each - 1) // each], tf.cast(seeds.next(), tf.int32), minval=None, maxval=None, dtype=tf.int32
    )
    return tf.reshape(tf.bitcast(words, numbers), [-1])[:count]
