"""The methods of `predict --saliency`; needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cnnctl.errors import UsageError
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.layers import Conv2DTranspose, Convolution
from cnnctl.spec.stack import Node

GRADIENT, GRAD_CAM = "gradient", "grad_cam"


def last_convolution(nodes: Sequence[Node]) -> str | None:
    """Find the name of the last convolution, whose maps Grad-CAM weights; None if there is none."""
    return next((node.name for node in reversed(nodes) if isinstance(node.layer, Convolution | Conv2DTranspose)), None)


def refuse_method(method: str | None, picture: Path | None, folder: Path, experiment: Experiment) -> None:
    """Raise UsageError for a method without a picture, or Grad-CAM for a network without convolution."""
    if method and picture is None:
        raise UsageError(f"--saliency-method {method} is how --saliency draws; add --saliency OUT.png")
    if method == GRAD_CAM and last_convolution(experiment.network.nodes) is None:
        raise UsageError(
            f"--saliency-method {GRAD_CAM} weights the maps of the last convolution, and {folder} has none; "
            f"write --saliency-method {GRADIENT}, or remove the option"
        )
