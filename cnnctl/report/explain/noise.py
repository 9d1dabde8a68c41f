"""Sentences about dropout and noise."""

from __future__ import annotations

from math import sqrt

from cnnctl.spec import layers as L
from cnnctl.spec.section import show

_LATER = "in validation, test and prediction values are unchanged"


def noise(layer: L.RandomLayer) -> str:
    """Explain a layer that acts at random in training."""
    if not layer.acts:
        field = "stddev" if isinstance(layer, L.GaussianNoise) else "rate"
        return f"with {field} 0 values are unchanged, also in training"
    return f"in training {_in_training(layer)}; {_LATER}"


def _in_training(layer: L.RandomLayer) -> str:
    match layer:
        case L.SpatialDropout2D():
            return f"each map is set to 0 as a whole with probability {layer.rate:g} and the others are {_scaled(layer.rate)}"
        case L.GaussianNoise():
            return (
                f"a random number is added to each value, from a normal distribution with standard deviation {layer.stddev:g}"
            )
        case L.GaussianDropout():
            return (
                "each value is multiplied by a random number, from a normal distribution with mean 1 and standard deviation "
                f"{sqrt(layer.rate / (1 - layer.rate)):.4g}, the root of {layer.rate:g} / (1 - {layer.rate:g})"
            )
        case L.AlphaDropout():
            return (
                f"each value is set to -1.758, the lowest output of SELU, with probability {layer.rate:g}{_together(layer)}, and "
                "all are scaled and shifted so that mean 0 and variance 1 stay"
            )
    assert isinstance(layer, L.Dropout)
    return f"each value is set to 0 with probability {layer.rate:g}{_together(layer)} and the others are {_scaled(layer.rate)}"


def _scaled(rate: float) -> str:
    return f"divided by 1 - {rate:g} = {1 - rate:g}"


def _together(layer: L.Dropout | L.AlphaDropout) -> str:
    shape = layer.noise_shape
    return f" (values along axes where noise_shape {show(shape)} has a 1 share one draw)" if shape else ""
