"""Networks for the page's arithmetic: layers with every option, random weights, and what Keras computes with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cnnctl.explore.network_data import count_weights, layers_of, weights_of
from cnnctl.model.keras_layers import keras_layers
from cnnctl.model.styles import build_functional
from cnnctl.spec import layers as L
from cnnctl.spec.experiment import ModelSpec
from cnnctl.spec.network import Network
from cnnctl.spec.shapes import LayerContext, Shape, trace
from cnnctl.spec.stack import INPUT, nodes_of
from tests.explore.arithmetic_page import Values

Plain = dict[str, Any]

CLASSES = 7
LAST, FIRST = "channels_last", "channels_first"
IMAGE = (6, 7, 6)
"""Fits every stack of `LAYERS` in both data formats."""
CONVOLUTION = {"filters": 6, "kernel_size": [3, 2]}
LAYERS: dict[str, list[Plain]] = {
    "valid": [{"conv2d": CONVOLUTION}],
    "same": [{"conv2d": {**CONVOLUTION, "padding": "same"}}],
    "same, even kernel": [{"conv2d": {**CONVOLUTION, "kernel_size": [4, 2], "padding": "same"}}],
    "strides": [{"conv2d": {**CONVOLUTION, "strides": [2, 3]}}],
    "same with strides": [{"conv2d": {**CONVOLUTION, "strides": [3, 2], "padding": "same"}}],
    "strides beyond the kernel": [{"conv2d": {**CONVOLUTION, "kernel_size": 1, "strides": [3, 2], "padding": "same"}}],
    "dilation": [{"conv2d": {**CONVOLUTION, "dilation_rate": [2, 3]}}],
    "same with dilation": [{"conv2d": {**CONVOLUTION, "dilation_rate": [3, 2], "padding": "same"}}],
    "dilation beyond the image": [{"conv2d": {**CONVOLUTION, "kernel_size": 3, "dilation_rate": 9, "padding": "same"}}],
    "groups": [{"conv2d": {**CONVOLUTION, "groups": 2, "padding": "same"}}],
    "depthwise": [{"conv2d": {"filters": 12, "kernel_size": 3, "groups": 6}}],
    "grouped with strides": [{"conv2d": {**CONVOLUTION, "groups": 2, "strides": 2}}],
    "grouped with dilation": [{"conv2d": {**CONVOLUTION, "groups": 2, "dilation_rate": 2, "padding": "same"}}],
    "without bias": [{"conv2d": {**CONVOLUTION, "use_bias": False, "activation": "relu"}}],
    "as many filters as columns": [{"conv2d": {"filters": 6, "kernel_size": 1}}],
    "1x1": [{"conv2d": {"filters": 3, "kernel_size": 1, "activation": "tanh"}}],
    "explicit padding": [{"zero_padding2d": {"padding": [[1, 0], [2, 3]]}}, {"conv2d": CONVOLUTION}],
    "max pooling": [{"max_pooling2d": {}}],
    "max pooling, overlapping": [{"max_pooling2d": {"pool_size": [3, 2], "strides": [1, 2]}}],
    "max pooling, same": [{"max_pooling2d": {"pool_size": [3, 4], "strides": [2, 3], "padding": "same"}}],
    "max pooling, gaps": [{"max_pooling2d": {"pool_size": 1, "strides": [3, 2]}}],
    "average pooling": [{"average_pooling2d": {}}],
    "average pooling, overlapping": [{"average_pooling2d": {"pool_size": [2, 3], "strides": [2, 1]}}],
    "average pooling, same": [{"average_pooling2d": {"pool_size": [4, 3], "strides": [3, 2], "padding": "same"}}],
    "global average": [{"global_average_pooling2d": {}}],
    "global average, keepdims": [{"global_average_pooling2d": {"keepdims": True}}],
    "global max": [{"global_max_pooling2d": {}}],
    "global max, keepdims": [{"global_max_pooling2d": {"keepdims": True}}],
    "flatten": [{"flatten": {}}],
    "flatten twice": [{"flatten": {}}, {"flatten": {}}],
    "dense": [{"flatten": {}}, {"dense": {"units": 5, "activation": "selu"}}, {"dense": {"units": "classes", "use_bias": False}}],
    "dense on images": [{"dense": {"units": 3}}],
    "batch norm": [{"batch_normalization": {}}],
    "batch norm of axis 1": [{"batch_normalization": {"axis": 1, "epsilon": 0.1}}],
    "batch norm of axis -2": [{"batch_normalization": {"axis": -2, "center": False}}],
    "batch norm without gamma": [{"batch_normalization": {"axis": 3, "scale": False}}],
    "batch norm of a vector": [{"flatten": {}}, {"batch_normalization": {"center": False, "scale": False}}],
    "dropout": [{"dropout": {"rate": 0.3}}],
    "dropout of lines": [{"dropout": {"rate": 0.5, "noise_shape": [None, 1, 1, None]}}],
    "dropout of all images at once": [{"dropout": {"rate": 0.5, "noise_shape": [1, 6, 1, 1]}}],
    "dropout of rate 0": [{"dropout": {"rate": 0}}],
    "add": [{"conv2d": {"filters": 6, "kernel_size": 1}}, {"add": {"inputs": ["conv2d", INPUT]}}],
    "add to itself": [{"add": {"inputs": [INPUT, INPUT, INPUT]}}],
    "add a vector": [{"global_max_pooling2d": {"name": "a", "data_format": LAST}}, {"add": {"inputs": [INPUT, "a"]}}],
    "add a map": [{"conv2d": {"filters": 1, "kernel_size": 1, "name": "a"}}, {"add": {"inputs": ["a", INPUT]}}],
    "concatenate": [{"dense": {"units": 3, "name": "a"}}, {"concatenate": {"inputs": ["a", INPUT]}}],
    "concatenate axis 1": [
        {"zero_padding2d": {"padding": [1, 0], "name": "a", "data_format": LAST}},
        {"concatenate": {"inputs": [INPUT, "a"], "axis": 1}},
    ],
    "concatenate axis -2": [
        {"zero_padding2d": {"padding": [0, 1], "name": "a", "data_format": LAST}},
        {"concatenate": {"inputs": ["a", INPUT, "a"], "axis": -2}},
    ],
}  # fmt: skip
ACTS_IN_TRAINING = [name for name in LAYERS if "batch norm" in name or "dropout" in name]


class Case:
    """A network in Keras and as the page has it, with random weights.

    Args:
        network: the layers.
        description: of the network, for the page; made from the layers if None.
    """

    def __init__(self, network: Network, description: Plain | None = None) -> None:
        self.network = network
        self.layers = keras_layers(network.nodes, 0, network.context, "float32")
        self.model = build_functional(self.layers, network.nodes, network.image)
        self.generator = np.random.default_rng(0)
        self._draw_weights()
        self.description = description or described(network)
        self.weights = weights_of(self.description, self.model)

    def _draw_weights(self) -> None:
        """Set kernels that keep the size of values, and vectors of which none is a default."""
        for weight in self.model.weights:
            if "seed_generator" in weight.path:
                continue
            if len(weight.shape) > 1:
                weight.assign(self.generator.normal(size=weight.shape) * np.sqrt(2 / prod(weight.shape[:-1])))
            elif weight.path.endswith(("gamma", "moving_variance")):
                weight.assign(self.generator.uniform(0.5, 1.5, weight.shape))
            else:
                weight.assign(self.generator.normal(size=weight.shape) / 4)

    @property
    def last(self) -> str:
        """The name of the last layer."""
        return self.network.nodes[-1].name

    def images(self, count: int) -> Values:
        return self.generator.normal(size=(count, *self.network.image)).astype("float32")

    def adjoint(self, count: int) -> Values:
        """Draw weights for a sum of the network's outputs."""
        return self.generator.normal(size=(count, *self.network.facts[-1].output_shape)).astype("float32")

    def masks(self, count: int) -> dict[str, Values]:
        """Draw a mask of 0 and 1 for every dropout that acts, in the shape of its noise."""
        drawn = {}
        for node, facts in zip(self.network.nodes, self.network.facts, strict=True):
            if isinstance(node.layer, L.Dropout) and node.layer.rate:
                full = (count, *facts.output_shape)
                noise = node.layer.noise_shape or full
                shape = [size if length is None else length for length, size in zip(noise, full, strict=True)]
                drawn[node.name] = (self.generator.uniform(size=shape) >= node.layer.rate).astype("float32")
        return drawn

    def by_keras(
        self,
        images: Values,
        score: Callable[[Mapping[str, Any]], Any],
        training: bool = False,
        masks: Mapping[str, Values] | None = None,
    ) -> tuple[dict[str, Values], dict[str, Values]]:
        """Return the output of every layer, and the gradients of `score(outputs by name)` by all of them."""
        tensors = {INPUT: tf.constant(images)}
        with tf.GradientTape() as tape:
            tape.watch(tensors[INPUT])
            for node, layer in zip(self.network.nodes, self.layers.values(), strict=True):
                taken = [tensors[name] for name in node.inputs]
                tensors[node.name] = _called(layer, node.layer, taken, training, (masks or {}).get(node.name))
                tape.watch(tensors[node.name])
            value = score(tensors)
        gradients = tape.gradient(value, list(tensors.values()), unconnected_gradients=tf.UnconnectedGradients.ZERO)
        outputs = {name: tensor.numpy() for name, tensor in tensors.items()}
        return outputs, dict(zip(tensors, (gradient.numpy() for gradient in gradients), strict=True))


def _called(layer: keras.Layer, spec: L.Layer, taken: list[Any], training: bool, mask: Values | None) -> Any:
    """Call a layer; its result is never its input itself, whose gradient is another."""
    if isinstance(spec, L.Dropout):  # Keras draws masks of its own, so the given one is applied by hand
        return tf.identity(taken[0]) if mask is None else taken[0] * mask / (1 - spec.rate)
    inputs = taken if len(taken) > 1 else taken[0]
    if not isinstance(spec, L.BatchNormalization):
        return tf.identity(layer(inputs))
    moving = [layer.moving_mean.numpy(), layer.moving_variance.numpy()]
    output = layer(inputs, training=training)
    layer.moving_mean.assign(moving[0])
    layer.moving_variance.assign(moving[1])
    return output


def described(network: Network, output: str = "logits") -> Plain:
    """Describe a network that has no config around it."""
    layers = layers_of(network)
    return {
        "input": {"shape": list(network.image), "data_format": network.data_format},
        "classes": [],
        "output": output,
        "loss": None,
        "layers": layers,
        "weights_count": count_weights(layers),
    }


def network_from(layers: list[Plain], image: Shape = IMAGE, model_format: str = LAST) -> Network:
    """Build the network of layers as a config has them."""
    plain = {"style": "functional", "data_format": model_format, "layers": layers}
    nodes, complaints = nodes_of(ModelSpec.model_validate(plain))
    assert complaints == []
    context = LayerContext(CLASSES, "channels_first" if model_format == FIRST else "channels_last")
    return Network(tuple(nodes), tuple(trace(nodes, image, context)), image, CLASSES, context.data_format)
