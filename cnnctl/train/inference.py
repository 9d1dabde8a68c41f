"""What a trained network computes for images: outputs, loss and accuracy, and which pixels or places a score depends on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cnnctl.data.pipeline import iterate
from cnnctl.model.styles import Layers, Wiring, outputs_of_layers
from cnnctl.spec.stack import INPUT
from cnnctl.train.steps import Metrics, count_batch, total_loss

Values = NDArray[np.float32]


@dataclass(frozen=True)
class Scored:
    """The outputs of a network for labelled images, with loss and accuracy.

    Attributes:
        loss: mean over the images, regularization terms included, as in training.
        accuracy: share of the images whose largest output is that of their label.
        outputs: (N, classes), logits or probabilities, as the network outputs them.
    """

    loss: float
    accuracy: float
    outputs: Values


def evaluate_batches(model: keras.Model, loss_function: keras.Loss, metrics: Metrics, batches: tf.data.Dataset) -> Scored:
    """Compute loss, accuracy and outputs over one pass of a dataset, as evaluation in training does.

    Args:
        model: built network.
        loss_function: averages over the batch.
        metrics: newly reset.
        batches: images (B, H, W, C), or (B, C, H, W) under channels_first, and labels.
    """

    def step(images: Any, labels: Any) -> Any:
        outputs = model(images, training=False)
        count_batch(metrics, total_loss(model, loss_function, labels, outputs), labels, outputs)
        return outputs

    compiled = tf.function(step, autograph=False, reduce_retracing=True)
    with iterate(batches) as iterator:
        outputs = np.concatenate([compiled(images, labels).numpy() for images, labels in iterator])
    return Scored(*metrics.values(), outputs)


def cross_entropy(labels: NDArray[np.int64], probabilities: NDArray[np.floating[Any]]) -> float:
    """Compute the mean negative logarithm of the labels' probabilities, without regularization.

    Probabilities are clipped below at 1e-7, as in Keras's losses.

    Args:
        labels: (N,).
        probabilities: (N, classes).
    """
    of_labels = probabilities[np.arange(len(labels)), labels].astype(np.float64)  # (N,)
    return float(-np.log(np.maximum(of_labels, keras.config.epsilon())).mean())


def outputs_of(model: keras.Model, batches: tf.data.Dataset) -> Values:
    """Compute the outputs of a network in inference for all images of a dataset, (N, classes)."""

    return outputs_by(compiled_outputs(model, batches.element_spec[0]), batches)


def compiled_outputs(model: keras.Model, images: tf.TensorSpec) -> Callable[[Any], Any]:
    """Compile a function of images to the outputs of a network in inference, (B, classes), float32.

    Compiled, since layer by layer MNIST's validation images take three times as long; once, for batches of any size.
    """

    compute: Callable[[Any], Any] = tf.function(
        lambda images: network_outputs(model, images), autograph=False, input_signature=[images]
    )
    return compute


def network_outputs(model: keras.Model, images: Any) -> Any:
    """Compute the outputs of a network in inference, (B, classes), float32."""
    return tf.cast(model(images, training=False), tf.float32)


def outputs_by(compute: Callable[[Any], Any], batches: tf.data.Dataset) -> Values:
    """Compute the outputs for all images of a dataset, (N, classes), by a function from `compiled_outputs`."""
    with iterate(batches) as iterator:
        return np.concatenate([compute(images).numpy() for images, _ in iterator])


def saliency(model: keras.Model, images: Any, labels: Any, from_logits: bool, channel_axis: int) -> Values:
    """Compute how strongly the score of a class depends on each pixel, (B, H, W).

    It is the absolute gradient of the score by the pixel, the largest over its channels: Simonyan,
    Vedaldi, Zisserman 2013, "Deep Inside Convolutional Networks", section 3.1. The score is the
    class's logit, or the logarithm of its probability if the network outputs probabilities.

    Args:
        model: built network.
        images: (B, H, W, C), or (B, C, H, W) under channels_first, float32.
        labels: (B,), the class whose score is differentiated.
        from_logits: whether the outputs are logits.
        channel_axis: of `images`.
    """
    pixels = tf.convert_to_tensor(images)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(pixels)  # by itself a tape watches variables only
        scores = _scores(model(pixels, training=False), labels, from_logits)
    gradient = tape.gradient(scores, pixels)  # of the sum of the scores, and no image touches another's in inference
    largest: Values = tf.reduce_max(tf.abs(gradient), axis=channel_axis).numpy()
    return largest


def grad_cam(layers: Layers, wiring: Wiring, convolution: str, images: Any, labels: Any, from_logits: bool) -> Values:
    """Compute where the maps of a convolution speak for a class, (B, h, w) on the grid of its output.

    Grad-CAM: Selvaraju et al. 2017, equations 1 and 2. Each map k is weighted by the mean over its values of the gradient of the
    score, alpha_k; the result is ReLU(sum over k of alpha_k · A_k). The score is that of `saliency`.

    Args:
        layers: of the built network, by name.
        wiring: the names of the inputs of each layer, in order of computation.
        convolution: the name of the layer whose output, with its own activation, are the maps A.
        images, labels, from_logits: as in `saliency`.
    """
    pixels = tf.convert_to_tensor(images)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(pixels)  # so that the tape records what is computed from them
        outputs = outputs_of_layers(layers, wiring, {INPUT: pixels})
        scores = _scores(outputs[list(wiring)[-1]], labels, from_logits)
    maps = outputs[convolution]
    gradient = tape.gradient(scores, maps, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    maps, gradient = (tf.cast(each, tf.float32) for each in (maps, gradient))
    channels_first = layers[convolution].data_format == "channels_first"
    channels, places = (1, (2, 3)) if channels_first else (3, (1, 2))
    alpha = tf.reduce_mean(gradient, axis=places, keepdims=True)  # (B, 1, 1, K), or (B, K, 1, 1) under channels_first
    found: Values = tf.nn.relu(tf.reduce_sum(alpha * maps, axis=channels)).numpy()
    return found


def _scores(outputs: Any, labels: Any, from_logits: bool) -> Any:
    """Return the score of the class of each image, (B,): its logit, or the logarithm of its probability."""
    chosen = tf.gather(outputs, labels, axis=1, batch_dims=1)
    return chosen if from_logits else tf.math.log(chosen)
