"""Normalizations whose mean and variance are those of the training images: weights that no step changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras

Moments = Mapping[str, tuple[Any, Any]]
"""Mean and variance by the name of the layer, each in the shape of its weights."""


def set_moments(model: keras.Model, moments: Moments) -> None:
    """Store mean and variance in the normalizations of a built network, as their `adapt` does."""
    for layer in _normalizations(model):
        if layer.name in moments:
            mean, variance = moments[layer.name]
            layer.adapt_mean.assign(mean)
            layer.adapt_variance.assign(variance)
            layer.finalize_state()


def use_stored_moments(model: keras.Model) -> None:
    """Make normalizations compute with the weights that were assigned: Keras computes with copies of them, made once."""
    for layer in _normalizations(model):
        layer.finalize_state()


def _normalizations(model: keras.Model) -> Iterator[keras.layers.Normalization]:
    """Yield the normalizations of a network and of those inside it."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            yield layer
        elif isinstance(layer, keras.Model):
            yield from _normalizations(layer)
