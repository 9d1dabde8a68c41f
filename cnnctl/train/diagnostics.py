"""Weights, gradients and activations of a network while it trains; nothing of the training changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cnnctl.model.styles import layers_of, outputs_of_layers, wiring_of
from cnnctl.model.variables import named
from cnnctl.spec.stack import INPUT, Node
from cnnctl.train.learner import Trainable
from cnnctl.train.observers import SnapshotRecord
from cnnctl.train.steps import build_once

REHEARSED = 2
"""Images or episodes of a rehearsal."""


class Diagnostics:
    """Inspects a network with a few training images, always the same.

    Args:
        learner: what is trained.
        network: its network, in any style, whose layers are inspected.
        nodes: the layers of the network.
        images: (B, H, W, C), float32, as the network takes them.
        batch: training images for the gradients, as the learner's step takes them.
        in_training: compute activations as in training, for a network whose moving averages are not used.
    """

    def __init__(
        self,
        learner: Trainable,
        network: keras.Model,
        nodes: Sequence[Node],
        images: Any,
        batch: Sequence[Any],
        in_training: bool = False,
    ) -> None:
        self._in_training = in_training
        self._learner = learner
        self._model = learner.model
        self._layers = layers_of(network, nodes)
        self._owners = [node.name for node in nodes if not node.shares]
        self._wiring = wiring_of(nodes)
        self.images = images
        self._batch = [tf.convert_to_tensor(part) for part in batch]

    def step_graph(self) -> bytes:
        """Return the graph of a training step of the custom loop, a serialized `GraphDef`; `fit` computes the same."""
        build_once(self._learner.optimizer, self._model)
        specs = [tf.TensorSpec((None, *each.shape[1:]), each.dtype) for each in self._batch]
        graph = self._learner.step.get_concrete_function(*specs).graph
        serialized: bytes = graph.as_graph_def(add_shapes=True).SerializeToString()
        return serialized

    def snapshot(self) -> SnapshotRecord:
        """Compute weights, gradients and activations as they are now."""
        gradients = self._gradients(self._batch)
        norm = float(np.sqrt(sum(float(np.sum(np.square(each, dtype=np.float64))) for each in gradients.values())))
        weights = {name: weight.numpy() for name, weight in self._named("weights")}
        return SnapshotRecord(weights, gradients, norm, self._activations())

    def first_not_finite(self, batch: Sequence[Any]) -> str:
        """Describe the first layer whose values are NaN or infinite for a training batch.

        Of few-shot tasks all images of the batch are used at once.
        """
        shape = self.images.shape[1:]
        images = tf.concat([tf.reshape(part, (-1, *shape)) for part in batch if part.shape[-len(shape) :] == shape], axis=0)
        with keras.StatelessScope():
            outputs = outputs_of_layers(self._layers, self._wiring, {INPUT: images}, training=True)
        for name, layer in self._layers.items():
            if not all(_is_finite(weight) for weight in layer.trainable_weights):
                return f"the first NaN or Inf is in the weights of layer '{name}'"
            if not _is_finite(outputs[name]):
                largest = max(_largest(outputs[each]) for each in self._wiring[name])
                return f"the first NaN or Inf is in the output of layer '{name}', whose inputs had values up to {largest:.2g}"
        where = (
            "in the steps within an episode, whose learning rate is inner_learning_rate" if self._in_training else "in the loss"
        )
        return f"the outputs of all layers are finite, so it began {where}"

    def _activations(self) -> dict[str, NDArray[Any]]:
        with keras.StatelessScope():  # keeps the moving averages as they are
            outputs = outputs_of_layers(self._layers, self._wiring, {INPUT: self.images}, self._in_training)
        return {name: tf.cast(outputs[name], tf.float32).numpy() for name in self._layers}

    def rehearse(self) -> None:
        """Compute gradients of a few images: TensorFlow's first call of each operation takes longer than its work."""
        if not self._in_training:  # the episodes of `maml` do take longer
            self._gradients([part[:REHEARSED] for part in self._batch])

    def _gradients(self, batch: Sequence[Any]) -> dict[str, NDArray[Any]]:
        """Compute the gradients of the training loss by the weights of the network."""
        weights = [tf.convert_to_tensor(variable) for variable in self._model.trainable_variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            loss = self._learner.loss_with(weights, *batch)
        found = tape.gradient(loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        by_variable = dict(zip(map(id, self._model.trainable_variables), found, strict=True))
        return {name: by_variable[id(variable)].numpy() for name, variable in self._named("trainable_weights")}

    def _named(self, kind: str) -> list[tuple[str, Any]]:
        return named({name: self._layers[name] for name in self._owners}, kind)


def _is_finite(values: Any) -> bool:
    return bool(np.isfinite(tf.cast(values, tf.float32)).all())


def _largest(values: Any) -> float:
    return float(tf.reduce_max(tf.abs(tf.cast(values, tf.float32))))
