"""How any image file becomes the input of a trained network, said in full: for people, and for the files that are exported."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.experiment import Experiment

FITS = {
    "stretch": "resize to {size} (height×width), whatever the proportions are",
    "crop": "cut out the largest middle part of the proportions of {size} (height×width), fractions of pixels too, and resize it",
    "pad": "resize in its own proportions until it fits into {size} (height×width), both sides rounded and at least 1, "
    "and paste it into the middle, its left and upper margin rounded down, of a page of the colour of its border: "
    "the median of the outermost pixels before it was resized (corners count twice), of each channel, rounded down",
}
"""What becomes of an image whose size is another one."""
RESIZING = (
    "bilinear with antialiasing: the triangle filter over the whole area that a new pixel covers, rounded to uint8, as Pillow's "
    "Image.resize(..., BILINEAR); without antialiasing, as OpenCV and tf.image.resize do by default, the answers are wrong"
)
GREY = "(299·R + 587·G + 114·B) / 1000, rounded, as Pillow's convert('L')"


def preparation_facts(experiment: Experiment, class_names: Sequence[str], gives: str) -> dict[str, Any]:
    """Return all that someone who has only an exported file needs to know to ask it about an image.

    Args:
        experiment: a checked config.
        class_names: in the order of the outputs.
        gives: what the outputs are, `logits` or `probabilities`.
    """
    data = experiment.data
    assert data.image_size
    return {
        "classes": list(class_names),
        "gives": gives,
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
    """Return the facts as the text that lies in exported files."""
    return json.dumps(facts, indent=1)


def preparation_steps(experiment: Experiment) -> list[str]:
    """Return what `data.images` does to an image, in its order, a sentence a step."""
    data, channels_first = experiment.data, experiment.model.data_format == "channels_first"
    grey = data.channels == 1
    return [
        "turn it as its EXIF orientation says (Pillow's ImageOps.exif_transpose); of several frames take the first",
        _bits(data),
        "lay transparent parts on white",
        f"make it grey: {GREY}" if grey else "make it RGB",
        *(["swap rows and columns"] if data.transpose else []),
        f"{FITS[data.fit].format(size='×'.join(map(str, data.image_size or ())))}; {RESIZING}",
        *(["invert it: 255 - pixels"] if data.invert else []),
        f"divide by 255 as float32: {_shape(data, channels_first)}, from 0 to 1",
    ]


def _bits(data: DataSpec) -> str:
    """Say how values become uint8."""
    if data.pixel_max is None:
        return (
            "scale 16 bits to 8: floor(value / 257) of a grey image, the upper 8 bits of each colour; 8 bits stay as they are"
        )
    scaled = f"min(255, floor(255·value / {data.pixel_max:g}))"
    return f"make uint8 of its values, but not of its transparency: {scaled}; 16 bits of a colour are read as 257 times their upper 8"


def _shape(data: DataSpec, channels_first: bool) -> str:
    """Return the shape of a batch, such as (B, 28, 28, 1)."""
    assert data.image_size and data.channels
    sides = [data.channels, *data.image_size] if channels_first else [*data.image_size, data.channels]
    return f"(B, {', '.join(map(str, sides))}), {'channels first' if channels_first else 'channels last'}"
