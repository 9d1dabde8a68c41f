"""Describe in full how an image file becomes the input of a trained network, for people and in exported files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.experiment import Experiment

FITS = {
    "stretch": "resize to {size} (height×width), without keeping the proportions",
    "crop": "crop the largest centered part with the proportions of {size} (height×width), to fractions of pixels, and resize it",
    "pad": "resize in its own proportions until it fits into {size} (height×width), both sides rounded and at least 1, "
    "and center it, with left and upper margin rounded down, on a page of the colour of its border: "
    "the median of the outermost pixels before resizing (corners count twice), per channel, rounded down",
}
"""Steps for an image of another size, by `data.fit`."""
RESIZING = (
    "bilinear with antialiasing: the triangle filter over the whole area that a new pixel covers, rounded to uint8, as Pillow's "
    "Image.resize(..., BILINEAR); without antialiasing, the default of OpenCV and tf.image.resize, predictions are wrong"
)
GREY = "(299·R + 587·G + 114·B) / 1000, rounded, as Pillow's convert('L')"


def preparation_facts(experiment: Experiment, class_names: Sequence[str], outputs: str) -> dict[str, Any]:
    """Collect what is needed to classify an image with an exported file alone.

    Args:
        experiment: a checked config.
        class_names: in the order of the outputs.
        outputs: `logits` or `probabilities`.
    """
    data = experiment.data
    assert data.image_size
    return {
        "classes": list(class_names),
        "values": outputs,
        "height": data.image_size[0],
        "width": data.image_size[1],
        "channels": data.channels,
        "data_format": experiment.model.data_format,
        "pixel_max": data.pixel_max,
        "transpose": data.transpose,
        "fit": data.fit,
        "invert": data.invert,
        "dtype": "float32",
        "range": [0, 1],
        "steps": preparation_steps(experiment),
    }


def preparation_json(facts: dict[str, Any]) -> str:
    """Format the facts as the JSON text in exported files."""
    return json.dumps(facts, indent=1)


def preparation_steps(experiment: Experiment) -> list[str]:
    """Describe the steps of `data.images` in their order, a sentence each."""
    data, channels_first = experiment.data, experiment.model.data_format == "channels_first"
    grey = data.channels == 1
    return [
        "rotate it by its EXIF orientation (Pillow's ImageOps.exif_transpose); of several frames, use the first",
        _bits(data),
        "put transparent parts on white",
        f"convert it to grey: {GREY}" if grey else "convert it to RGB",
        *(["swap rows and columns"] if data.transpose else []),
        f"{FITS[data.fit].format(size='×'.join(map(str, data.image_size or ())))}; {RESIZING}",
        *(["invert it: 255 - pixels"] if data.invert else []),
        f"divide by 255 as float32: {_shape(data, channels_first)}, from 0 to 1",
    ]


def _bits(data: DataSpec) -> str:
    """Describe how values become uint8."""
    if data.pixel_max is None:
        return (
            "scale 16 bits to 8: floor(value / 257) of a grey image, the upper 8 bits of each colour; 8 bits stay as they are"
        )
    scaled = f"min(255, floor(255·value / {data.pixel_max:g}))"
    return f"convert its values, but not its transparency, to uint8: {scaled}; 16 bits of a colour are read as 257 times their upper 8"


def _shape(data: DataSpec, channels_first: bool) -> str:
    """Format the shape of a batch, such as (B, 28, 28, 1)."""
    assert data.image_size and data.channels
    sides = [data.channels, *data.image_size] if channels_first else [*data.image_size, data.channels]
    return f"(B, {', '.join(map(str, sides))}), {'channels first' if channels_first else 'channels last'}"
