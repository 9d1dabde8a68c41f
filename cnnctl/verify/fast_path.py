"""Compare the faster way in which a network trains with the network as Keras computes it in float32."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cnnctl.model import build_model
from cnnctl.model.adapted import Moments
from cnnctl.model.fast_network import FastNetwork, fast_network
from cnnctl.model.keras_layers import without_noise
from cnnctl.model.keras_optimizers import build_loss
from cnnctl.model.styles import layers_by_name
from cnnctl.model.variables import names_of
from cnnctl.spec.auto import with_settings
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.head import chosen_loss
from cnnctl.spec.layers import BatchNormalization
from cnnctl.train.settings import Settings
from cnnctl.train.steps import total_loss
from cnnctl.verify.agreement import Arrays, Difference, difference, tolerance


@dataclass(frozen=True)
class FastPath:
    """One step of a training without dropout, compared with Keras's in float32.

    Attributes:
        settings: precision and parts, such as `mixed_bfloat16, each batch in 2 parallel parts`.
        tolerance: a relative difference that agrees, as does one of up to `AS_KERAS` times Keras's in the same precision.
        gradient_tolerance: the same of gradients.
        rows: differences by name of the compared values, for `Keras in mixed_bfloat16`, which shows what the precision
            costs, and for `fast path`.
    """

    settings: str
    tolerance: float
    gradient_tolerance: float
    rows: dict[str, dict[str, Difference]]

    def disagreements(self) -> list[str]:
        """Describe each difference of the fast path that is too large."""
        return [
            f"{what} of the fast path: differ from Keras in float32 by {found.relative:.1e}, expected at most {most:.0e}"
            for what, found in self.rows[FAST].items()
            if not found.relative <= (most := self._largest(what))  # so that NaN is one too
        ]

    def _largest(self, what: str) -> float:
        of_keras = [AS_KERAS * row[what].relative for name, row in self.rows.items() if name != FAST]
        return max([self.gradient_tolerance if what == "gradients" else self.tolerance, *filter(math.isfinite, of_keras)])


FAST, AVERAGES = "fast path", "moving averages"
AS_KERAS = 1.5
"""A step's gradients through several batch normalizations in 16 bits differ by a tenth and more, by chance."""
KINKS = 5e-2
"""Of gradients where batch normalization is computed in parts, so that every value rounds differently. One that rounds to the other
side of 0 turns a ReLU on or off, and one of two equal values becomes the maximum. Measured in float32: 1e-5 to 2e-3 for 2
layers of batch normalization and 1e-2 to 1.7e-2 for 6, and 2e-3 from Keras in float32 to Keras in float64."""


def compare_fast_path(settings: Settings, device: str, images: Any, labels: Any, moments: Moments) -> FastPath | None:
    """Compute one step in each way, with the same weights; None where a training computes as Keras does.

    Args:
        settings: a config without `auto`.
        device: `cpu` or `gpu`.
        images, labels: a batch.
        moments: as in `build_model`.
    """
    experiment, precision = settings.experiment, str(settings.precision.value)
    if precision == "float32" and settings.parts == 1:
        return None
    ways = {} if precision == "float32" else {f"Keras in {precision}": _plain(experiment, precision, moments)}
    network = _plain(experiment, precision, moments)
    ways[FAST] = fast_network(network, experiment.network.nodes, precision, settings.parts)
    start = {AVERAGES: _averages(network)}  # their change is compared: a step moves them by a small part
    computed = {name: _step(model, experiment, images, labels) for name, model in ways.items()}
    reference = _step(_plain(experiment, "float32", moments), experiment, images, labels)
    rows = {
        name: {what: difference(each[what], reference[what], start.get(what)) for what in reference}
        for name, each in computed.items()
    }
    largest = tolerance(device, precision)
    joined = settings.parts > 1 and any(isinstance(node.layer, BatchNormalization) for node in experiment.network.nodes)
    return FastPath(str(settings), largest, max(largest, KINKS) if joined else largest, rows)


def _plain(experiment: Experiment, precision: str, moments: Moments) -> keras.Model:
    """Build the network without dropout and noise, whose draws differ."""
    network = build_model(with_settings(experiment, precision=precision), moments=moments)
    for layer in layers_by_name(network).values():
        without_noise(layer)
    return network


def _step(model: keras.Model, experiment: Experiment, images: Any, labels: Any) -> dict[str, Arrays]:
    """Compute loss and gradients in training, then the outputs in inference."""
    network = model.network if isinstance(model, FastNetwork) else model
    weights, loss_function = network.trainable_variables, build_loss(chosen_loss(experiment))

    def step() -> Any:
        with tf.GradientTape() as tape:
            loss = total_loss(model, loss_function, labels, model(images, training=True))
        return loss, tape.gradient(loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    loss, gradients = tf.function(step, autograph=False)()
    outputs = tf.function(model, autograph=False)(images, training=False)
    names = names_of(layers_by_name(network))
    averages = _averages(network)
    return {
        "loss": {"loss": loss.numpy()},
        "gradients": {names[id(each)]: gradient.numpy() for each, gradient in zip(weights, gradients, strict=True)},
        **({AVERAGES: averages} if averages else {}),
        "outputs": {"outputs": np.asarray(outputs, np.float32)},
    }


def _averages(network: keras.Model) -> Arrays:
    """Return the moving averages of a network, by name."""
    names = names_of(layers_by_name(network))
    return {names[id(each)]: np.array(each) for each in network.non_trainable_variables if each.dtype == "float32"}
