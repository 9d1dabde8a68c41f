"""Arrays → pictures without text: tiles of images, filters and feature maps; NumPy and Pillow alone, so they cost little."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.uint8]
MOST_TILES = 64
SMALLEST_SIDE = 320
"""Pixels that a picture has at least: small images are enlarged by whole numbers, each pixel a square."""
MIDDLE = 127.5


def images_picture(images: NDArray[Any]) -> Picture:
    """Returns the images (N, H, W, C), in [0, 1], side by side."""
    return enlarged(tiled(_bytes(images * 255.0)))


def filters_picture(kernel: NDArray[Any]) -> Picture:
    """Returns the filters of a convolution on images, (k, k, C, filters): grey is 0, white the filter's largest size."""
    filters = np.moveaxis(kernel, -1, 0)
    sizes = np.abs(filters).max(axis=(1, 2, 3), keepdims=True)
    return enlarged(tiled(_bytes(MIDDLE + MIDDLE * filters / np.maximum(sizes, 1e-12))))


def maps_picture(maps: NDArray[Any]) -> Picture:
    """Returns feature maps (H, W, C) side by side, each from its least value, black, to its largest, white."""
    stack = np.moveaxis(maps, -1, 0)[..., np.newaxis]
    low, high = stack.min(axis=(1, 2, 3), keepdims=True), stack.max(axis=(1, 2, 3), keepdims=True)
    return enlarged(tiled(_bytes(255.0 * (stack - low) / np.maximum(high - low, 1e-12))))


def tiled(images: Picture) -> Picture:
    """Returns up to `MOST_TILES` images (N, H, W, C) in a square of rows, with a line of blue between them."""
    chosen = images[:MOST_TILES]
    count, height, width, _ = chosen.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = np.empty((rows * (height + 1) - 1, columns * (width + 1) - 1, 3), np.uint8)
    sheet[:] = (40, 60, 110)
    for position, image in enumerate(chosen):
        top, left = position // columns * (height + 1), position % columns * (width + 1)
        sheet[top : top + height, left : left + width] = image
    return sheet


def enlarged(picture: Picture) -> Picture:
    """Returns a picture whose longer side has at least `SMALLEST_SIDE` pixels."""
    times = math.ceil(SMALLEST_SIDE / max(picture.shape[:2]))
    return picture.repeat(times, axis=0).repeat(times, axis=1)


def _bytes(values: NDArray[Any]) -> Picture:
    pixels: Picture = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return pixels


def png(picture: Picture) -> bytes:
    """Returns a picture (H, W, 3) as a PNG file."""
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "PNG", compress_level=1)  # the time counts, not the size
    return content.getvalue()
