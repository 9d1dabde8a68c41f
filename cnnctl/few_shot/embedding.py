"""Images → vectors, and how alike the vectors are: what a trained network knows of classes that it never saw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cnnctl.few_shot.methods import turned_logits
from cnnctl.model.styles import outputs_of_layers
from cnnctl.spec import layers as L
from cnnctl.spec.stack import Node

Values = NDArray[np.float32]


def last_dense(nodes: Sequence[Node]) -> Node | None:
    """Returns the dense layer that is computed last; None where there is none."""
    return next((node for node in reversed(nodes) if isinstance(node.layer, L.Dense)), None)


def layer_inputs(model: keras.Model, nodes: Sequence[Node], taker: Node, images: Any) -> Values:
    """Returns what a layer takes in inference, (B, D).

    Args:
        model: built network, in any style.
        nodes: its stack.
        taker: the layer; it takes the output of one other.
        images: (B, H, W, C), or (B, C, H, W) under channels_first, float32.
    """
    layers = [model.get_layer(node.name) for node in nodes]
    outputs = outputs_of_layers(layers, {node.name: list(node.inputs) for node in nodes}, images)
    return as_vectors(outputs[taker.inputs[0]])


def as_vectors(outputs: Any) -> Values:
    """Returns outputs (B, ...) of any precision as (B, D), float32."""
    vectors: Values = tf.cast(outputs, tf.float32).numpy().reshape(len(outputs), -1)
    return vectors


def similarities(tests: Values, training: Values, how: str) -> Values:
    """Returns how alike each test image and each training image are, (N, M); more is more alike.

    With one image a class the class mean is that image, so this is what a prototypical network computes.

    Args:
        tests: embeddings (N, turns, D).
        training: embeddings (M, turns, D).
        how: `squared_euclid` or `cosine`.
    """
    support = training[np.newaxis, :, np.newaxis]  # one episode, M classes, one shot
    alike: Values = turned_logits(support, tests[np.newaxis], how).numpy()[0]
    return alike
