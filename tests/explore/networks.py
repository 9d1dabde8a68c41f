"""Networks for the page's arithmetic: layers with every option, random weights, and what Keras computes with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from cnnctl.errors import UsageError
from cnnctl.explore.network_data import count_weights, layers_of, refuse_unknown, weights_of
from cnnctl.model.keras_layers import keras_layers
from cnnctl.model.styles import build_functional
from cnnctl.spec import layers as L
from cnnctl.spec.experiment import ModelSpec
from cnnctl.spec.network import Network
from cnnctl.spec.shapes import LayerContext, Shape, format_of, trace
from cnnctl.spec.stack import INPUT, nodes_of
from tests.explore.arithmetic_page import Values

Plain = dict[str, Any]

CLASSES = 7
LAST, FIRST = "channels_last", "channels_first"
IMAGE = (6, 7, 6)
"""Fits every stack of `LAYERS` in both data formats."""
CONVOLUTION = {"filters": 6, "kernel_size": [3, 2]}
_ALL: dict[str, list[Plain]] = {
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
    "depthwise convolution": [{"depthwise_conv2d": {"kernel_size": [3, 2]}}],
    "depthwise convolution, several filters": [{"depthwise_conv2d": {"kernel_size": 2, "depth_multiplier": 3, "strides": 2, "padding": "same"}}],
    "depthwise convolution with dilation": [{"depthwise_conv2d": {"kernel_size": 2, "dilation_rate": [3, 2], "padding": "same", "use_bias": False}}],
    "depthwise convolution with strides and dilation": [{"depthwise_conv2d": {"kernel_size": 2, "strides": 2, "dilation_rate": 2, "padding": "same", "activation": "relu"}}],
    "separable convolution": [{"separable_conv2d": {"filters": 4, "kernel_size": [3, 2], "activation": "tanh"}}],
    "separable convolution, several filters": [{"separable_conv2d": {"filters": 5, "kernel_size": 3, "depth_multiplier": 2, "strides": 2, "padding": "same"}}],
    "separable convolution with dilation": [{"separable_conv2d": {"filters": 4, "kernel_size": 2, "dilation_rate": 2, "padding": "same", "use_bias": False}}],
    "transposed convolution": [{"conv2d_transpose": {"filters": 5, "kernel_size": [3, 2]}}],
    "transposed convolution with strides": [{"conv2d_transpose": {"filters": 5, "kernel_size": [3, 4], "strides": [2, 3], "activation": "tanh"}}],
    "transposed convolution, same": [{"conv2d_transpose": {"filters": 5, "kernel_size": 3, "strides": 2, "padding": "same"}}],
    "transposed convolution, strides beyond the kernel": [{"conv2d_transpose": {"filters": 5, "kernel_size": [1, 2], "strides": [2, 3], "use_bias": False}}],
    "transposed convolution with dilation": [{"conv2d_transpose": {"filters": 5, "kernel_size": 2, "dilation_rate": 2, "padding": "same"}}],
    "transposed convolution with output padding": [{"conv2d_transpose": {"filters": 5, "kernel_size": 3, "strides": 2, "output_padding": 1, "padding": "same"}}],
    "reshape": [{"reshape": {"target_shape": [9, -1, 4]}}],
    "reshape to a matrix": [{"reshape": {"target_shape": [12, 21]}}, {"dense": {"units": 3}}],
    "reshape of a vector": [{"flatten": {}}, {"reshape": {"target_shape": [7, 6, 6]}}],
    "permute": [{"permute": {"dims": [3, 1, 2]}}],
    "rescaling": [{"rescaling": {"scale": 0.5, "offset": -1.0}}],
    "rescaling by channel": [{"rescaling": {"scale": [0.5, 1.0, 2.0, 3.0, -1.0, 0.0], "offset": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}}],
    "normalization": [{"normalization": {}}],
    "normalization of two axes": [{"normalization": {"axis": [1, 3]}}],
    "normalization with one mean": [{"normalization": {"axis": None}}],
    "normalization by given numbers": [{"normalization": {"axis": 3, "mean": 0.3, "variance": 2.0}}],
    "normalization, inverted": [{"normalization": {"mean": 0.5, "variance": 0.0, "invert": True}}],
    "layer norm": [{"layer_normalization": {}}],
    "layer norm of two axes": [{"layer_normalization": {"axis": [1, -1], "epsilon": 0.1, "center": False}}],
    "layer norm of images": [{"layer_normalization": {"axis": [1, 2, 3], "scale": False}}],
    "layer norm by root mean square": [{"layer_normalization": {"rms_scaling": True}}],
    "layer norm of a vector": [{"flatten": {}}, {"layer_normalization": {}}],
    "group norm": [{"group_normalization": {"groups": 3}}],
    "group norm of axis 1": [{"group_normalization": {"groups": 2, "axis": 1, "scale": False}}],
    "group norm of each channel": [{"group_normalization": {"groups": -1, "epsilon": 0.1, "center": False}}],
    "group norm of a vector": [{"flatten": {}}, {"group_normalization": {"groups": 4}}],
    "unit norm": [{"unit_normalization": {}}],
    "unit norm of two axes": [{"unit_normalization": {"axis": [1, 2]}}],
    "unit norm of a vector": [{"flatten": {}}, {"unit_normalization": {}}],
    "cropping": [{"cropping2d": {"cropping": [[1, 2], [0, 3]]}}],
    "cropping of its own format": [{"cropping2d": {"cropping": [[1, 0], [1, 1]], "data_format": FIRST}}],
    "up-sampling": [{"up_sampling2d": {"size": [2, 3]}}],
    "up-sampling, bilinear": [{"up_sampling2d": {"size": [3, 2], "interpolation": "bilinear"}}],
    "up-sampling, bicubic": [{"up_sampling2d": {"size": [2, 3], "interpolation": "bicubic"}}],
    "up-sampling, lanczos": [{"up_sampling2d": {"size": [3, 2], "interpolation": "lanczos3"}}],
    "up-sampling, wide lanczos": [{"up_sampling2d": {"size": 2, "interpolation": "lanczos5"}}],
    "spatial dropout": [{"spatial_dropout2d": {"rate": 0.4}}],
    "spatial dropout of its own format": [{"spatial_dropout2d": {"rate": 0.4, "data_format": FIRST}}],
    "gaussian noise": [{"gaussian_noise": {"stddev": 0.3}}],
    "gaussian noise of 0": [{"gaussian_noise": {"stddev": 0}}],
    "gaussian dropout": [{"gaussian_dropout": {"rate": 0.3}}],
    "alpha dropout": [{"alpha_dropout": {"rate": 0.3}}],
    "alpha dropout of columns": [{"alpha_dropout": {"rate": 0.3, "noise_shape": [None, 1, None, 1]}}],
    "relu": [{"relu": {}}],
    "relu with all arguments": [{"relu": {"max_value": 0.6, "negative_slope": 0.1, "threshold": 0.2}}],
    "relu with a slope": [{"relu": {"negative_slope": 0.1}}],
    "relu with a threshold": [{"relu": {"threshold": 0.2}}],
    "leaky relu": [{"leaky_relu": {"negative_slope": 0.1}}],
    "prelu": [{"prelu": {}}],
    "prelu of channels": [{"prelu": {"shared_axes": [1, 2]}}],
    "prelu of one axis": [{"prelu": {"shared_axes": 3}}],
    "prelu of a vector": [{"flatten": {}}, {"prelu": {}}],
    "elu": [{"elu": {"alpha": 0.7}}],
    "softmax": [{"softmax": {}}],
    "softmax of rows": [{"softmax": {"axis": 1}}],
    "softmax of two axes": [{"softmax": {"axis": [1, -1]}}],
    "softmax of a vector": [{"flatten": {}}, {"dense": {"units": 5}}, {"softmax": {}}],
    "subtract": [{"conv2d": {"filters": 6, "kernel_size": 1}}, {"subtract": {"inputs": ["conv2d", INPUT]}}],
    "subtract a vector": [{"global_max_pooling2d": {"name": "a", "data_format": LAST}}, {"subtract": {"inputs": ["a", INPUT]}}],
    "multiply": [{"conv2d": {"filters": 6, "kernel_size": 1}}, {"multiply": {"inputs": ["conv2d", INPUT, INPUT]}}],
    "multiply a map": [{"conv2d": {"filters": 1, "kernel_size": 1, "name": "a"}}, {"multiply": {"inputs": ["a", INPUT]}}],
    "average": [{"activation": {"activation": "tanh", "name": "a"}}, {"average": {"inputs": ["a", INPUT, "a"]}}],
    "maximum": [{"activation": {"activation": "tanh", "name": "a"}}, {"maximum": {"inputs": ["a", INPUT]}}],
    "maximum of a vector": [{"global_max_pooling2d": {"name": "a", "data_format": LAST}}, {"maximum": {"inputs": [INPUT, "a"]}}],
    "minimum": [{"activation": {"activation": "tanh", "name": "a"}}, {"minimum": {"inputs": ["a", INPUT, "a"]}}],
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
KINDS = {each.kind for each in L.LAYERS}
LAYERS = {name: stack for name, stack in _ALL.items() if all(kind in KINDS for layer in stack for kind in layer)}
"""Stacks of one or a few layers with every option."""
if "renorm" in L.BatchNormalization.model_fields:
    LAYERS["batch norm with renorm"] = [{"batch_normalization": {"renorm": True}}]
    LAYERS["batch norm with bounded renorm"] = [
        {"batch_normalization": {"renorm": True, "renorm_clipping": {"rmin": 0.9, "rmax": 1.1, "dmax": 0.2}, "axis": 1}}
    ]
ACTS_IN_TRAINING = [name for name in LAYERS if any(word in name for word in ("batch norm", "dropout", "noise"))]


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
            if "seed_generator" in weight.path or weight.path.endswith("count"):
                continue
            if weight.path.endswith(("gamma", "variance", "stddev")):
                weight.assign(self.generator.uniform(0.5, 1.5, weight.shape))
            elif len(weight.shape) > 1:
                weight.assign(self.generator.normal(size=weight.shape) * np.sqrt(2 / prod(weight.shape[:-1])))
            else:
                weight.assign(self.generator.normal(size=weight.shape) / 4)
        for layer in self.layers.values():
            if isinstance(layer, keras.layers.Normalization) and layer.input_mean is None:
                layer.finalize_state()  # takes the mean and the variance over

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
        """Draw the random numbers of every dropout and noise that acts, in the shape of its noise."""
        drawn = {}
        for node, facts in zip(self.network.nodes, self.network.facts, strict=True):
            if isinstance(node.layer, L.RandomLayer) and node.layer.acts:
                shape = noise_shape(node.layer, (count, *facts.output_shape), self.network.context)
                drawn[node.name] = self._random_numbers(node.layer, shape)
        return drawn

    def _random_numbers(self, layer: L.RandomLayer, shape: Shape) -> Values:
        if isinstance(layer, L.GaussianNoise):
            return self.generator.normal(0, layer.stddev, shape).astype("float32")
        rate = getattr(layer, "rate")  # noqa: B009
        if isinstance(layer, L.GaussianDropout):
            return self.generator.normal(1, np.sqrt(rate / (1 - rate)), shape).astype("float32")
        return np.asarray(self.generator.uniform(size=shape) >= rate, "float32")

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
    if isinstance(spec, L.RandomLayer) and mask is not None:
        return _under(mask, layer, taken[0])
    inputs = taken if len(taken) > 1 else taken[0]
    if not isinstance(spec, L.BatchNormalization):
        return tf.identity(layer(inputs))
    before = layer.get_weights()
    output = layer(inputs, training=training)
    layer.set_weights(before)  # a step of training would move the averages
    return output


def _under(random: Values, layer: keras.Layer, inputs: Any) -> Any:
    """Call a random layer of Keras with given numbers in place of those that it draws."""
    backend = keras.src.backend.random

    def given(shape: Any, *_: Any, **__: Any) -> Any:
        assert tuple(shape) == random.shape
        return tf.constant(random)

    def dropout(inputs: Any, rate: float, noise_shape: Any = None, seed: Any = None) -> Any:
        return inputs * given(backend._get_concrete_noise_shape(inputs, noise_shape)) / (1 - rate)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "dropout", dropout)
        patch.setattr(backend, "normal", given)
        patch.setattr(backend, "uniform", given)  # a 1 is kept, a 0 is below every rate
        return layer(inputs, training=True)


def noise_shape(layer: L.RandomLayer, full: Shape, context: LayerContext) -> Shape:
    """Return the shape of the random numbers of a layer for inputs (B, ...)."""
    if isinstance(layer, L.SpatialDropout2D):
        rows = 2 if format_of(layer, context) == FIRST else 1
        return tuple(1 if axis in (rows, rows + 1) else size for axis, size in enumerate(full))
    noise = getattr(layer, "noise_shape", None) or full
    return tuple(size if length is None else length for length, size in zip(noise, full, strict=True))


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


def is_shown(network: Network) -> bool:
    """Returns True if the page shows a network: not with four axes, nor with log_softmax."""
    try:
        refuse_unknown(network)
    except UsageError:
        return False
    return True


def network_from(layers: list[Plain], image: Shape = IMAGE, model_format: str = LAST) -> Network:
    """Build the network of layers as a config has them."""
    plain = {"style": "functional", "data_format": model_format, "layers": layers}
    nodes, complaints = nodes_of(ModelSpec.model_validate(plain))
    assert complaints == []
    context = LayerContext(CLASSES, "channels_first" if model_format == FIRST else "channels_last")
    return Network(tuple(nodes), tuple(trace(nodes, image, context)), image, CLASSES, context.data_format)
