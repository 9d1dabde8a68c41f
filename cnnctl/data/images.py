"""Fit one image of any size and mode to the config, as the uint8 array that the input pipeline starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from cnnctl.errors import DataError

if TYPE_CHECKING:
    from cnnctl.spec.dataset import DataSpec

Pixels = NDArray[np.uint8]
WHITE = 255
DEEP_WHITE = 65535
"""White at 16 bits per channel."""
SIXTEEN_BIT_COLOUR = "sixteen_bit_colour"
"""A key of `Image.info`: the file has 16 bits per channel, of which Pillow reads the upper 8."""
SEVERAL_FRAMES = "several_frames"
"""A key of `Image.info`: the file has several images, of which the first is read."""
SCALED_AT_ONCE = 2**22
"""Number of values scaled at a time."""
_SIXTEEN_BIT = ("I", "I;16", "I;16B", "I;16L", "I;16N")


@dataclass(frozen=True)
class Fitting:
    """The fields of a checked config that change pixels, for processes that do not load `DataSpec`."""

    image_size: tuple[int, int]
    channels: int
    fit: str
    pixel_max: float | None
    transpose: bool
    invert: bool

    @classmethod
    def of(cls, data: DataSpec) -> Self:
        """Take the fields of a checked config."""
        assert data.image_size and data.channels
        return cls(data.image_size, data.channels, data.fit, data.pixel_max, data.transpose, data.invert)


def fit_image(image: Image.Image, data: DataSpec | Fitting) -> Pixels:
    """Fit an image to a checked config: uint8 (H, W, C).

    The steps are: apply the EXIF orientation; scale 16 bits to 8, with `pixel_max` as white; fill transparency with white;
    convert to grey or RGB; transpose; resize (bilinear, with antialiasing); invert.
    """
    return fit_upright(ImageOps.exif_transpose(image), data)


def fit_upright(image: Image.Image, data: DataSpec | Fitting) -> Pixels:
    """Fit an image as `fit_image` does; its EXIF orientation is applied already."""
    return _fitted(_plain(image, "L" if data.channels == 1 else "RGB", data.pixel_max), data)


def fit_array(images: NDArray[Any], data: DataSpec) -> Pixels:
    """Fit a batch of images (B, H, W, C) as `fit_image` fits each. Copies nothing where nothing changes.

    Raises:
        DataError: values are not integers from 0 to 255, and `pixel_max` is not set.
    """
    assert data.image_size and data.channels
    wanted = (*data.image_size, data.channels)
    pixels = as_bytes(images, data.pixel_max)
    if data.transpose and pixels.shape[-1] == data.channels:
        pixels, data = pixels.swapaxes(1, 2), data.model_copy(update={"transpose": False})
    if pixels.shape[1:] == wanted:
        return WHITE - pixels if data.invert else pixels
    mode = "L" if data.channels == 1 else "RGB"
    # Pillow reads a last axis of 1 as grey, and of 2 or 4 as with alpha
    opened = (Image.fromarray(np.ascontiguousarray(image.squeeze(-1) if image.shape[-1] == 1 else image)) for image in pixels)
    return np.stack([_fitted(_plain(image, mode, None), data) for image in opened], dtype=np.uint8)


def as_bytes(values: NDArray[Any], pixel_max: float | None) -> Pixels:
    """Convert pixel values of any type to uint8, with `pixel_max` as 255 and True as 255.

    Raises:
        DataError: values are negative or NaN, or not integers from 0 to 255 where `pixel_max` is not set.
    """
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(WHITE)
    _refuse_negative(values)
    if pixel_max is not None:
        return scaled(values, pixel_max)
    if values.dtype == np.uint8:
        return values
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if high > WHITE or (values.dtype.kind == "f" and (high <= 1 or (values != np.floor(values)).any())):
        raise DataError(
            f"the pixels are {values.dtype} from {low:g} to {high:g}, expected 0 to 255; "
            f"write data.pixel_max: {likely_white(high, values.dtype.kind == 'f')}, the value of white"
        )
    return values.astype(np.uint8)


def _refuse_negative(values: NDArray[Any]) -> None:
    if values.dtype.kind == "u" or not values.size or float(values.min()) >= 0:
        return  # NaN fails the comparison
    if np.isnan(values).any():
        raise DataError(
            f"expected pixels of 0 or more, received NaN {int(np.isnan(values).sum()):,} times; replace it, for example by 0"
        )
    raise DataError(
        f"the pixels are {values.dtype} from {values.min():g} to {values.max():g}, expected 0 or more; "
        "rescale them, for example (values - values.min()) / (values.max() - values.min())"
    )


def scaled(values: NDArray[Any], white: float) -> Pixels:
    """Scale values to uint8: floor(255 · value / white), clipped to 0 to 255; NaN becomes 0.

    Large arrays are scaled in blocks of rows, so that memory for float64 values stays small.
    """
    if values.dtype == np.uint8:
        curve: Pixels = _scaled(np.arange(WHITE + 1), white)
        return np.asarray(curve[values], np.uint8)
    if values.size <= SCALED_AT_ONCE or values.ndim < 2:
        return _scaled(values, white)
    result = np.empty(values.shape, np.uint8)
    rows = max(SCALED_AT_ONCE // (values.size // len(values)), 1)
    for start in range(0, len(values), rows):
        result[start : start + rows] = _scaled(values[start : start + rows], white)
    return result


def _scaled(values: NDArray[Any], white: float) -> Pixels:
    finite = np.nan_to_num(values) if values.dtype.kind == "f" else values
    if white == DEEP_WHITE:
        return np.asarray(finite.clip(0, DEEP_WHITE) // (DEEP_WHITE // WHITE), np.uint8)
    return np.asarray(np.floor(finite.astype(np.float64).clip(0, white) * WHITE / white), np.uint8)


MAX_LEVELS = 64
"""A highest value that is a power of two counts as white up to this limit; above, it is a coincidence."""


def likely_white(highest: float, fractions: bool) -> int:
    """Guess the value of white from the highest value: 2^bits - 1, or 1 for fractions."""
    whole = int(highest)
    if (fractions and highest <= 1) or (whole == highest and whole & (whole - 1) == 0 and whole <= MAX_LEVELS):
        return max(whole, 1)  # such as 16 in scikit-learn's digits
    return max((1 << max(int(highest), 1).bit_length()) - 1, 1)


def deepest(image: Image.Image) -> float | None:
    """Find the highest value of an image with more than 8 bits per channel; None for all others."""
    if image.mode in (*_SIXTEEN_BIT, "F"):
        values = np.asarray(image)
        return float(np.nan_to_num(values).max() if image.mode == "F" else values.max())
    if image.info.get(SIXTEEN_BIT_COLOUR):  # Pillow dropped the lower 8 bits
        colours = image.convert("LA").getchannel("L") if image.mode == "LA" else image.convert("RGB")
        return float(np.asarray(colours).max()) * (DEEP_WHITE // WHITE)
    return None


def _plain(image: Image.Image, mode: str, pixel_max: float | None) -> Image.Image:
    """Convert an image to opaque `L` or `RGB`, with `pixel_max` as white."""
    white = pixel_max
    if image.mode in _SIXTEEN_BIT:
        image, white = Image.fromarray(scaled(np.asarray(image), pixel_max or DEEP_WHITE)), None
    elif image.mode == "F" and pixel_max is not None:
        image, white = Image.fromarray(scaled(np.asarray(image), pixel_max)), None
    elif image.info.get(SIXTEEN_BIT_COLOUR) and pixel_max is not None:
        white = pixel_max * WHITE / DEEP_WHITE
    if white is not None:  # alpha is not scaled
        image = _brightened(image, white)
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == mode else image.convert(mode)


def _brightened(image: Image.Image, white: float) -> Image.Image:
    """Scale an 8-bit image so that `white` becomes 255. Transparency is unchanged."""
    if "transparency" in image.info:  # it names a pixel value, which scaling would change
        image = image.convert("RGBA")
    elif image.mode not in ("L", "LA", "RGB", "RGBA"):
        image = image.convert("RGBA" if "A" in image.getbands() else "RGB")
    curve, same = scaled(np.arange(WHITE + 1), white).tolist(), list(range(WHITE + 1))
    return image.point([value for band in image.getbands() for value in (same if band == "A" else curve)])


def _fitted(plain: Image.Image, data: DataSpec | Fitting) -> Pixels:
    """Resize an `L` or `RGB` image to the config's size: uint8 (H, W, C)."""
    assert data.image_size and data.channels
    height, width = data.image_size
    if data.transpose:
        plain = plain.transpose(Image.Transpose.TRANSPOSE)
    if plain.size != (width, height):
        resize = {"stretch": _stretched, "crop": _cropped, "pad": _padded}[data.fit]
        plain = resize(plain, width, height)
    pixels = np.frombuffer(plain.tobytes(), np.uint8).reshape(height, width, data.channels)
    return WHITE - pixels if data.invert else pixels


def _stretched(image: Image.Image, width: int, height: int) -> Image.Image:
    return image.resize((width, height), Image.Resampling.BILINEAR)


def _cropped(image: Image.Image, width: int, height: int) -> Image.Image:
    """Resize the largest centred part of an image with the proportions of (width, height)."""
    smaller = min(image.width / width, image.height / height)
    across, down = width * smaller, height * smaller
    left, top = (image.width - across) / 2, (image.height - down) / 2
    return image.resize((width, height), Image.Resampling.BILINEAR, box=(left, top, left + across, top + down))


def _padded(image: Image.Image, width: int, height: int) -> Image.Image:
    """Resize an image in its own proportions and pad it with the median colour of its border."""
    larger = max(image.width / width, image.height / height)
    inner = max(round(image.width / larger), 1), max(round(image.height / larger), 1)
    page = Image.new(image.mode, (width, height), _border_colour(image))
    page.paste(_stretched(image, *inner), ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return page


def _border_colour(image: Image.Image) -> int | tuple[int, ...]:
    """Compute the median of the outermost pixels per channel."""
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    colour = tuple(int(value) for value in np.median(border, axis=0))
    return colour if len(colour) > 1 else colour[0]
