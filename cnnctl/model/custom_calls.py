"""Calls of a user's Keras layers before a training: do they compute what their classes say?"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import tensorflow as tf

from cnnctl.errors import UsageError
from cnnctl.model.custom_class import KerasClass, place_of_method, quietly, takes_training
from cnnctl.spec import layers as L
from cnnctl.spec.network import Network
from cnnctl.spec.shapes import Facts, LayerContext, Shape, show_shape


def check_custom_layers(network: Network, precision: str = "float32") -> None:
    """Call each layer of one's own once, before anything is written; `precision` is a Keras dtype policy.

    Raises:
        UsageError: one does not do what its class says.
    """
    seen = set()
    for node, facts in zip(network.nodes, network.facts, strict=True):
        if isinstance(node.layer, L.CustomLayer) and isinstance(node.layer.own, KerasClass):
            key = (node.layer.model_dump_json(exclude={"name", "inputs"}), node.layer.kind, facts.input_shapes)
            if key not in seen:
                _check_call(node.layer.own, node.layer, facts, network.context, precision)
            seen.add(key)


@dataclass(frozen=True)
class _Computed:
    """The initial weights of a layer, and its output for two images."""

    weights: list[Any]
    output: Any


def _check_call(own: KerasClass, layer: L.Layer, facts: Facts, context: LayerContext, precision: str) -> None:
    """Call the layer on two images and compare with its facts; `precision` is a Keras dtype policy.

    Raises:
        UsageError: its output has another shape, it makes weights in `call`, draws numbers without a seed, or fails.
    """
    shapes, shape = facts.input_shapes, facts.output_shape
    with quietly():
        first, again = (_computed(own, own.made(layer, context, precision), shapes) for _ in range(2))
    received = tuple(first.output.shape) if hasattr(first.output, "shape") else None
    if received != (2, *shape):
        real = f"{show_shape(received)}" if received else f"{type(first.output).__name__}, not one tensor"
        raise UsageError(
            f"{place_of_method(own.keras_class, 'compute_output_shape', own.path) or own.place}  "
            f"{own.name}.compute_output_shape says {show_shape((2, *shape))} for a batch of 2, but call returns {real}"
        )
    _refuse_unseeded(own, first, again)


def _computed(own: KerasClass, made: Any, shapes: tuple[Shape, ...]) -> _Computed:
    """Build the layer, and call it as in a training."""
    place = place_of_method(own.keras_class, "call", own.path) or own.place
    made.build(own.batches(shapes))
    weights = [np.array(weight) for weight in made.get_weights()]
    try:
        output = _called(own, made, shapes)
    except (Exception, SystemExit) as error:
        raise UsageError(f"{place}  {own.name}.call failed: {own.reason(error)}{_advice(error, made)}") from error
    if len(made.weights) != len(weights):
        raise UsageError(
            f"{place}  {own.name} creates {len(made.weights) - len(weights)} of its weights in call, after they were counted; "
            "create them in build(), where layers inside it are built too: self.inner.build(input_shape)"
        )
    return _Computed(weights, output)


def _refuse_unseeded(own: KerasClass, first: _Computed, again: _Computed) -> None:
    """Raise UsageError if two equal layers start with other weights, or draw other numbers: no run could be repeated."""
    take = f"take seed: int | None = None in {own.name}.__init__, which cnnctl fills from the seed of the config"
    if not all(np.array_equal(*pair) for pair in zip(first.weights, again.weights, strict=True)):
        raise UsageError(
            f"{place_of_method(own.keras_class, 'build', own.path) or own.place}  {own.name} starts with other weights each "
            f"time; {take}, and pass it on: initializer=keras.initializers.GlorotUniform(seed=self.seed)"
        )
    if not np.array_equal(_floats(first.output), _floats(again.output), equal_nan=True):
        raise UsageError(
            f"{place_of_method(own.keras_class, 'call', own.path) or own.place}  {own.name} draws other random numbers each "
            f"time; {take}, make self.generator = keras.random.SeedGenerator(seed), and pass seed=self.generator to keras.random"
        )


def _called(own: KerasClass, made: Any, shapes: tuple[Shape, ...]) -> Any:
    """Call the layer on two images as in a training, and trace it for a batch of any size."""
    images = [_ramp((2, *shape)) for shape in shapes]
    signature = [tf.TensorSpec((None, *shape)) for shape in shapes]
    training = {"training": True} if takes_training(made) else {}

    def traced(*tensors: Any) -> Any:
        return made(list(tensors) if own.several_inputs else tensors[0], **training)

    output = traced(*images)
    tf.function(traced, autograph=False).get_concrete_function(*signature)
    return output


def _floats(tensor: Any) -> Any:
    return np.asarray(tf.cast(tensor, tf.float64))


def _ramp(shape: Shape) -> Any:
    """Return numbers from -1 to 1 as a tensor."""
    return tf.reshape(tf.linspace(-1.0, 1.0, prod(shape)), shape)


def _advice(error: BaseException, made: Any) -> str:
    if "cannot add new elements of state" in str(error):
        return "; create weights in build(), not in call()"
    if "type" in str(error) and "float" in str(error):
        return f"; it computes in {made.compute_dtype} here: make numbers of its own with dtype=inputs.dtype"
    return ""
