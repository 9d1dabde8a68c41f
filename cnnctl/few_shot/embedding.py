"""Embeddings of images and their similarity, by which a network classifies classes that it never saw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cnnctl.few_shot.methods import pose_logits
from cnnctl.model.styles import layers_of, outputs_of_layers, wiring_of
from cnnctl.spec import layers as L
from cnnctl.spec.stack import INPUT, Node

Values = NDArray[np.float32]


def last_dense(nodes: Sequence[Node]) -> Node | None:
    """Find the last dense layer; None if there is none."""
    return next((node for node in reversed(nodes) if isinstance(node.layer, L.Dense)), None)


def layer_inputs(model: keras.Model, nodes: Sequence[Node], layer: Node, images: Any) -> Values:
    """Compute the input of a layer in inference, (B, D).

    Args:
        model: built network, in any style.
        nodes: its stack.
        layer: its input is the output of one other layer.
        images: (B, H, W, C), or (B, C, H, W) under channels_first, float32.
    """
    outputs = outputs_of_layers(layers_of(model, nodes), wiring_of(nodes), {INPUT: images})
    return as_vectors(outputs[layer.inputs[0]])


def as_vectors(outputs: Any) -> Values:
    """Convert outputs (B, ...) of any precision to (B, D), float32."""
    vectors: Values = tf.cast(outputs, tf.float32).numpy().reshape(len(outputs), -1)
    return vectors


def similarities(tests: Values, training: Values, distance: str) -> Values:
    """Compute the similarity of each test image and each training image, (N, M).

    With one image per class the class mean is that image, so this is what a prototypical network computes.

    Args:
        tests: embeddings (N, poses, D).
        training: embeddings (M, poses, D).
        distance: `squared_euclid` or `cosine`.
    """
    support = training[np.newaxis, :, np.newaxis]  # one episode, M classes, one shot
    similarity: Values = pose_logits(support, tests[np.newaxis], distance).numpy()[0]
    return similarity
