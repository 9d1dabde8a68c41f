"""Compare the arithmetic of `spec.shapes` with the built Keras model, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import keras

from cnnctl.model.styles import build_model, layers_of
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.shapes import Facts, Shape


def differences(experiment: Experiment) -> list[str]:
    """Return a line for each layer whose shape or parameters differ in Keras; empty if all are equal."""
    network = experiment.network
    layers = layers_of(build_model(experiment), network.nodes)
    shapes = {"input": network.image}
    lines = []
    for node, each in zip(network.nodes, network.facts, strict=True):
        layer = layers[each.name]
        shapes[each.name] = keras_shape(layer, [shapes[name] for name in each.inputs])
        lines += _difference(each, layer, shapes[each.name], counts=not node.shares)
    return lines


def keras_shape(layer: Any, inputs: Sequence[Shape]) -> Shape:
    """Return Keras's output shape of a layer for inputs of these shapes, without the batch axis."""
    given = [(None, *shape) for shape in inputs]
    shape = layer.compute_output_shape(given if len(given) > 1 else given[0])
    return tuple(shape[1:])


def _difference(facts: Facts, layer: Any, shape: Shape, counts: bool) -> list[str]:
    """Return a line if shape or parameters differ; `counts` is False for a layer that uses the weights of another."""
    trainable = sum(prod(weight.shape) for weight in layer.trainable_weights)
    ours = (facts.output_shape, facts.trainable, facts.non_trainable)
    theirs = (shape, trainable, layer.count_params() - trainable) if counts else (shape, 0, 0)
    if ours == theirs:
        return []
    return [
        f"{facts.name}: shape, trainable and non-trainable parameters are {ours} here and {theirs} in Keras {keras.__version__}"
    ]
