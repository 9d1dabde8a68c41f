"""Build Keras layers from the fields of a config."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from cnnctl.model.custom_class import MODULE, takes_training
from cnnctl.spec import layers as L
from cnnctl.spec import weights as W
from cnnctl.spec.section import Section
from cnnctl.spec.shapes import LayerContext, format_of, units_of
from cnnctl.spec.stack import Node

KERAS_LAYERS: dict[type[L.Layer], type[keras.Layer]] = {
    L.Conv2D: keras.layers.Conv2D,
    L.ZeroPadding2D: keras.layers.ZeroPadding2D,
    L.MaxPooling2D: keras.layers.MaxPooling2D,
    L.AveragePooling2D: keras.layers.AveragePooling2D,
    L.GlobalAveragePooling2D: keras.layers.GlobalAveragePooling2D,
    L.GlobalMaxPooling2D: keras.layers.GlobalMaxPooling2D,
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
}


RANDOM = (keras.layers.Dropout, keras.layers.GaussianNoise, keras.layers.GaussianDropout, keras.layers.AlphaDropout)
"""Layers that draw random numbers in training; spatial dropout is a `Dropout`."""


def acts_in_training(layer: keras.Layer) -> bool:
    """Return True if a layer computes something else in training; one of one's own, if its `call` takes `training`."""
    own = type(layer).__module__ == MODULE and takes_training(layer)
    return own or isinstance(layer, (*RANDOM, keras.layers.BatchNormalization))


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
) -> list[keras.Layer]:
    """Create the Keras layer of each node, not yet built.

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
    return [
        keras_layer(
            node, _LayerSeeds(seed, index), context, last_precision if index == last else precision, twice_differentiable
        )
        for index, node in enumerate(nodes)
    ]


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
    if isinstance(layer, L.RandomLayer | L.CustomLayer) and arguments.get("seed", 0) is None:
        arguments["seed"] = seeds.of("seed")
    kind = layer.own.keras_class if isinstance(layer, L.CustomLayer) else KERAS_LAYERS[type(layer)]
    if twice_differentiable and kind is keras.layers.BatchNormalization:
        kind = TwiceDifferentiableBatchNormalization
    return kind(**arguments, name=node.name, dtype=precision)


def _argument(name: str, value: Any, seeds: _LayerSeeds) -> Any:
    if not isinstance(value, Section):
        return value
    fields = {field: getattr(value, field) for field in type(value).model_fields}
    if isinstance(value, W.Seeded) and value.seed is None:
        fields["seed"] = seeds.of(name)
    return KERAS_PARTS[type(value)](**fields)
