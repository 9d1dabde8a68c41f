"""One image of any size and mode → the uint8 array that the network's pipeline starts from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from cnnctl.spec.dataset import DataSpec

Pixels = NDArray[np.uint8]
_SIXTEEN_BIT = ("I", "I;16", "I;16B", "I;16L")


def fit_image(image: Image.Image, data: DataSpec) -> Pixels:
    """Returns the image as uint8 (H, W, C) of the size and channels that a checked config says, inverted if it says so.

    Transparent parts become white. Resizing is bilinear over the area that a pixel covers.
    """
    assert data.image_size and data.channels
    plain = _plain(ImageOps.exif_transpose(image), "L" if data.channels == 1 else "RGB")
    height, width = data.image_size
    if plain.size != (width, height):
        plain = plain.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(plain, dtype=np.uint8).reshape(height, width, data.channels)
    return 255 - pixels if data.invert else pixels


def _plain(image: Image.Image, mode: str) -> Image.Image:
    if image.mode in _SIXTEEN_BIT:
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def fit_array(images: NDArray[np.uint8], data: DataSpec) -> Pixels:
    """Returns a batch of images (B, H, W, C) as `fit_image` returns each; without copies where nothing changes."""
    assert data.image_size and data.channels
    if images.shape[1:] == (*data.image_size, data.channels):
        return 255 - images if data.invert else images
    return np.stack(
        [fit_image(Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image), data) for image in images]
    )
