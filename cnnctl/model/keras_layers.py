"""Build Keras layers from the fields of a config."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import keras

from cnnctl.model.custom_class import MODULE, takes_training
from cnnctl.model.strided_pixels import with_strides_first
from cnnctl.model.up_sampling import UpSamplingByProducts
from cnnctl.spec import layers as L
from cnnctl.spec import weights as W
from cnnctl.spec.groups import local
from cnnctl.spec.section import Section
from cnnctl.spec.shapes import LayerContext, format_of, per_channel, units_of
from cnnctl.spec.stack import Node

KERAS_LAYERS: dict[type[L.Layer], type[keras.Layer]] = {
    L.Conv2D: keras.layers.Conv2D,
    L.DepthwiseConv2D: keras.layers.DepthwiseConv2D,
    L.SeparableConv2D: keras.layers.SeparableConv2D,
    L.Conv2DTranspose: keras.layers.Conv2DTranspose,
    L.ZeroPadding2D: keras.layers.ZeroPadding2D,
    L.MaxPooling2D: keras.layers.MaxPooling2D,
    L.AveragePooling2D: keras.layers.AveragePooling2D,
    L.GlobalAveragePooling2D: keras.layers.GlobalAveragePooling2D,
    L.GlobalMaxPooling2D: keras.layers.GlobalMaxPooling2D,
    L.Cropping2D: keras.layers.Cropping2D,
    L.UpSampling2D: keras.layers.UpSampling2D,
    L.Rescaling: keras.layers.Rescaling,
    L.Reshape: keras.layers.Reshape,
    L.Permute: keras.layers.Permute,
    L.Flatten: keras.layers.Flatten,
    L.Dense: keras.layers.Dense,
    L.BatchNormalization: keras.layers.BatchNormalization,
    L.Dropout: keras.layers.Dropout,
    L.ActivationLayer: keras.layers.Activation,
    L.SpatialDropout2D: keras.layers.SpatialDropout2D,
    L.GaussianNoise: keras.layers.GaussianNoise,
    L.GaussianDropout: keras.layers.GaussianDropout,
    L.AlphaDropout: keras.layers.AlphaDropout,
    L.ReLU: keras.layers.ReLU,
    L.LeakyReLU: keras.layers.LeakyReLU,
    L.PReLU: keras.layers.PReLU,
    L.ELU: keras.layers.ELU,
    L.Softmax: keras.layers.Softmax,
    L.Add: keras.layers.Add,
    L.Subtract: keras.layers.Subtract,
    L.Multiply: keras.layers.Multiply,
    L.Average: keras.layers.Average,
    L.Maximum: keras.layers.Maximum,
    L.Minimum: keras.layers.Minimum,
    L.Concatenate: keras.layers.Concatenate,
    L.LayerNormalization: keras.layers.LayerNormalization,
    L.GroupNormalization: keras.layers.GroupNormalization,
    L.UnitNormalization: keras.layers.UnitNormalization,
    L.Normalization: keras.layers.Normalization,
}


RANDOM = (keras.layers.Dropout, keras.layers.GaussianNoise, keras.layers.GaussianDropout, keras.layers.AlphaDropout)
"""Layers that draw random numbers in training; spatial dropout is a `Dropout`."""


def acts_in_training(layer: keras.Layer) -> bool:
    """Return True if a layer computes something else in training; one of one's own, if its `call` takes `training`."""
    own = type(layer).__module__ == MODULE and takes_training(layer)
    return own or isinstance(layer, (*RANDOM, keras.layers.BatchNormalization))


def without_noise(layer: keras.Layer) -> None:
    """Let a layer that draws random numbers pass on its inputs in training."""
    if isinstance(layer, RANDOM):
        setattr(layer, "stddev" if isinstance(layer, keras.layers.GaussianNoise) else "rate", 0.0)


@keras.saving.register_keras_serializable(package="cnnctl")
class TwiceDifferentiableBatchNormalization(keras.layers.BatchNormalization):
    """Batch norm with correct second derivatives, which MAML needs for a gradient through a gradient.

    `tf.nn.moments`, which Keras uses, stops the gradient at the mean inside the variance. That is correct for first
    derivatives, where this term is zero, but not for second ones.
    """

    def _moments(self, inputs: Any, mask: Any) -> tuple[Any, Any]:
        mean = keras.ops.mean(inputs, axis=self._reduction_axes)
        centred = inputs - keras.ops.mean(inputs, axis=self._reduction_axes, keepdims=True)
        return mean, keras.ops.mean(keras.ops.square(centred), axis=self._reduction_axes)


KERAS_PARTS: dict[type[Section], type] = {
    W.Zeros: keras.initializers.Zeros,
    W.Ones: keras.initializers.Ones,
    W.Constant: keras.initializers.Constant,
    W.RandomNormal: keras.initializers.RandomNormal,
    W.TruncatedNormal: keras.initializers.TruncatedNormal,
    W.RandomUniform: keras.initializers.RandomUniform,
    W.GlorotUniform: keras.initializers.GlorotUniform,
    W.GlorotNormal: keras.initializers.GlorotNormal,
    W.HeUniform: keras.initializers.HeUniform,
    W.HeNormal: keras.initializers.HeNormal,
    W.LecunUniform: keras.initializers.LecunUniform,
    W.LecunNormal: keras.initializers.LecunNormal,
    W.VarianceScaling: keras.initializers.VarianceScaling,
    W.Orthogonal: keras.initializers.Orthogonal,
    W.Identity: keras.initializers.Identity,
    W.STFT: keras.initializers.STFT,
    W.OrthogonalRegularizer: keras.regularizers.OrthogonalRegularizer,
    W.L1: keras.regularizers.L1,
    W.L2: keras.regularizers.L2,
    W.L1L2: keras.regularizers.L1L2,
    W.MaxNorm: keras.constraints.MaxNorm,
    W.MinMaxNorm: keras.constraints.MinMaxNorm,
    W.UnitNorm: keras.constraints.UnitNorm,
    W.NonNeg: keras.constraints.NonNeg,
}


def keras_layers(
    nodes: Sequence[Node], seed: int, context: LayerContext, precision: str, twice_differentiable: bool = False
) -> dict[str, keras.Layer]:
    """Create the Keras layer of each node, by the node's name; it is not yet built, and one layer if nodes share weights.

    Args:
        nodes: the stack.
        seed: the seed that all random draws derive from, with the position of the layer.
        context: the number of classes and the model's data format.
        precision: a Keras dtype policy; the last layer computes in float32 at least, so that the
            softmax over many classes keeps its precision.
        twice_differentiable: whether gradients through gradients will be computed.
    """
    last = len(nodes) - 1
    last_precision = precision if precision == "float64" else "float32"
    made: dict[str, keras.Layer] = {}
    for index, node in enumerate(nodes):
        of_layer = last_precision if index == last else precision
        made[node.name] = made.get(node.owner) or keras_layer(
            node, _LayerSeeds(seed, index), context, of_layer, twice_differentiable
        )
    return made


class _LayerSeeds:
    """Derives a separate seed for each random draw of one layer."""

    def __init__(self, seed: int, index: int) -> None:
        self._seed = seed
        self._index = index

    def of(self, field: str) -> int:
        return W.drawn_seed(self._seed, self._index, field)


def keras_layer(
    node: Node, seeds: _LayerSeeds, context: LayerContext, precision: str, twice_differentiable: bool = False
) -> keras.Layer:
    """Create the Keras layer of one node; arguments as in `keras_layers`."""
    layer = node.layer
    fields = {name: getattr(layer, name) for name in type(layer).model_fields if name not in ("name", "inputs")}
    arguments = {name: _argument(name, value, seeds) for name, value in fields.items()}
    if "data_format" in arguments:
        arguments["data_format"] = format_of(layer, context)
    if isinstance(layer, L.Dense):
        arguments["units"] = units_of(layer, context)
    if isinstance(layer, L.Rescaling):
        arguments = {name: per_channel(value, context.data_format) for name, value in arguments.items()}
    if isinstance(layer, L.RandomLayer | L.CustomLayer) and arguments.get("seed", 0) is None:
        arguments["seed"] = seeds.of("seed")
    if isinstance(layer, L.UpSampling2D) and layer.only_in_float32 and precision != "float64":
        precision = "float32"
    kind = layer.own.keras_class if isinstance(layer, L.CustomLayer) else KERAS_LAYERS[type(layer)]
    if (
        isinstance(layer, L.UpSampling2D)
        and layer.interpolation != "nearest"
        and (twice_differentiable or precision == "float64")
    ):
        kind = UpSamplingByProducts
    if twice_differentiable and kind is keras.layers.BatchNormalization:
        kind = TwiceDifferentiableBatchNormalization
    return repaired(kind(**arguments, name=local(node.name), dtype=precision))


def _argument(name: str, value: Any, seeds: _LayerSeeds) -> Any:
    if isinstance(value, L.RenormClipping):
        return value.bounds
    if not isinstance(value, Section):
        return value
    fields = {field: getattr(value, field) for field in type(value).model_fields}
    if isinstance(value, W.Seeded) and value.seed is None:
        fields["seed"] = seeds.of(name)
    return KERAS_PARTS[type(value)](**fields)


def repaired(layer: keras.Layer) -> keras.Layer:
    """Repair what Keras 3.15 and TensorFlow 2.21 leave incomplete or compute wrongly in a layer, and return it."""
    for part in vars(layer).values():
        if isinstance(part, keras.regularizers.OrthogonalRegularizer):
            part.factor = float(part.factor)  # a float32 tensor, which float64 weights refuse
        if isinstance(part, keras.initializers.Identity):
            part.get_config = partial(dict, gain=part.gain)  # it would be saved without its gain
    return with_strides_first(layer)
